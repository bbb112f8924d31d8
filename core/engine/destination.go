package engine

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"sipr/core"
	"sipr/core/resolve"
	"sipr/core/sipmsg"
)

// IsMyself implements core.Engine.
func (e *Engine) IsMyself(host []byte, port uint16) bool {
	ip, isIP := sipmsg.ParseIP(host)
	for _, s := range e.network.Sockets() {
		if port != 0 && port != s.Port && port != s.Addr.Port() || port == 0 && s.Port != s.Proto.Port() && s.Addr.Port() != s.Proto.Port() {
			continue
		}
		if sipmsg.EqualFold(host, s.Host) || isIP && ip.Unmap() == s.Addr.Addr() {
			return true
		}
	}
	for _, a := range e.params.aliases {
		h, p, ok := strings.Cut(a, ":")
		if ok && strings.Contains(p, ":") { // a bare IPv6 address
			h, ok = a, false
		}
		if sipmsg.EqualFold(host, h) {
			if n, err := strconv.Atoi(p); !ok || err == nil && (int(port) == n || port == 0 && n == 5060) {
				return true
			}
		}
	}
	for _, f := range e.hooks.myself {
		if f(host) {
			return true
		}
	}
	return false
}

// Resolve implements core.Engine.
func (e *Engine) Resolve(r *core.Request, u *sipmsg.URI, prefer *core.Socket) (core.Flow, error) {
	p := resolve.Protocol(u)
	if p == core.ProtoNone {
		return core.Flow{}, core.ErrUnresolvable
	}
	if _, asked := u.Param("transport"); !asked && u.Scheme == sipmsg.SIP && prefer != nil && !e.hasProto(p) {
		p = prefer.Proto // the router listens on streams only
	}
	if addr, ok := resolve.Literal(u, p); ok {
		return e.route(p, addr, prefer)
	}
	v6 := prefer != nil && prefer.Addr.Addr().Is6()
	addr, err, known := e.resolver.Cached(u, p, v6)
	if !known {
		own := *u
		err = r.Wait("dns", func(ctx context.Context) (err error) {
			addr, err = e.resolver.Lookup(ctx, &own, p, v6)
			return err
		})
	}
	if err != nil {
		return core.Flow{}, core.ErrUnresolvable
	}
	return e.route(p, addr, prefer)
}

func (e *Engine) hasProto(p core.Proto) bool {
	for _, s := range e.network.Sockets() {
		if s.Proto == p {
			return true
		}
	}
	return false
}

func (e *Engine) route(p core.Proto, addr netip.AddrPort, prefer *core.Socket) (core.Flow, error) {
	f, err := e.network.Route(p, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), prefer)
	if err != nil {
		return f, core.ErrUnresolvable
	}
	return f, nil
}
