package domain

import (
	"bytes"

	"sipr/core"
)

// snapshot is everything that the tables held when they were read. It is
// immutable once it is published, and its readers need no lock.
type snapshot struct {
	names  map[string]*virtual
	dids   map[string]*virtual
	order  []*virtual // in the order of their first rows
	unused int        // rows that are disabled, deleted, or not for the router
}

// virtual is one virtual domain.
type virtual struct {
	did   string
	place int // in snapshot.order
	names []name
	set   *core.AttrSet // did first, then the attributes in the order of rows
}

// name is one name of a virtual domain as it is compared, with its row's flags.
type name struct {
	text  string
	flags uint32
}

// canon returns the canonical name.
func (v *virtual) canon() string {
	for i := range v.names {
		if v.names[i].flags&flagCanon != 0 {
			return v.names[i].text
		}
	}
	return v.names[0].text
}

func newSnapshot() *snapshot {
	return &snapshot{names: map[string]*virtual{}, dids: map[string]*virtual{}}
}

// find returns the virtual domain that has a name, or nil. It allocates only
// for an IPv6 address that is foreign or not written as RFC 5952 says.
func (s *snapshot) find(host []byte) *virtual {
	var buf nameBuffer
	name := normalise(&buf, host)
	if v := s.names[string(name)]; v != nil || bytes.IndexByte(name, ':') < 0 {
		return v
	}
	return s.names[string(canonical(name))]
}

// attrSet makes the set that lookup_domain publishes.
func attrSet(did string, attrs []core.Attr) *core.AttrSet {
	return core.NewAttrSet(append([]core.Attr{didOf(did)}, attrs...))
}

func didOf(did string) core.Attr { return core.Attr{Name: didAttr, Value: core.TextValue(did)} }
