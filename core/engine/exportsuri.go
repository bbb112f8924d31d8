package engine

import (
	"strings"

	"sipr/core"
	"sipr/core/sipmsg"
)

func setPart(part string) func(*core.Request, *core.Args) core.Result {
	return func(r *core.Request, a *core.Args) core.Result {
		if err := core.SetURIPart(r, part, a.Value(0)); err != nil {
			return core.Fail(err)
		}
		return core.True
	}
}

func (m *coreModule) strip(r *core.Request, a *core.Args) core.Result {
	return m.cutUser(r, int(a.Int(0, 0)), 0)
}

func (m *coreModule) stripTail(r *core.Request, a *core.Args) core.Result {
	return m.cutUser(r, 0, int(a.Int(0, 0)))
}

func (m *coreModule) cutUser(r *core.Request, head, tail int) core.Result {
	u, err := r.Msg.RURI()
	if err != nil {
		return core.Fail(err)
	}
	if head < 0 || tail < 0 || head+tail > len(u.User) {
		return core.False("too_short")
	}
	user := u.User[head : len(u.User)-tail]
	if err := core.SetURIPart(r, "user", core.Value{Kind: core.KindText, Raw: user}); err != nil {
		return core.Fail(err)
	}
	return core.True
}

func (m *coreModule) prefix(r *core.Request, a *core.Args) core.Result {
	u, err := r.Msg.RURI()
	if err != nil {
		return core.Fail(err)
	}
	user := append(append([]byte(nil), a.Bytes(0)...), u.User...)
	if err := core.SetURIPart(r, "user", core.RawValue(user)); err != nil {
		return core.Fail(err)
	}
	return core.True
}

func (m *coreModule) revertURI(r *core.Request, _ *core.Args) core.Result {
	r.Msg.SetRURI(append([]byte(nil), r.Msg.OriginalRURI()...))
	return core.True
}

func (m *coreModule) setDstURI(r *core.Request, a *core.Args) core.Result {
	if _, err := sipmsg.ParseURI(a.Bytes(0)); err != nil {
		return core.Fail(err)
	}
	r.Main.NextHop = r.Keep(a.Bytes(0))
	return core.True
}

func (m *coreModule) resetDstURI(r *core.Request, _ *core.Args) core.Result {
	r.Main.NextHop = nil
	return core.True
}

func (m *coreModule) maxfwd(r *core.Request, _ *core.Args) core.Result {
	if r.Msg.MaxForwards() == 0 {
		return core.False("no_hop_left")
	}
	return core.True
}

func (m *coreModule) hasToTag(r *core.Request, _ *core.Args) core.Result {
	return core.Is(r.Msg.ToTag() != nil)
}

func (m *coreModule) isMethod(r *core.Request, a *core.Args) core.Result {
	list := a.Value(0).Str
	name := r.MethodName()
	for len(list) > 0 {
		var one string
		one, list, _ = strings.Cut(list, "|")
		if string(name) == one {
			return core.True
		}
	}
	return core.Is(false)
}

func (m *coreModule) isMyself(r *core.Request, a *core.Args) core.Result {
	var host []byte
	var port uint16
	if a.Has(0) {
		u, err := sipmsg.ParseURI(append([]byte("sip:"), a.Bytes(0)...))
		if err != nil {
			return core.Is(false)
		}
		host, port = u.Host, u.Port
	} else {
		u, err := r.Msg.RURI()
		if err != nil {
			return core.Is(false)
		}
		host, port = u.Host, u.Port
	}
	return core.Is(m.e.IsMyself(host, port))
}

func (m *coreModule) fromLoopback(r *core.Request, _ *core.Args) core.Result {
	return core.Is(r.Flow.Remote.Addr().IsLoopback())
}

func flagBit(a *core.Args) uint32 { return 1 << (uint(a.Int(0, 0)) & 31) }

func (m *coreModule) setFlag(r *core.Request, a *core.Args) core.Result {
	r.Flags |= flagBit(a)
	return core.True
}

func (m *coreModule) resetFlag(r *core.Request, a *core.Args) core.Result {
	r.Flags &^= flagBit(a)
	return core.True
}

func (m *coreModule) isFlagSet(r *core.Request, a *core.Args) core.Result {
	return core.Is(r.Flags&flagBit(a) != 0)
}

// forward sends the request on without a transaction.
func (m *coreModule) forward(r *core.Request, a *core.Args) core.Result {
	t := r.Main
	if a.Has(0) {
		t.NextHop = r.Keep(a.Bytes(0))
	}
	err := m.e.Forward(r, &t)
	r.Decide()
	if err != nil {
		if r.Msg.Method == sipmsg.ACK {
			return core.False("ack")
		}
		r.AnswerProblem(err)
		return core.False("not_sent")
	}
	return core.True
}

// Forward implements core.Engine.
func (e *Engine) Forward(r *core.Request, t *core.Target) error {
	if err := r.MayForward(); err != nil {
		return err
	}
	hop, err := r.HopFor(t)
	if err != nil {
		return err
	}
	if !hop.Flow.Valid() {
		if hop.Flow, err = e.Resolve(r, &hop.Next, r.Flow.Socket); err != nil {
			return err
		}
	}
	if err := r.MayReach(hop.Flow); err != nil {
		return err
	}
	v, err := r.Msg.Via()
	if err != nil {
		return err
	}
	if e.loops(hop.Flow) {
		return core.ErrTooManyHops
	}
	var branch [64]byte
	b := e.appendStatelessBranch(branch[:0], v, r.Msg.CallID())
	msg := r.AppendBranch(r.Out.Buffer(), hop, t, b)
	return r.Out.Send(hop.Flow, msg)
}

// loops tells whether a flow leads straight back to one of our own sockets.
func (e *Engine) loops(f core.Flow) bool {
	for _, s := range e.network.Sockets() {
		if s.Proto == f.Socket.Proto && s.Addr == f.Remote {
			return true
		}
	}
	return false
}
