package resolve

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"sipr/core/clock"
)

// What an answer without records means.
var (
	errNoName = errors.New("no such name")
	errNoData = errors.New("no record of the type")
	errSilent = errors.New("no server answers")
	errFailed = errors.New("no server answers properly")
)

// answer is what is known of one name and type. It does not change.
type answer struct {
	addrs   []netip.Addr
	srv     []srv   // by priority; weight 0 first within one
	naptr   []naptr // by order and preference
	err     error
	expires clock.Time
	// extra are the records of the additional section, by recordKey.
	extra map[string]*answer
}

type srv struct {
	priority, weight, port uint16
	target                 string // "" for none
}

type naptr struct {
	order, preference uint16
	flag              byte // 's' or 'a'
	service           string
	replacement       string
}

// maxChain bounds the aliases (CNAME) that are followed.
const maxChain = 8

func recordKey(name string, t uint16) string {
	return string([]byte{byte(t >> 8), byte(t)}) + name
}

// read returns what a message says about a name. If the name is an alias of
// which the message does not tell the end, next is what to ask for.
func read(m *dns.Msg, cfg *Config, now clock.Time, name string, t uint16) (a *answer, next string) {
	owner := name
	ttl := cfg.MaxTTL
	for i := 0; i < maxChain; i++ {
		c := alias(m.Answer, owner)
		if c == nil {
			break
		}
		target, ok := dnsName(c.Target)
		if !ok {
			return negative(m, cfg, now, errNoData), ""
		}
		owner = target
		ttl = min(ttl, life(c.Hdr.Ttl))
	}
	if a := collect(m.Answer, cfg, now, owner, t, ttl); a != nil {
		a.extra = additional(m, cfg, now, a)
		return a, ""
	}
	if m.Rcode == dns.RcodeNameError {
		return negative(m, cfg, now, errNoName), ""
	}
	if owner != name && soa(m) == nil {
		return &answer{err: errNoData, expires: now.Add(bound(ttl, cfg.MinTTL, cfg.MaxTTL))}, owner
	}
	return negative(m, cfg, now, errNoData), ""
}

func alias(list []dns.RR, owner string) *dns.CNAME {
	for _, rr := range list {
		if c, ok := rr.(*dns.CNAME); ok && sameName(c.Hdr.Name, owner) {
			return c
		}
	}
	return nil
}

// collect returns the records of one name and type, nil if there are none.
func collect(list []dns.RR, cfg *Config, now clock.Time, owner string, t uint16, ttl time.Duration) *answer {
	a := &answer{}
	any := false
	for _, rr := range list {
		h := rr.Header()
		if h.Rrtype != t || h.Class != dns.ClassINET || !sameName(h.Name, owner) {
			continue
		}
		any = true
		ttl = min(ttl, life(h.Ttl))
		a.add(rr)
	}
	if !any {
		return nil
	}
	slices.SortStableFunc(a.srv, func(x, y srv) int {
		if x.priority != y.priority {
			return cmp.Compare(x.priority, y.priority)
		}
		return cmp.Compare(min(x.weight, 1), min(y.weight, 1))
	})
	slices.SortStableFunc(a.naptr, func(x, y naptr) int {
		return cmp.Or(cmp.Compare(x.order, y.order), cmp.Compare(x.preference, y.preference))
	})
	a.addrs = a.addrs[:min(len(a.addrs), maxRecords)]
	a.srv = a.srv[:min(len(a.srv), maxRecords)]
	a.expires = now.Add(bound(ttl, cfg.MinTTL, cfg.MaxTTL))
	return a
}

// add takes a record, unless it is of no use.
func (a *answer) add(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.A:
		if ip, ok := netip.AddrFromSlice(rr.A); ok {
			a.addrs = append(a.addrs, ip.Unmap())
		}
	case *dns.AAAA:
		if ip, ok := netip.AddrFromSlice(rr.AAAA); ok && !ip.Is4In6() {
			a.addrs = append(a.addrs, ip)
		}
	case *dns.SRV:
		target, ok := dnsName(rr.Target)
		if ok || rr.Target == "." {
			a.srv = append(a.srv, srv{rr.Priority, rr.Weight, rr.Port, target})
		}
	case *dns.NAPTR:
		to, ok := dnsName(rr.Replacement)
		if flag := strings.ToLower(rr.Flags); ok && (flag == "s" || flag == "a") {
			a.naptr = append(a.naptr, naptr{rr.Order, rr.Preference, flag[0], rr.Service, to})
		}
	}
}

// additional returns the records that came along and that a's records lead to.
func additional(m *dns.Msg, cfg *Config, now clock.Time, a *answer) map[string]*answer {
	if len(a.srv) == 0 && len(a.naptr) == 0 {
		return nil
	}
	extra := map[string]*answer{}
	take := func(name string, t uint16) {
		if e := collect(m.Extra, cfg, now, name, t, cfg.MaxTTL); e != nil {
			extra[recordKey(name, t)] = e
		}
	}
	servers := func(list []srv) {
		for _, s := range list {
			take(s.target, dns.TypeA)
			take(s.target, dns.TypeAAAA)
		}
	}
	servers(a.srv)
	for _, n := range a.naptr[:min(len(a.naptr), maxRecords)] {
		if n.flag == 'a' {
			servers([]srv{{target: n.replacement}})
			continue
		}
		take(n.replacement, dns.TypeSRV)
		if e := extra[recordKey(n.replacement, dns.TypeSRV)]; e != nil {
			servers(e.srv)
		}
	}
	return extra
}

// negative returns an answer that says "no", for as long as the zone wants it
// (RFC 2308 §5).
func negative(m *dns.Msg, cfg *Config, now clock.Time, err error) *answer {
	ttl := cfg.MinNegative
	if s := soa(m); s != nil {
		ttl = bound(min(life(s.Hdr.Ttl), life(s.Minttl)), cfg.MinNegative, cfg.MaxNegative)
	}
	return &answer{err: err, expires: now.Add(ttl)}
}

func soa(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Ns {
		if s, ok := rr.(*dns.SOA); ok {
			return s
		}
	}
	return nil
}

// life returns a TTL; one with the highest bit set is 0 (RFC 2181 §8).
func life(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func bound(d, low, high time.Duration) time.Duration { return max(low, min(d, high)) }

// sameName compares the owner of a record with a name of ours.
func sameName(owner, name string) bool {
	return strings.EqualFold(strings.TrimSuffix(owner, "."), name)
}

// dnsName returns a name of the DNS as we keep it, if it is one to ask for.
func dnsName(s string) (string, bool) {
	b, ok := appendName(nil, []byte(s))
	if !ok {
		return "", false
	}
	return string(b), true
}
