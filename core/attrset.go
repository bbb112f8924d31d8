package core

import (
	"slices"
	"sort"
	"strings"
)

// AttrSet is an immutable list of attributes that requests share, such as
// those of one virtual domain. Its order is that of loading: a read without an
// index sees the last value.
type AttrSet struct {
	list []setAttr
	// order sorts the list by name, values of one name as they were loaded;
	// nil for a set that is small enough to be looked through.
	order []uint32
	flags uint32 // those that any value has
}

// setAttr is an Attr in little memory: there may be millions.
type setAttr struct {
	name, text string
	num        int64
	flags      uint32
	kind       Kind
}

func (s *setAttr) value() Value { return Value{Kind: s.kind, Num: s.num, Str: s.text} }

func (s *setAttr) attr() Attr { return Attr{Name: s.name, Value: s.value(), Flags: s.flags} }

// smallSet is up to how many attributes looking at each is the fastest way.
const smallSet = 8

// NewAttrSet makes a set of attrs, which it does not keep; it keeps their
// strings. Attributes without a value are left out.
func NewAttrSet(attrs []Attr) *AttrSet {
	s := &AttrSet{list: make([]setAttr, 0, len(attrs))}
	for i := range attrs {
		a := &attrs[i]
		if a.Value.Kind == KindNil {
			continue
		}
		text := a.Value.Str
		if a.Value.Raw != nil {
			text = string(a.Value.Raw)
		}
		s.list = append(s.list, setAttr{a.Name, text, a.Value.Num, a.Flags, a.Value.Kind})
		s.flags |= a.Flags
	}
	if len(s.list) > smallSet {
		s.order = make([]uint32, len(s.list))
		for i := range s.order {
			s.order[i] = uint32(i)
		}
		slices.SortFunc(s.order, func(a, b uint32) int {
			if c := strings.Compare(s.list[a].name, s.list[b].name); c != 0 {
				return c
			}
			return int(a) - int(b)
		})
	}
	return s
}

// Len returns how many values the set has.
func (s *AttrSet) Len() int {
	if s == nil {
		return 0
	}
	return len(s.list)
}

// All returns the attributes in the order of loading, as a new slice.
func (s *AttrSet) All() []Attr {
	if s == nil {
		return nil
	}
	all := make([]Attr, len(s.list))
	for i := range s.list {
		all[i] = s.list[i].attr()
	}
	return all
}

// newest returns the last value of a name, or nil.
func (s *AttrSet) newest(name string) *setAttr {
	if s == nil {
		return nil
	}
	if s.order == nil {
		for i := len(s.list) - 1; i >= 0; i-- {
			if s.list[i].name == name {
				return &s.list[i]
			}
		}
		return nil
	}
	lo, hi := s.span(name)
	if lo == hi {
		return nil
	}
	return &s.list[s.order[hi-1]]
}

// span returns which part of order belongs to a name.
func (s *AttrSet) span(name string) (lo, hi int) {
	hi = len(s.order)
	for lo < hi { // the first that is not less
		mid := int(uint(lo+hi) >> 1)
		if s.list[s.order[mid]].name < name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(s.order) || s.list[s.order[lo]].name != name {
		return lo, lo
	}
	hi = lo + 1
	if hi < len(s.order) && s.list[s.order[hi]].name == name {
		hi = lo + sort.Search(len(s.order)-lo, func(i int) bool { return s.list[s.order[lo+i]].name != name })
	}
	return lo, hi
}

// count returns how many values a name has.
func (s *AttrSet) count(name string) (n int) {
	if s == nil {
		return 0
	}
	if s.order != nil {
		lo, hi := s.span(name)
		return hi - lo
	}
	for i := range s.list {
		if s.list[i].name == name {
			n++
		}
	}
	return n
}

// nth returns the nth value of a name, of which there are more than n ≥ 0.
func (s *AttrSet) nth(name string, n int) *setAttr {
	if s.order != nil {
		lo, _ := s.span(name)
		return &s.list[s.order[lo+n]]
	}
	for i := range s.list {
		if s.list[i].name == name {
			if n == 0 {
				return &s.list[i]
			}
			n--
		}
	}
	return nil
}
