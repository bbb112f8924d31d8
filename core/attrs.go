package core

import (
	"fmt"
	"strconv"
	"strings"
)

// Track is whose attributes are meant: the caller's or the callee's.
type Track uint8

// The tracks.
const (
	FromTrack Track = iota
	ToTrack
)

// Class is the layer that an attribute belongs to.
type Class uint8

// The classes, in the order in which a name without class is searched.
const (
	URIClass Class = iota
	UserClass
	DomainClass
	GlobalClass
	AnyClass
)

// Attr is one value of an attribute.
type Attr struct {
	Name  string
	Value Value
	Flags uint32
}

// AttrSet is an immutable list of attributes that requests share, such as
// those of one virtual domain. Its order is that of loading: a read without an
// index sees the last value.
type AttrSet struct {
	list []Attr
	last map[string]int
}

// NewAttrSet makes a set of attrs, which it keeps.
func NewAttrSet(attrs []Attr) *AttrSet {
	s := &AttrSet{list: attrs, last: make(map[string]int, len(attrs))}
	for i := range attrs {
		s.last[attrs[i].Name] = i
	}
	return s
}

// All returns the attributes in the order of loading. They must not be changed.
func (s *AttrSet) All() []Attr {
	if s == nil {
		return nil
	}
	return s.list
}

// AttrRef is a compiled attribute name.
type AttrRef struct {
	Track Track
	Class Class // AnyClass where none was named
	Name  string
	// Index counts values as SER does: 0 for none (the newest), 1 the
	// oldest, -1 the newest.
	Index int
}

// ParseAttrRef compiles "$fd.did", "$f.did", "$tu.x[1]", "$g.x" or "$x".
func ParseAttrRef(s string) (AttrRef, error) {
	ref := AttrRef{Class: AnyClass}
	text, ok := strings.CutPrefix(s, "$")
	if !ok || text == "" {
		return ref, fmt.Errorf("%q is not an attribute: $f.name, $td.name or $name is expected", s)
	}
	if i := strings.IndexByte(text, '['); i >= 0 && strings.HasSuffix(text, "]") {
		n, err := strconv.Atoi(text[i+1 : len(text)-1])
		if err != nil || n == 0 {
			return ref, fmt.Errorf("%q: the index is not a number from 1, or from -1 down", s)
		}
		ref.Index, text = n, text[:i]
	}
	ref.Name = text
	if group, name, ok := strings.Cut(text, "."); ok {
		track, class, err := ParseAttrGroup("$" + group)
		if err != nil {
			return ref, err
		}
		ref.Track, ref.Class, ref.Name = track, class, name
	}
	if ref.Name == "" {
		return ref, fmt.Errorf("%q names no attribute", s)
	}
	return ref, nil
}

// ParseAttrGroup compiles "$f", "$fd", "$tu", "$g" … in any letter case.
func ParseAttrGroup(s string) (Track, Class, error) {
	g := strings.ToLower(strings.TrimPrefix(s, "$"))
	if g == "g" || g == "gf" || g == "gt" {
		return FromTrack, GlobalClass, nil
	}
	if g == "" || len(g) > 2 {
		return 0, 0, badAttrGroup(s)
	}
	var t Track
	switch g[0] {
	case 'f':
	case 't':
		t = ToTrack
	default:
		return 0, 0, badAttrGroup(s)
	}
	if len(g) == 1 {
		return t, AnyClass, nil
	}
	switch g[1] {
	case 'r':
		return t, URIClass, nil
	case 'u':
		return t, UserClass, nil
	case 'd':
		return t, DomainClass, nil
	}
	return 0, 0, badAttrGroup(s)
}

func badAttrGroup(s string) error {
	return fmt.Errorf("%q is not a group of attributes: $f, $fr, $fu, $fd, $t, $tr, $tu, $td or $g is expected", s)
}

type ownAttr struct {
	track Track
	class Class
	Attr
}

// Attrs are the attributes that a request sees: sets that it shares with
// others and, above them, those that were written for this request alone.
type Attrs struct {
	shared [2][3]*AttrSet
	global *AttrSet
	own    []ownAttr
}

// Reset forgets everything.
func (a *Attrs) Reset() { *a = Attrs{own: a.own[:0]} }

// Publish makes a shared set visible in a class of a track; nil takes it away.
// What was written into that class for this request goes with it.
func (a *Attrs) Publish(t Track, c Class, s *AttrSet) {
	keep := a.own[:0]
	for _, o := range a.own {
		if o.track != t || o.class != c {
			keep = append(keep, o)
		}
	}
	a.own = keep
	if c == GlobalClass {
		a.global = s
		return
	}
	a.shared[t][c] = s
}

// Set adds a value for this request alone; a name without class goes to the
// URI class. Text in Raw must live as long as the request.
func (a *Attrs) Set(ref *AttrRef, v Value) {
	c := ref.Class
	if c == AnyClass {
		c = URIClass
	}
	a.own = append(a.own, ownAttr{ref.Track, c, Attr{Name: ref.Name, Value: v}})
}

// Get returns an attribute's value. A name without class is searched in the
// classes URI, user, domain and global; the first that has it answers.
func (a *Attrs) Get(ref *AttrRef) (Value, bool) {
	if ref.Class != AnyClass {
		return a.get(ref.Track, ref.Class, ref.Name, ref.Index)
	}
	for c := URIClass; c <= GlobalClass; c++ {
		if v, ok := a.get(ref.Track, c, ref.Name, ref.Index); ok {
			return v, true
		}
	}
	return Value{}, false
}

func (a *Attrs) get(t Track, c Class, name string, index int) (Value, bool) {
	set := a.global
	if c != GlobalClass {
		set = a.shared[t][c]
	}
	if index == 0 || index == -1 { // the newest
		for i := len(a.own) - 1; i >= 0; i-- {
			o := &a.own[i]
			if o.class == c && (o.track == t || c == GlobalClass) && o.Name == name {
				return o.Value, true
			}
		}
		if set != nil {
			if i, ok := set.last[name]; ok {
				return set.list[i].Value, true
			}
		}
		return Value{}, false
	}
	var values []Value
	for _, at := range set.All() {
		if at.Name == name {
			values = append(values, at.Value)
		}
	}
	for i := range a.own {
		o := &a.own[i]
		if o.class == c && (o.track == t || c == GlobalClass) && o.Name == name {
			values = append(values, o.Value)
		}
	}
	i := index - 1
	if index < 0 {
		i = len(values) + index
	}
	if i < 0 || i >= len(values) {
		return Value{}, false
	}
	return values[i], true
}
