package gateway

import (
	"cmp"
	"net/netip"
	"slices"

	"sipr/core/sipmsg"
)

// snapshot is the rules as they were read at one time. It does not change.
type snapshot struct {
	rules []rule
	// byPrefix holds the rules of each prefix by priority and, within one
	// priority, the heaviest first.
	byPrefix map[string][]*rule
	// longest is the length of the longest prefix.
	longest int
	addrs   map[netip.Addr]struct{}
}

func newSnapshot(rules []rule) *snapshot {
	s := &snapshot{rules: rules, byPrefix: map[string][]*rule{}, addrs: map[netip.Addr]struct{}{}}
	slices.SortStableFunc(s.rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight))
	})
	for i := range s.rules {
		r := &s.rules[i]
		s.byPrefix[r.prefix] = append(s.byPrefix[r.prefix], r)
		s.longest = max(s.longest, len(r.prefix))
		if r.addr.IsValid() {
			s.addrs[r.addr] = struct{}{}
		}
	}
	return s
}

// find returns the rules of the longest prefix that number begins with.
func (s *snapshot) find(number []byte) []*rule {
	for n := min(s.longest, len(number)); n >= 0; n-- {
		if rules, ok := s.byPrefix[string(number[:n])]; ok {
			return rules
		}
	}
	return nil
}

// shuffle orders rules, which are sorted by priority, for one call: within a
// priority each place is drawn by weight among those that are left. Rules of
// weight 0 are drawn when no others are left.
func shuffle(rules []*rule, random func(uint32) uint32) {
	for len(rules) > 1 {
		n, sum := 0, uint32(0)
		for n < len(rules) && rules[n].priority == rules[0].priority {
			sum += uint32(rules[n].weight)
			n++
		}
		for same := rules[:n]; len(same) > 1; same = same[1:] {
			i := draw(same, sum, random)
			sum -= uint32(same[i].weight)
			same[0], same[i] = same[i], same[0]
		}
		rules = rules[n:]
	}
}

func draw(rules []*rule, sum uint32, random func(uint32) uint32) int {
	if sum == 0 {
		return int(random(uint32(len(rules))))
	}
	at := random(sum)
	for i, r := range rules {
		if w := uint32(r.weight); at < w {
			return i
		} else {
			at -= w
		}
	}
	return 0
}

// appendURI appends the Request-URI that leads number to r's gateway; false if
// the rule leaves nothing of the number.
func (r *rule) appendURI(dst, number []byte) ([]byte, bool) {
	rest := number[min(r.strip, len(number)):]
	if len(rest)+len(r.prepend) == 0 {
		return dst, false
	}
	var tmp [2 * maxNumber]byte
	user := append(append(tmp[:0], r.prepend...), rest...)
	dst = append(dst, r.before...)
	dst = sipmsg.AppendEscapedUser(dst, user)
	dst = append(dst, '@')
	return append(dst, r.after...), true
}
