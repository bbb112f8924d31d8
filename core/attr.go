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

// Other returns the other track.
func (t Track) Other() Track { return t ^ 1 }

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

// AttrCookie is the flag dialog_cookie: the attribute travels in our
// Record-Route and is there again in the requests inside the dialog. The other
// bits of Attr.Flags have the meaning that the settings give them.
const AttrCookie uint32 = 1 << 0

// Attr is one value of an attribute.
type Attr struct {
	Name  string
	Value Value
	// Flags are the value's own (AttrCookie and those that the settings
	// name), not those of a database's row.
	Flags uint32
}

// AttrRef is a compiled attribute name.
type AttrRef struct {
	Track Track
	Class Class // AnyClass where none was named
	Name  string
	// Index counts values as SER does: 0 for none (the newest), 1 the
	// oldest, -1 the newest.
	Index int
	// All stands for every value: "$fd.gw[]".
	All bool
}

// ParseAttrRef compiles "$fd.did", "$f.did", "$tu.x[1]", "$tu.x[]", "$g.x" or
// "$x".
func ParseAttrRef(s string) (AttrRef, error) {
	ref := AttrRef{Class: AnyClass}
	text, ok := strings.CutPrefix(s, "$")
	if !ok || text == "" {
		return ref, fmt.Errorf("%q is not an attribute: $f.name, $td.name or $name is expected", s)
	}
	if i := strings.IndexByte(text, '['); i >= 0 && strings.HasSuffix(text, "]") {
		index := text[i+1 : len(text)-1]
		n, err := strconv.Atoi(index)
		switch {
		case index == "":
			ref.All = true
		case err != nil || n == 0:
			return ref, fmt.Errorf("%q: the index is not a number from 1, or from -1 down", s)
		}
		ref.Index, text = n, text[:i]
	}
	ref.Name = text
	if group, name, ok := strings.Cut(text, "."); ok {
		track, class, ok := parseAttrGroup(group)
		if !ok {
			return ref, badAttrGroup("$" + group)
		}
		ref.Track, ref.Class, ref.Name = track, class, name
	}
	if ref.Name == "" {
		return ref, fmt.Errorf("%q names no attribute", s)
	}
	if !ValidAttrName(ref.Name) {
		return ref, fmt.Errorf("%q: the name of an attribute has no spaces, brackets, quotes or $", s)
	}
	return ref, nil
}

// ValidAttrName tells whether an attribute may have a name: up to 64 bytes
// without spaces, control characters, brackets, quotes and "$".
func ValidAttrName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`[]"'$`, c) >= 0 {
			return false
		}
	}
	return true
}

// ParseAttrGroup compiles "$f", "$fd", "$tu", "$g" … in any letter case.
func ParseAttrGroup(s string) (Track, Class, error) {
	t, c, ok := parseAttrGroup(strings.TrimPrefix(s, "$"))
	if !ok {
		return 0, 0, badAttrGroup(s)
	}
	return t, c, nil
}

func parseAttrGroup(g string) (t Track, c Class, ok bool) {
	if equalFold(g, "g") || equalFold(g, "gf") || equalFold(g, "gt") {
		return FromTrack, GlobalClass, true
	}
	if g == "" || len(g) > 2 {
		return 0, 0, false
	}
	switch g[0] | 0x20 {
	case 'f':
	case 't':
		t = ToTrack
	default:
		return 0, 0, false
	}
	if len(g) == 1 {
		return t, AnyClass, true
	}
	switch g[1] | 0x20 {
	case 'r':
		return t, URIClass, true
	case 'u':
		return t, UserClass, true
	case 'd':
		return t, DomainClass, true
	}
	return 0, 0, false
}

func badAttrGroup(s string) error {
	return fmt.Errorf("%q is not a group of attributes: $f, $fr, $fu, $fd, $t, $tr, $tu, $td or $g is expected", s)
}

// String returns the name as ParseAttrRef takes it.
func (ref *AttrRef) String() string {
	s := "$" + ref.group() + "." + ref.Name
	switch {
	case ref.All:
		s += "[]"
	case ref.Index != 0:
		s += "[" + strconv.Itoa(ref.Index) + "]"
	}
	return s
}

func (ref *AttrRef) group() string {
	if ref.Class == GlobalClass {
		return "g"
	}
	return "ft"[ref.Track:ref.Track+1] + [...]string{"r", "u", "d", "g", ""}[ref.Class]
}
