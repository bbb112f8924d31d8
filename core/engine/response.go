package engine

import (
	"net/netip"

	"sipr/core"
	"sipr/core/sipmsg"
	"sipr/core/transport"
)

// response handles a response: reply_route sees it, a hook takes it, or it is one to a request that
// was forwarded statelessly, or it is dropped (RFC 3261 §16.7, §16.11).
//
// in is the request whose memory the response uses; nil for one that no other
// element has sent, which reply_route does not see.
func (e *Engine) response(in *core.Request, r *core.Response) {
	m := r.Msg
	e.stats.responses.Add(1)
	if p := m.Check(); p != nil {
		e.stats.malformed.Add(1)
		return
	}
	v, err := m.Via()
	if err != nil || !e.ownVia(v) {
		e.stats.strayResponses.Add(1)
		return
	}
	dropped := false
	if _, p := e.scripts.load(); p.SeesReplies() && in != nil {
		dropped = e.replyRoute(p, in, r)
	}
	for _, hook := range e.hooks.response {
		if hook(r) {
			if dropped && m.Status >= 200 {
				e.finalKept(r)
			}
			return
		}
	}
	if dropped {
		e.stats.dropped.Add(1)
		return
	}
	if !e.forwardResponse(r, v) {
		e.stats.strayResponses.Add(1)
	}
}

// ownVia tells whether a Via carries the sent-by of one of our sockets.
func (e *Engine) ownVia(v *sipmsg.Via) bool {
	for _, s := range e.network.Sockets() {
		port := v.Port
		if port == 0 {
			port = s.Proto.Port()
		}
		if port == s.Port && sipmsg.EqualFold(v.Host, s.Host) && sipmsg.EqualFold(v.Transport, s.Proto.String()) {
			return true
		}
	}
	return false
}

// forwardResponse sends a response to a statelessly forwarded request on. The
// branch proves that we forwarded it: without that, anybody could have
// responses sent anywhere by a Via stack of his own.
func (e *Engine) forwardResponse(r *core.Response, own *sipmsg.Via) bool {
	m := r.Msg
	mark := len(sipmsg.MagicCookie)
	if len(own.Branch) < mark+len(statelessMark) || string(own.Branch[mark:mark+len(statelessMark)]) != statelessMark {
		return false
	}
	proto := core.ParseProto(own.Transport)
	var got [64]byte
	branch := append(got[:0], own.Branch...)
	next, ok := m.RemoveVia()
	if !ok {
		return false
	}
	var tmp [64]byte
	if string(e.appendStatelessBranch(tmp[:0], &next, m.CallID())) != string(branch) {
		return false
	}
	to, ok := next.ViaAddr()
	if !ok {
		return false
	}
	if p := core.ParseProto(next.Transport); p != core.ProtoNone {
		proto = p
	}
	flow, err := e.network.Route(proto, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), e.socketOf(own))
	if err != nil {
		return false
	}
	r.Out.Send(flow, m.AppendTo(r.Out.Buffer()))
	return true
}

func (e *Engine) socketOf(v *sipmsg.Via) *core.Socket {
	for _, s := range e.network.Sockets() {
		if sipmsg.EqualFold(v.Host, s.Host) && (v.Port == s.Port || v.Port == 0 && s.Port == s.Proto.Port()) {
			return s
		}
	}
	return nil
}

// Undeliverable implements transport.Handler: a message that could not leave
// over its connection comes back as the response that its sender would have
// seen (RFC 3261 §8.1.3.1: 503).
func (e *Engine) Undeliverable(w transport.Worker, msg []byte, to core.Flow) {
	e.stats.undeliverable.Add(1)
	m := new(sipmsg.Message)
	if m.Parse(msg) != nil || !m.IsRequest() || m.Method == sipmsg.ACK || m.Check() != nil {
		return
	}
	reply := m.AppendReply(nil, &sipmsg.Reply{Code: 503, Reason: "Transport Failure"})
	if m.Parse(reply) != nil {
		return
	}
	e.response(nil, &core.Response{Msg: m, Flow: to, Now: e.clock.Now(), Out: w})
	w.Flush()
}
