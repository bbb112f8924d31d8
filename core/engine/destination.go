package engine

import (
	"context"
	"errors"
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

// errNamed says that a URI leads to a host name, which has to be looked up.
var errNamed = errors.New("a host name")

// direct finds where a URI with an IP address leads.
func (e *Engine) direct(u *sipmsg.URI, prefer *core.Socket) (core.Flow, error) {
	p := resolve.Protocol(u)
	if p == core.ProtoNone {
		return core.Flow{}, core.ErrUnresolvable
	}
	addr, ok := resolve.Literal(u, p)
	if !ok {
		return core.Flow{}, errNamed
	}
	if _, asked := u.Param("transport"); !asked && u.Scheme == sipmsg.SIP && prefer != nil && !e.hasProto(p) {
		p = prefer.Proto // the router listens on streams only
		addr, _ = resolve.Literal(u, p)
	}
	return e.route(p, addr, prefer)
}

// Resolve implements core.Engine.
func (e *Engine) Resolve(r *core.Request, u *sipmsg.URI, prefer *core.Socket) (core.Flow, error) {
	f, err := e.direct(u, prefer)
	if err != errNamed {
		return f, err
	}
	var few [resolve.MaxTargets]core.Flow
	ways, err := e.ways(r, u, prefer, few[:0])
	if err != nil {
		return core.Flow{}, err
	}
	return ways[0], nil
}

// ways appends where the host name of a URI leads, in order.
func (e *Engine) ways(r *core.Request, u *sipmsg.URI, prefer *core.Socket, buf []core.Flow) ([]core.Flow, error) {
	q, err := resolve.QueryOf(u)
	if err != nil {
		return buf, core.ErrUnresolvable
	}
	var few [resolve.MaxTargets]resolve.Target
	list, err, known := e.resolver.Cached(&q, few[:0])
	if !known {
		list, err = e.lookup(r, q)
	}
	if err != nil {
		return buf, core.ErrUnresolvable
	}
	n := len(buf)
	for i := range list {
		f, err := e.route(list[i].Proto, list[i].Addr, prefer)
		if err != nil {
			continue
		}
		if f.Proto().Secure() {
			f.Host = core.NameOf(list[i].Host)
		}
		buf = append(buf, f)
	}
	if len(buf) == n {
		return buf, core.ErrUnresolvable
	}
	return buf, nil
}

// lookup asks the DNS without holding up other messages.
func (e *Engine) lookup(r *core.Request, q resolve.Query) (list []resolve.Target, err error) {
	wait := r.Wait("dns", func(ctx context.Context) error {
		list, err = e.resolver.Lookup(ctx, &q, nil)
		return err
	})
	if wait != nil {
		err = wait
	}
	return list, err
}

// supports tells the resolver what a socket of ours can reach.
func (e *Engine) supports(p core.Proto, v6 bool) bool {
	for _, s := range e.network.Sockets() {
		if s.Proto == p && s.Addr.Addr().Unmap().Is6() == v6 {
			return true
		}
	}
	return false
}

// ResolveAll implements core.Engine.
func (e *Engine) ResolveAll(r *core.Request, u *sipmsg.URI, prefer *core.Socket, buf []core.Flow) ([]core.Flow, error) {
	n := len(buf)
	f, err := e.direct(u, prefer)
	switch err {
	case nil:
		buf = append(buf, f)
	case errNamed:
		buf, err = e.ways(r, u, prefer, buf)
	}
	if err != nil {
		return buf, err
	}
	return e.tcpFirst(r, u, buf, n), nil
}

// Unreachable implements core.Engine.
func (e *Engine) Unreachable(way core.Flow) { e.resolver.Fail(way.Proto(), way.Remote) }

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
