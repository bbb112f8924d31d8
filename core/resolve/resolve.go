// Package resolve finds where a SIP URI leads: the address and port to send
// to. An IP address needs no look-up; a host name is asked for by SRV, then A
// and AAAA (RFC 3263 §4), and the answer is kept for a while.
package resolve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// Resolver looks names up in the system's DNS and remembers the answers.
type Resolver struct {
	clock clock.Clock
	dns   DNS

	mu    sync.Mutex
	cache map[key]entry
}

// DNS is what a Resolver asks; *net.Resolver is one.
type DNS interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

type key struct {
	host  string
	proto core.Proto
	port  uint16
	v6    bool
}

type entry struct {
	addr    netip.AddrPort
	err     error
	expires clock.Time
}

const (
	keepFor      = 60 * time.Second
	keepErrorFor = 5 * time.Second
	maxEntries   = 10000
)

// ErrNotFound says that a name leads nowhere.
var ErrNotFound = errors.New("the name has no address")

// New returns a resolver that asks dns.
func New(c clock.Clock, dns DNS) *Resolver {
	return &Resolver{clock: c, dns: dns, cache: map[key]entry{}}
}

// Protocol returns the transport that a URI asks for (RFC 3263 §4.1), without
// NAPTR: transport=, TLS for sips:, else UDP.
func Protocol(u *sipmsg.URI) core.Proto {
	t, ok := u.Param("transport")
	p := core.UDP
	if ok {
		p = core.ParseProto(t)
	}
	if u.Scheme == sipmsg.SIPS && (p == core.UDP || p == core.TCP) {
		p = core.TLS
	}
	return p
}

// Literal returns the address of a URI whose host, or maddr, is an IP address.
func Literal(u *sipmsg.URI, p core.Proto) (netip.AddrPort, bool) {
	host := u.Host
	if maddr, ok := u.Param("maddr"); ok {
		host = maddr
	}
	ip, ok := sipmsg.ParseIP(host)
	if !ok {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, portOf(u, p)), true
}

func portOf(u *sipmsg.URI, p core.Proto) uint16 {
	if u.Port != 0 {
		return u.Port
	}
	return p.Port()
}

// Cached returns a remembered answer for a URI with a host name.
func (r *Resolver) Cached(u *sipmsg.URI, p core.Proto, v6 bool) (netip.AddrPort, error, bool) {
	k := key{strings.ToLower(string(u.Host)), p, u.Port, v6}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.cache[k]
	if !ok || e.expires <= r.clock.Now() {
		return netip.AddrPort{}, nil, false
	}
	return e.addr, e.err, true
}

// Lookup asks the DNS for a URI's host name. It blocks.
func (r *Resolver) Lookup(ctx context.Context, u *sipmsg.URI, p core.Proto, v6 bool) (netip.AddrPort, error) {
	k := key{strings.ToLower(string(u.Host)), p, u.Port, v6}
	addr, err := r.ask(ctx, k)
	if ctx.Err() != nil {
		return addr, err // says nothing about the name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cache) >= maxEntries {
		clear(r.cache)
	}
	keep := keepFor
	if err != nil {
		keep = keepErrorFor
	}
	r.cache[k] = entry{addr, err, r.clock.Now().Add(keep)}
	return addr, err
}

func (r *Resolver) ask(ctx context.Context, k key) (netip.AddrPort, error) {
	if k.port == 0 {
		service, proto := "sip", "udp"
		switch k.proto {
		case core.TCP:
			proto = "tcp"
		case core.TLS:
			service, proto = "sips", "tcp"
		}
		if _, srv, err := r.dns.LookupSRV(ctx, service, proto, k.host); err == nil {
			for _, s := range srv { // ordered by priority, weight drawn
				if addr, err := r.host(ctx, strings.TrimSuffix(s.Target, "."), s.Port, k.v6); err == nil {
					return addr, nil
				}
			}
		}
		k.port = k.proto.Port()
	}
	return r.host(ctx, k.host, k.port, k.v6)
}

func (r *Resolver) host(ctx context.Context, name string, port uint16, v6 bool) (netip.AddrPort, error) {
	network := "ip4"
	if v6 {
		network = "ip6"
	}
	ips, err := r.dns.LookupNetIP(ctx, network, name)
	if err != nil || len(ips) == 0 {
		return netip.AddrPort{}, ErrNotFound
	}
	return netip.AddrPortFrom(ips[0].Unmap(), port), nil
}
