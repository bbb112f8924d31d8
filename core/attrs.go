package core

import "errors"

// place is a class of a track.
type place uint8

const (
	classesOfTrack       = 3 // the global class is no track's
	globalPlace    place = 2 * classesOfTrack
	places               = globalPlace + 1
)

func placeOf(t Track, c Class) place {
	if c == GlobalClass {
		return globalPlace
	}
	return place(t)*classesOfTrack + place(c)
}

func (p place) parts() (Track, Class) {
	if p == globalPlace {
		return FromTrack, GlobalClass
	}
	return Track(p / classesOfTrack), Class(p % classesOfTrack)
}

// ownAttr is a value that was written for one request. Where hides is set, the
// shared values of the same name and place are not seen; such an entry without
// a value only hides.
type ownAttr struct {
	place place
	hides bool
	Attr
}

func (o *ownAttr) is(p place, name string) bool { return o.place == p && o.Name == name }

// Attrs are the attributes that a request sees: sets that it shares with
// others and, above them, those that were written for this request alone. The
// sets stay as they were when they were published, whatever is reloaded.
type Attrs struct {
	shared [places]*AttrSet
	own    []ownAttr
	text   []byte // text of own values that came in bytes
}

// What one request may write: more than any script needs, and no way to fill
// the memory.
const (
	maxOwnAttrs = 256
	maxOwnText  = 64 << 10
)

// ErrAttrs says that a request has written too many attributes.
var ErrAttrs = errors.New("too many attributes have been written for this request")

// Reset forgets everything but the memory.
func (a *Attrs) Reset() {
	own, text := a.own, a.text
	if len(own) > 0 {
		clear(own)
	}
	if cap(text) > 4096 {
		text = nil
	}
	*a = Attrs{own: own[:0], text: text[:0]}
}

// Publish makes a shared set visible in a class of a track; nil takes it away.
// What was written into that class for this request goes with it.
func (a *Attrs) Publish(t Track, c Class, s *AttrSet) {
	p := placeOf(t, c)
	if len(a.own) > 0 {
		a.drop(func(o *ownAttr) bool { return o.place == p })
	}
	a.shared[p] = s
}

// Published returns the shared set of a class of a track, or nil.
func (a *Attrs) Published(t Track, c Class) *AttrSet { return a.shared[placeOf(t, c)] }

func (a *Attrs) drop(which func(*ownAttr) bool) {
	keep := a.own[:0]
	for i := range a.own {
		if !which(&a.own[i]) {
			keep = append(keep, a.own[i])
		}
	}
	clear(a.own[len(keep):])
	a.own = keep
}

// Set gives an attribute one value for this request alone, in place of all
// that it had in its class; a name without class goes to the URI class. No
// value removes the attribute: see Remove. Text is copied.
func (a *Attrs) Set(ref *AttrRef, v Value) error {
	if v.Kind == KindNil {
		all := *ref
		all.Index = 0
		return a.Remove(&all)
	}
	p := writePlace(ref)
	a.drop(func(o *ownAttr) bool { return o.is(p, ref.Name) })
	return a.push(p, true, Attr{Name: ref.Name, Value: v})
}

// Add gives an attribute one more value, the newest, for this request alone. A
// name without class goes to the URI class. Text is copied.
func (a *Attrs) Add(ref *AttrRef, v Value) error { return a.AddFlagged(ref, v, 0) }

// AddFlagged is Add of a value that has flags.
func (a *Attrs) AddFlagged(ref *AttrRef, v Value, flags uint32) error {
	if v.Kind == KindNil {
		return nil
	}
	return a.push(writePlace(ref), false, Attr{Name: ref.Name, Value: v, Flags: flags})
}

func writePlace(ref *AttrRef) place {
	if ref.Class == AnyClass {
		return placeOf(ref.Track, URIClass)
	}
	return placeOf(ref.Track, ref.Class)
}

func (a *Attrs) push(p place, hides bool, at Attr) error {
	if len(a.own) >= maxOwnAttrs || len(a.text)+len(at.Value.Raw) > maxOwnText {
		return ErrAttrs
	}
	if raw := at.Value.Raw; raw != nil {
		start := len(a.text)
		a.text = append(a.text, raw...)
		at.Value.Raw = a.text[start:len(a.text):len(a.text)]
	}
	a.own = append(a.own, ownAttr{p, hides, at})
	return nil
}

// Remove takes an attribute, or the value that ref's index names, away from
// this request. A name without class goes from every class, so that it reads
// as undefined afterwards; with an index only from the class that a read finds.
func (a *Attrs) Remove(ref *AttrRef) error {
	if ref.Index != 0 {
		p, ok := a.find(ref)
		if !ok {
			return nil
		}
		return a.removeOne(p, ref)
	}
	if ref.Class != AnyClass {
		return a.remove(placeOf(ref.Track, ref.Class), ref.Name)
	}
	for c := URIClass; c <= GlobalClass; c++ {
		if err := a.remove(placeOf(ref.Track, c), ref.Name); err != nil {
			return err
		}
	}
	return nil
}

func (a *Attrs) remove(p place, name string) error {
	if len(a.own) > 0 {
		a.drop(func(o *ownAttr) bool { return o.is(p, name) })
	}
	if a.shared[p].newest(name) == nil {
		return nil
	}
	return a.push(p, true, Attr{Name: name})
}

func (a *Attrs) removeOne(p place, ref *AttrRef) error {
	n := a.count(p, ref.Name)
	i, ok := position(ref.Index, n)
	if !ok {
		return nil
	}
	if n == 1 {
		return a.remove(p, ref.Name)
	}
	if err := a.adopt(p, ref.Name); err != nil {
		return err
	}
	a.drop(func(o *ownAttr) bool {
		if !o.is(p, ref.Name) {
			return false
		}
		o.hides = true // also if the one that hid the shared values goes
		i--
		return i == -1
	})
	return nil
}

// adopt makes the values of a name this request's own.
func (a *Attrs) adopt(p place, name string) error {
	own, n := a.ownOf(p, name)
	set := a.shared[p]
	from := set.count(name)
	if own || from == 0 {
		return nil
	}
	if len(a.own)+from > maxOwnAttrs {
		return ErrAttrs
	}
	end := len(a.own)
	for i := range from {
		a.own = append(a.own, ownAttr{p, true, set.nth(name, i).attr()})
	}
	if n > 0 { // what was added goes behind, as it was
		for i := range end {
			if o := a.own[i]; o.is(p, name) {
				a.own = append(a.own, o)
			}
		}
		i := -1
		a.drop(func(o *ownAttr) bool { i++; return i < end && o.is(p, name) })
	}
	return nil
}

// ownOf tells whether the shared values of a name are hidden, and how many
// values of its own the request has.
func (a *Attrs) ownOf(p place, name string) (hidden bool, n int) {
	for i := range a.own {
		if o := &a.own[i]; o.is(p, name) {
			hidden = hidden || o.hides
			if o.Value.Kind != KindNil {
				n++
			}
		}
	}
	return hidden, n
}

func (a *Attrs) count(p place, name string) int {
	hidden, n := a.ownOf(p, name)
	if !hidden {
		n += a.shared[p].count(name)
	}
	return n
}

// SetFlags sets or clears flags of an attribute's value for this request: of
// the newest, of the one that ref's index names, or of all. It returns how many
// values that were.
func (a *Attrs) SetFlags(ref *AttrRef, flags uint32, on bool) (int, error) {
	p, ok := a.find(ref)
	if !ok {
		return 0, nil
	}
	if err := a.adopt(p, ref.Name); err != nil {
		return 0, err
	}
	want, ok := position(ref.Index, a.count(p, ref.Name))
	if !ok {
		return 0, nil
	}
	n, i := 0, 0
	for k := range a.own {
		o := &a.own[k]
		if !o.is(p, ref.Name) || o.Value.Kind == KindNil {
			continue
		}
		if ref.All || i == want {
			o.Flags &^= flags
			if on {
				o.Flags |= flags
			}
			n++
		}
		i++
	}
	return n, nil
}
