package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
	"sipr/core/transport"
	"sipr/lua"
)

// requests keeps Request objects with their memory.
var requests = sync.Pool{New: func() any { return &core.Request{Msg: new(sipmsg.Message), Main: core.Target{Q: core.DefaultQ}} }}

// Handle implements transport.Handler.
func (e *Engine) Handle(w transport.Worker, msg []byte, from core.Flow, now clock.Time) {
	r := requests.Get().(*core.Request)
	if err := r.Msg.Parse(msg); err != nil {
		e.stats.unframed.Add(1)
		requests.Put(r)
		return
	}
	if !r.Msg.IsRequest() {
		e.response(r, r.AsResponse(from, now, w))
		r.Msg.Reset()
		if r.Engine != nil { // reply_route has run
			r.Reset()
		}
		requests.Put(r)
		return
	}
	e.running.Add(1)
	es := r.EngineState()
	es.Refs = 1
	r.Engine, r.Flow, r.Now, r.Out = e, from, now, w
	r.Route = core.RequestRoute
	e.request(r)
	e.leave(r)
	e.running.Add(-1)
	e.Release(r)
}

// request handles one request up to the end of its script's run.
func (e *Engine) request(r *core.Request) {
	m := r.Msg
	e.stats.requests.Add(1)
	if v, err := m.Via(); err == nil {
		src := r.Flow.Remote
		same := false
		if ip, ok := sipmsg.ParseIP(v.Host); ok {
			same = ip.Unmap() == src.Addr()
		}
		if !same || v.HasRPort {
			var tmp [48]byte
			m.SetReceived(src.Addr().AppendTo(tmp[:0]), src.Port(), same)
		}
		if v.Alias {
			e.alias(r.Flow, v.Port)
		}
	}
	p := m.Check()
	if p == nil && r.Flow.Proto().Framed() && !m.Has(sipmsg.HContentLength) {
		p = &sipmsg.Problem{Code: 400, Reason: "Missing Content-Length"} // RFC 3261 §18.3
	}
	if p != nil {
		e.stats.malformed.Add(1)
		if m.Method != sipmsg.ACK && m.Has(sipmsg.HVia) { // without Via nobody could match the response
			r.AnswerStateless(&core.Answer{Code: p.Code, Reason: p.Reason})
		}
		return
	}
	if e.serverHeader(r); m.Method == sipmsg.ACK && e.ownAck(r) {
		return
	}
	for _, hook := range e.hooks.request {
		if hook(r) {
			return
		}
	}
	if u, _ := m.RURI(); u.Scheme == sipmsg.SchemeOther {
		r.AnswerStateless(&core.Answer{Code: core.ErrScheme.Code, Reason: core.ErrScheme.Reason})
		return
	}
	if e.draining.Load() && m.ToTag() == nil && m.Method != sipmsg.CANCEL && m.Method != sipmsg.ACK {
		e.unavailable(r)
		return
	}
	e.run(r)
}

// unavailable refuses a request outside dialogs, without keeping anything.
func (e *Engine) unavailable(r *core.Request) {
	var tmp [64]byte
	h := append(tmp[:0], "Retry-After: "...)
	h = append(h, byte('1'+uint64(r.Now)/7%9), '0', '\r', '\n') // 10 to 90 s: not all at once
	r.AnswerStateless(&core.Answer{Code: 503, Reason: "Service Unavailable", Headers: h})
}

func (e *Engine) serverHeader(r *core.Request) {
	if s := e.params.serverHeader; s != "" {
		r.ReplyHeaders = append(append(append(r.ReplyHeaders, "Server: "...), s...), "\r\n"...)
	}
}

// run runs request_route and sees to it that the request has an end.
func (e *Engine) run(r *core.Request) {
	s, p := e.scripts.load()
	r.Script = s
	r.Undecide()
	err := p.Run(r, "request_route")
	switch {
	case errors.Is(err, lua.ErrBusy):
		e.stats.busy.Add(1)
		if !r.Decided() && r.Msg.Method != sipmsg.ACK {
			e.unavailable(r)
		}
	case err != nil:
		e.scriptError(r, err)
		fallthrough
	case !r.Decided():
		if err == nil {
			e.scriptError(r, &lua.Error{File: p.File, Msg: "request_route returned without a decision for " + string(r.Msg.MethodText())})
		}
		if !r.Decided() && r.Msg.Method != sipmsg.ACK {
			r.Answer(&core.Answer{Code: 500, Reason: "Server Internal Error"})
		}
	}
}

// RunRoute implements core.Engine.
func (e *Engine) RunRoute(r *core.Request, kind core.RouteKind, name string) error {
	s, ok := r.Script.(*script)
	if !ok {
		return errors.New("the request has no script")
	}
	r.Undecide()
	p := s.program.Load()
	if p == nil {
		s, p = e.move(r, s)
	}
	was := r.Route
	r.Route = kind
	err := p.Run(r, name)
	r.Route = was
	if errors.Is(err, lua.ErrNoRoute) { // named by an older script
		e.lacks(s, name)
		return nil
	}
	if err != nil {
		e.scriptError(r, err)
	}
	return err
}

func (e *Engine) scriptError(r *core.Request, err error) {
	e.stats.scriptErrors.Add(1)
	if n, ok := e.errors.first(err.Error(), r.Now); ok {
		e.log.Error("script failed", "error", err, "method", string(r.MethodName()), "source", r.Flow.Remote, "suppressed", n)
	}
}

// leave gives the request memory of its own if somebody keeps it, and tells
// its transaction that the run is over.
func (e *Engine) leave(r *core.Request) {
	if r.Tx == nil {
		return
	}
	e.compact(r)
	r.Tx.Leave(r)
}

// compact moves the message out of the receive buffer.
func (e *Engine) compact(r *core.Request) {
	es := r.EngineState()
	if atomic.LoadInt32(&es.Refs) > 1 {
		if n := len(r.Msg.Buffer()); cap(es.Small) < n {
			es.Small = make([]byte, 0, (n+255)&^255)
		}
		r.Msg.Compact(es.Small)
	}
	if b, ok := es.Buffer.(*transport.Buffer); ok {
		b.Free()
		es.Buffer = nil
	}
}

// Retain implements core.Engine.
func (e *Engine) Retain(r *core.Request) {
	es := r.EngineState()
	atomic.AddInt32(&es.Refs, 1)
	if s, ok := r.Script.(*script); ok && !es.Counted {
		es.Counted = true
		s.count(r, 1)
	}
}

// Release implements core.Engine.
func (e *Engine) Release(r *core.Request) {
	es := r.EngineState()
	if atomic.AddInt32(&es.Refs, -1) > 0 { // the run's own end and the transaction's may meet
		return
	}
	if b, ok := es.Buffer.(*transport.Buffer); ok {
		b.Free()
	}
	if es.Counted {
		r.Script.(*script).count(r, -1)
	}
	r.Msg.Reset()
	r.Reset()
	requests.Put(r)
}

// Wait implements core.Engine.
func (e *Engine) Wait(r *core.Request, what string, f func(context.Context) error) error {
	if r.Route == core.ResponseRoute {
		return errors.New("reply_route cannot wait for " + what)
	}
	for _, hold := range e.hooks.hold {
		hold(r)
	}
	es := r.EngineState()
	w, _ := r.Out.(transport.Worker)
	if w != nil {
		if b := w.Keep(); b != nil {
			// The buffer of an earlier wait, if any, is left to the collector.
			es.Buffer = b
		}
		w.Yield()
	} else {
		r.Out.Flush()
	}
	ctx, cancel := context.WithTimeout(context.Background(), e.params.waitTimeout)
	err := f(ctx)
	cancel()
	if w != nil {
		w.Resume()
	}
	if r.Tx != nil {
		r.Tx.Woken(r)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.stats.waitTimeouts.Add(1)
	}
	return err
}

// Final implements core.Engine.
func (e *Engine) Final(ev *core.FinalEvent) {
	for _, f := range e.hooks.final {
		f(ev)
	}
}

// Network implements core.Engine.
func (e *Engine) Network() core.Network { return e.network }
