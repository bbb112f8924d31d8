package resolve

import (
	"context"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"sipr/core"
	"sipr/core/clock"
)

// builder makes a plan: it asks, and notes how long the answers live.
type builder struct {
	r    *Resolver
	ctx  context.Context
	cfg  *Config
	now  clock.Time
	host string
	port uint16
	want core.Proto // what the URI asks for
	sips bool

	expires clock.Time
	// extra are records that came along with the answers to other questions.
	// They serve this plan only: nobody's zone can put words into another's.
	extra map[string]*answer
	// failed says that a question had no proper answer, silent counts the
	// rounds of questions in which no server answered at all.
	failed, busy, interrupted bool
	silent                    int
}

// makePlan asks what there is to know about a query and keeps it. The error is
// one that says nothing about the name.
func (r *Resolver) makePlan(ctx context.Context, key string, q *Query) (*plan, error) {
	now := r.clock.Now()
	b := &builder{
		r: r, ctx: ctx, cfg: r.config.Load(), now: now,
		host: key[:len(key)-keyTail], port: q.Port, want: q.proto(), sips: q.Secure,
	}
	b.expires = now.Add(b.cfg.MaxTTL)
	p := &plan{host: b.host, port: q.Port, proto: q.Transport, secure: q.Secure}
	old := r.old(key, now)
	if old != nil { // then nobody need wait for long (RFC 8767 §5)
		var cancel context.CancelFunc
		b.ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer r.clock.AfterFunc(b.cfg.Timeout, cancel)()
	}
	p.groups, p.err = b.build()
	switch {
	case ctx.Err() == context.Canceled:
		return nil, ctx.Err()
	case b.failed && old != nil:
		r.stats.stale.Add(1)
		again := *old
		again.expires = r.clock.Now().Add(b.cfg.StaleRetry)
		r.plans.put(key, &again, false)
		return &again, nil
	case b.interrupted:
		return nil, ctx.Err()
	case b.failed:
		if b.busy {
			return nil, ErrBusy
		}
		b.until(r.clock.Now().Add(b.cfg.KeepError))
	}
	if p.err != nil {
		r.stats.failures.Add(1)
		b.until(now.Add(b.cfg.MaxNegative))
	}
	p.mark()
	p.expires = b.expires
	p.stale = p.expires.Add(b.cfg.Stale)
	if b.failed {
		p.stale = p.expires // a makeshift
	}
	r.plans.put(key, p, p.err != nil)
	return p, nil
}

// old returns an outlived plan that may serve if the servers fail.
func (r *Resolver) old(key string, now clock.Time) *plan {
	if p, ok := r.plans.get([]byte(key)); ok && p.err == nil && now < p.stale {
		return p
	}
	return nil
}

func (b *builder) until(t clock.Time) { b.expires = min(b.expires, t) }

// build follows RFC 3263 §4.1 and §4.2.
func (b *builder) build() ([]group, error) {
	if b.want != core.ProtoNone && !b.have(b.want) {
		return nil, ErrNoTransport
	}
	if b.host == "invalid" || strings.HasSuffix(b.host, ".invalid") {
		return nil, ErrNotFound // RFC 6761 §6.4: nobody needs to be asked
	}
	_, local := b.local(b.host)
	switch {
	case b.port != 0 || local:
		return b.direct(b.usual())
	case b.want != core.ProtoNone:
		return b.bySRV([]service{{name: srvName(b.want, b.host), proto: b.want}}, b.want)
	}
	return b.byNAPTR()
}

// service is an SRV name, or that of a host, and the transport it stands for.
type service struct {
	name  string
	proto core.Proto
	host  bool
}

// srvName returns the name that RFC 3263 §4.1 asks for SRV.
func srvName(p core.Proto, host string) string {
	switch p {
	case core.TCP:
		return "_sip._tcp." + host
	case core.TLS:
		return "_sips._tcp." + host
	case core.WS:
		return "_sip._ws." + host
	case core.WSS:
		return "_sips._ws." + host
	}
	return "_sip._udp." + host
}

// naptrProto returns the transport of a NAPTR service (RFC 3263 §4.1, RFC 7118
// §5.6); ProtoNone for one that is not SIP's or not known.
func naptrProto(service string) core.Proto {
	switch strings.ToUpper(service) {
	case "SIP+D2U":
		return core.UDP
	case "SIP+D2T":
		return core.TCP
	case "SIPS+D2T":
		return core.TLS
	case "SIP+D2W":
		return core.WS
	case "SIPS+D2W":
		return core.WSS
	}
	return core.ProtoNone
}

func isSIP(service string) bool {
	s := strings.ToUpper(service)
	return strings.HasPrefix(s, "SIP+D2") || strings.HasPrefix(s, "SIPS+D2")
}

// byNAPTR lets the domain choose the transport. Only the records of the lowest
// order that we can use count (RFC 3403 §4.1), by preference.
func (b *builder) byNAPTR() ([]group, error) {
	a := b.wait(b.ask(b.host, dns.TypeNAPTR))
	if a.err == errSilent {
		b.silent++
	}
	if a.err == errNoName {
		// Nothing exists below the name either (RFC 8020), but servers that
		// know a host from elsewhere say so of types they do not know.
		return b.direct(b.usual())
	}
	sip, order := false, uint16(0)
	var list []service
	for _, n := range a.naptr { // sorted
		sip = sip || isSIP(n.service)
		p := naptrProto(n.service)
		if p == core.ProtoNone || !b.have(p) || b.sips && p != core.TLS && p != core.WSS {
			continue
		}
		if len(list) == 0 {
			order = n.order
		}
		if n.order == order && len(list) < maxRecords {
			list = append(list, service{n.replacement, p, n.flag == 'a'})
		}
	}
	if len(list) > 0 {
		return b.bySRV(list, list[0].proto)
	}
	for _, p := range b.cfg.Prefer {
		if b.have(p) && (!b.sips || p == core.TLS) {
			list = append(list, service{name: srvName(p, b.host), proto: p})
		}
	}
	otherwise := b.usual()
	if sip {
		// The domain names what it speaks, and we speak nothing of it: only
		// an SRV record says otherwise, not our own guess.
		otherwise = core.ProtoNone
	}
	return b.bySRV(list, otherwise)
}

// candidate is a server whose addresses are not known yet.
type candidate struct {
	host     string
	port     uint16
	proto    core.Proto
	priority uint16
	weight   uint16
}

// candidates have one priority.
type candidates []candidate

// bySRV asks for the servers of services. Without any SRV record it goes to the
// name itself, over the transport otherwise (RFC 3263 §4.2).
func (b *builder) bySRV(list []service, otherwise core.Proto) ([]group, error) {
	found, exists := b.services(list)
	switch {
	case b.silent > 1: // the third round would fare no better
		return nil, ErrServers
	case len(found) > 0:
		return b.addresses(found)
	case exists:
		return nil, ErrNoService
	case otherwise == core.ProtoNone:
		return nil, ErrNoTransport
	}
	return b.direct(otherwise)
}

// services asks for SRV records, all at once. exists says that there were some,
// even if they say that there is no service.
func (b *builder) services(list []service) (all []candidates, exists bool) {
	questions := make([]*flight, len(list))
	for i, s := range list {
		if !s.host {
			questions[i] = b.ask(s.name, dns.TypeSRV)
		}
	}
	silent := false
	for i, f := range questions {
		if f == nil {
			all = append(all, candidates{{host: list[i].name, port: list[i].proto.Port(), proto: list[i].proto}})
			continue
		}
		a := b.wait(f)
		silent = silent || a.err == errSilent
		exists = exists || len(a.srv) > 0
		var last candidates
		for _, s := range a.srv { // sorted
			if s.target == "" || s.port == 0 {
				continue
			}
			if len(last) > 0 && last[0].priority != s.priority {
				all = append(all, last)
				last = nil
			}
			last = append(last, candidate{s.target, s.port, list[i].proto, s.priority, s.weight})
		}
		if len(last) > 0 {
			all = append(all, last)
		}
	}
	if silent {
		b.silent++
	}
	return all, exists
}

// direct goes to the addresses of the name itself.
func (b *builder) direct(p core.Proto) ([]group, error) {
	if p == core.ProtoNone {
		return nil, ErrNoTransport
	}
	return b.addresses([]candidates{{{host: b.host, port: portOr(b.port, p), proto: p}}})
}

// addresses asks for the addresses of all servers at once: A and AAAA, as far
// as we have sockets for them (RFC 7984 §3).
func (b *builder) addresses(all []candidates) ([]group, error) {
	type pair struct {
		known     []netip.Addr
		questions [2]*flight
	}
	var pairs []pair
	types := [2]uint16{dns.TypeA, dns.TypeAAAA}
	if b.cfg.PreferV6 {
		types = [2]uint16{dns.TypeAAAA, dns.TypeA}
	}
	for _, group := range all {
		for _, c := range group {
			var p pair
			if len(pairs) >= maxServers {
				break
			}
			if list, ok := b.local(c.host); ok {
				p.known = list
			} else {
				for i, t := range types {
					if b.cfg.Supports(c.proto, t == dns.TypeAAAA) {
						p.questions[i] = b.ask(c.host, t)
					}
				}
			}
			pairs = append(pairs, p)
		}
	}
	var groups []group
	for _, list := range all {
		var g group
		for _, c := range list {
			if len(pairs) == 0 {
				break
			}
			p := pairs[0]
			pairs = pairs[1:]
			ips := p.known
			for _, f := range p.questions {
				if f != nil {
					ips = append(ips, b.wait(f).addrs...)
				}
			}
			if targets := b.targets(c, ips); len(targets) > 0 {
				g = append(g, server{c.weight, targets})
			}
		}
		if len(g) > 0 {
			groups = append(groups, g)
		}
	}
	switch {
	case len(groups) > 0:
		return groups, nil
	case b.failed:
		return nil, ErrServers
	}
	return nil, ErrNotFound
}

func (b *builder) targets(c candidate, ips []netip.Addr) []Target {
	var list []Target
	for _, ip := range ips {
		if len(list) < MaxTargets && b.cfg.Supports(c.proto, ip.Is6()) {
			list = append(list, Target{Proto: c.proto, Addr: netip.AddrPortFrom(ip, c.port), Host: b.host})
		}
	}
	return list
}
