package core

// found is where a value lies: in what the request wrote, in a shared set, or
// nowhere.
type found struct {
	own    *ownAttr
	shared *setAttr
}

// Get returns an attribute's value: the newest, or the one that ref's index
// names. A name without class is searched in the classes URI, user, domain and
// global; the first that has it answers, also where it has no value of that
// index.
func (a *Attrs) Get(ref *AttrRef) (Value, bool) {
	f := a.search(ref)
	switch {
	case f.shared != nil:
		return f.shared.value(), true
	case f.own != nil:
		return f.own.Value, true
	}
	return Value{}, false
}

// GetAttr is Get with the value's flags.
func (a *Attrs) GetAttr(ref *AttrRef) (Attr, bool) {
	f := a.search(ref)
	switch {
	case f.shared != nil:
		return f.shared.attr(), true
	case f.own != nil:
		return f.own.Attr, true
	}
	return Attr{}, false
}

func (a *Attrs) search(ref *AttrRef) found {
	if ref.Class != AnyClass {
		f, _ := a.at(placeOf(ref.Track, ref.Class), ref)
		return f
	}
	base := placeOf(ref.Track, URIClass)
	if len(a.own) == 0 && (ref.Index == 0 || ref.Index == -1) { // the usual case
		for p := base; p < base+classesOfTrack; p++ {
			if e := a.shared[p].newest(ref.Name); e != nil {
				return found{shared: e}
			}
		}
		return found{shared: a.shared[globalPlace].newest(ref.Name)}
	}
	for p := base; p < base+classesOfTrack; p++ {
		if f, has := a.at(p, ref); has {
			return f
		}
	}
	f, _ := a.at(globalPlace, ref)
	return f
}

// find returns the place where a read of ref finds its name.
func (a *Attrs) find(ref *AttrRef) (place, bool) {
	if ref.Class != AnyClass {
		p := placeOf(ref.Track, ref.Class)
		_, has := a.at(p, ref)
		return p, has
	}
	for c := URIClass; c <= GlobalClass; c++ {
		p := placeOf(ref.Track, c)
		if _, has := a.at(p, ref); has {
			return p, true
		}
	}
	return 0, false
}

// at reads in one place; has tells whether the name has values there, be it
// not the one that was asked for.
func (a *Attrs) at(p place, ref *AttrRef) (f found, has bool) {
	if ref.Index != 0 && ref.Index != -1 {
		return a.atIndex(p, ref)
	}
	for i := len(a.own) - 1; i >= 0; i-- {
		if o := &a.own[i]; o.is(p, ref.Name) {
			if o.Value.Kind == KindNil {
				return found{}, false
			}
			return found{own: o}, true
		}
	}
	f.shared = a.shared[p].newest(ref.Name)
	return f, f.shared != nil
}

func (a *Attrs) atIndex(p place, ref *AttrRef) (f found, has bool) {
	hidden, n := a.ownOf(p, ref.Name)
	shared := 0
	if !hidden {
		shared = a.shared[p].count(ref.Name)
	}
	i, ok := position(ref.Index, shared+n)
	switch {
	case !ok:
		return found{}, shared+n > 0
	case i < shared:
		return found{shared: a.shared[p].nth(ref.Name, i)}, true
	}
	i -= shared
	for k := range a.own {
		o := &a.own[k]
		if !o.is(p, ref.Name) || o.Value.Kind == KindNil {
			continue
		}
		if i == 0 {
			return found{own: o}, true
		}
		i--
	}
	return found{}, true
}

// position turns an index of SER's among n values into one from 0.
func position(index, n int) (int, bool) {
	switch {
	case index > 0:
		return index - 1, index <= n
	case index < 0:
		return n + index, -index <= n
	}
	return n - 1, n > 0
}

// Values appends every value of an attribute to dst, the oldest first. They
// come from one class: the first that has the name.
func (a *Attrs) Values(dst []Value, ref *AttrRef) []Value {
	one := *ref
	one.Index = 0
	p, ok := a.find(&one)
	if !ok {
		return dst
	}
	hidden, _ := a.ownOf(p, ref.Name)
	if set := a.shared[p]; !hidden {
		for i := range set.count(ref.Name) {
			dst = append(dst, set.nth(ref.Name, i).value())
		}
	}
	for k := range a.own {
		if o := &a.own[k]; o.is(p, ref.Name) && o.Value.Kind != KindNil {
			dst = append(dst, o.Value)
		}
	}
	return dst
}

// HasFlag tells whether any value may have one of the flags: false is certain.
func (a *Attrs) HasFlag(flags uint32) bool {
	for i := range a.own {
		if a.own[i].Flags&flags != 0 {
			return true
		}
	}
	for _, s := range a.shared {
		if s != nil && s.flags&flags != 0 {
			return true
		}
	}
	return false
}

// EachFlagged calls f for every value that has one of the flags, until f
// returns false: place by place in the order of Track and Class, values of one
// name the oldest first.
func (a *Attrs) EachFlagged(flags uint32, f func(t Track, c Class, at *Attr) bool) {
	for p := range places {
		t, c := p.parts()
		if set := a.shared[p]; set != nil && set.flags&flags != 0 {
			for i := range set.list {
				e := &set.list[i]
				if e.flags&flags == 0 {
					continue
				}
				if hidden, _ := a.ownOf(p, e.name); hidden {
					continue
				}
				at := e.attr()
				if !f(t, c, &at) {
					return
				}
			}
		}
		for i := range a.own {
			o := &a.own[i]
			if o.place != p || o.Flags&flags == 0 || o.Value.Kind == KindNil {
				continue
			}
			if !f(t, c, &o.Attr) {
				return
			}
		}
	}
}
