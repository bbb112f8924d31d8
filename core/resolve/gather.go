package resolve

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sipr/core"
)

// hostsTTL is how long a plan made from the hosts file lives.
const hostsTTL = 10 * time.Second

// local returns the addresses of a name that are known without the DNS.
func (b *builder) local(name string) ([]netip.Addr, bool) {
	list := b.r.system.hosts(b.cfg)[name]
	if len(list) == 0 && (name == "localhost" || strings.HasSuffix(name, ".localhost")) { // RFC 6761 §6.3
		list = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	if len(list) == 0 {
		return nil, false
	}
	b.until(b.now.Add(hostsTTL))
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y netip.Addr) int {
		if b.cfg.PreferV6 {
			x, y = y, x
		}
		return cmp.Compare(x.BitLen(), y.BitLen())
	})
	return list, true
}

func (b *builder) have(p core.Proto) bool {
	return b.cfg.Supports(p, false) || b.cfg.Supports(p, true)
}

// usual returns the transport if the domain does not say.
func (b *builder) usual() core.Proto {
	if b.want != core.ProtoNone {
		return b.want
	}
	return b.cfg.usual(b.sips, b.have)
}

// ask starts a question, unless the answer is known or under way.
func (b *builder) ask(name string, t uint16) *flight {
	if a := b.extra[recordKey(name, t)]; a != nil && a.expires > b.now {
		return &flight{a: a}
	}
	return b.r.ask(b.cfg, name, t)
}

// wait returns the answer to a question.
func (b *builder) wait(f *flight) *answer {
	if f.done != nil {
		select {
		case <-f.done:
		case <-b.ctx.Done():
			b.interrupted, b.failed = true, true
			return &answer{err: errFailed}
		}
	}
	a := f.a
	b.until(a.expires)
	b.busy = b.busy || a.err == ErrBusy
	b.failed = b.failed || a.err == errSilent || a.err == errFailed || a.err == ErrBusy
	for key, e := range a.extra {
		if b.extra == nil {
			b.extra = map[string]*answer{}
		}
		b.extra[key] = e
	}
	return a
}
