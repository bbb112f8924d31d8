package engine

import (
	"errors"

	"sipr/core"
	"sipr/core/sipmsg"
	"sipr/lua"
)

var errEditedReply = errors.New("reply_route made a response of it that cannot be sent; it goes on as it came")

// replyRoute runs the script's reply_route on a response. in is the request
// whose memory the response uses. true says that the script has dropped it; a
// provisional one is then a 100, which ends here whatever it belongs to, but
// still tells a transaction that somebody is there.
func (e *Engine) replyRoute(p *lua.Program, in *core.Request, r *core.Response) (dropped bool) {
	m := r.Msg
	in.Engine, in.Flow, in.Now, in.Out = e, r.Flow, r.Now, r.Out
	in.Reply, in.Route = m, core.ResponseRoute
	switch err := p.Run(in, lua.ReplyRoute); {
	case errors.Is(err, lua.ErrBusy):
		e.stats.busy.Add(1)
	case err != nil:
		e.scriptError(in, err)
	}
	dropped = in.Dropped
	if provisional := dropped && m.Status < 200; provisional || m.Edited() {
		if !e.rewrite(in, m, provisional) {
			e.scriptError(in, errEditedReply)
		}
	}
	return dropped
}

// rewrite gives a response bytes that have its edits: a transaction copies
// bytes when it must keep a response. false says that the edits were given up.
func (e *Engine) rewrite(in *core.Request, m *sipmsg.Message, trying bool) bool {
	es := in.EngineState()
	received := m.Bytes()
	es.Small = m.AppendTo(es.Small[:0])
	if trying {
		copy(es.Small[len("SIP/2.0 "):], "100")
	}
	if m.Parse(es.Small) == nil && m.Check() == nil {
		return true
	}
	if m.Parse(received) != nil {
		return false
	}
	if trying {
		m.Status = 100
	}
	return false
}

// finalKept notes that a drop() was of no use.
func (e *Engine) finalKept(r *core.Response) {
	const text = "drop() in reply_route: a transaction needs its final response, which goes on"
	if n, ok := e.errors.first(text, r.Now); ok {
		e.log.Warn(text, "status", r.Msg.Status, "suppressed", n)
	}
}
