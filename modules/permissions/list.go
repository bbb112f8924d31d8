package permissions

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sipr/core"
)

// entry is one trusted source.
type entry struct {
	prefix netip.Prefix // masked; never an IPv4-mapped one
	proto  core.Proto   // ProtoNone for all
	tag    string       // the group, empty for none
	row    string       // the row's id as text, empty for the parameter
}

// list is the trusted sources, made for the question whether an address is
// among them: one map for each length of network that occurs, so that its time
// does not depend on how many there are. It is immutable.
type list struct {
	entries []entry // in the order of loading
	v4, v6  []length
	// next chains the entries of the same network by their index plus one;
	// 0 ends a chain.
	next []int32
}

// length holds the networks of one prefix length.
type length struct {
	bits  int
	first map[netip.Addr]int32 // index of an entry plus one, the head of a chain
}

func newList(entries []entry) *list {
	l := &list{entries: entries, next: make([]int32, len(entries))}
	for i := range entries {
		p := entries[i].prefix
		family := &l.v6
		if p.Addr().Is4() {
			family = &l.v4
		}
		at := slices.IndexFunc(*family, func(n length) bool { return n.bits == p.Bits() })
		if at < 0 {
			at = len(*family)
			*family = append(*family, length{p.Bits(), map[netip.Addr]int32{}})
		}
		first := (*family)[at].first
		l.next[i] = first[p.Addr()]
		first[p.Addr()] = int32(i) + 1
	}
	return l
}

// has tells whether an address that used a protocol is on the list; with a
// group, only that group's entries count. ProtoNone stands for a protocol that
// is not known.
func (l *list) has(addr netip.Addr, proto core.Proto, group []byte) bool {
	addr = addr.Unmap().WithZone("")
	family := l.v6
	if addr.Is4() {
		family = l.v4
	}
	for i := range family {
		p, err := addr.Prefix(family[i].bits)
		if err != nil {
			continue
		}
		for n := family[i].first[p.Addr()]; n != 0; n = l.next[n-1] {
			e := &l.entries[n-1]
			if (e.proto == core.ProtoNone || e.proto == proto) && (group == nil || e.tag == string(group)) {
				return true
			}
		}
	}
	return false
}

// parseSource reads an address or a network. Bits of the host part are
// ignored, and an IPv4-mapped address is the IPv4 address.
func parseSource(s string) (netip.Prefix, error) {
	bad := func() (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("%q is not an IP address or a network such as 10.0.0.0/8", s)
	}
	text := strings.TrimSpace(s)
	var p netip.Prefix
	var err error
	if strings.IndexByte(text, '/') >= 0 {
		p, err = netip.ParsePrefix(text)
	} else {
		var a netip.Addr
		if inner, ok := strings.CutPrefix(text, "["); ok {
			text = strings.TrimSuffix(inner, "]")
		}
		if a, err = netip.ParseAddr(text); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err != nil || !p.IsValid() {
		return bad()
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 { // it holds more than the IPv4 addresses
			return bad()
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func checkSource(s string) error {
	_, err := parseSource(s)
	return err
}

// source returns a network as it is shown: a single address without length.
func source(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
