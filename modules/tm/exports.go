package tm

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"sipr/core"
	"sipr/core/sipmsg"
)

func (m *Module) exports() []core.Export {
	rf := core.RequestRoute | core.FailureRoute
	code := core.Int("code", "status code, 100 to 699")
	reason := core.Text("reason", "reason phrase; the code's own if left out").Opt()
	return []core.Export{
		core.Func("t_relay", m.tRelay, "Sends the request to the Request-URI, or its Route, and to every further destination, statefully. If that is impossible it answers with the reason and returns false. An ACK is sent on without a transaction.",
			core.Text("uri", "where to send it instead").Opt()).In(rf),
		core.Func("t_newtran", m.tNewtran, "Makes the transaction now; false if the request was seen before.").In(core.RequestRoute),
		core.Func("t_reply", m.tReply, "Answers through the transaction, which it makes if there is none.", code, reason).In(rf),
		core.Func("t_on_failure", m.tOnFailure, "Names the route that runs when every branch has failed.", core.RouteName("route", "a function of the script")),
		core.Func("t_on_branch", m.tOnBranch, "Names the route that runs for each branch before it is sent.", core.RouteName("route", "a function of the script")),
		core.Func("t_on_reply", m.tOnReply, "Names the route that runs for each response that is sent on.", core.RouteName("route", "a function of the script")),
		core.Func("t_check_status", m.tCheckStatus, "Tells whether the failure's status code, or the response's, is one of those named.",
			core.String("codes", `such as "486|408"; a digit may be a dot, an x or a set: "4xx", "[45].."`)).In(core.FailureRoute | core.ReplyRoute),
		core.Func("t_is_canceled", m.tIsCanceled, "Tells whether the caller has canceled."),
		core.Func("t_set_fr", m.tSetFR, "Sets the final response timers of this transaction, in milliseconds; 0 leaves one as it is.",
			core.Int("fr_inv", "how long it may ring"), core.Int("fr", "how long there may be no response").Opt()),
		core.Func("append_branch", m.appendBranch, "Adds a destination: the given URI, or the Request-URI as it is now.",
			core.Text("uri", "its URI").Opt(), core.Text("q", "its q value, such as 0.5").Opt()).In(rf),
		core.Func("t_load_contacts", m.tLoadContacts, "Makes all destinations wait for their turn, the most preferred (q) first. t_next_contacts then takes those of equal preference together.").In(rf),
		core.Func("t_next_contacts", m.tNextContacts, "Makes the most preferred of the destinations that wait those of the next t_relay. While others wait, these ring at most fr_inv_timer_next. False (none) if none waits.").In(rf),
		core.Func("t_recurse", m.tRecurse, "Follows redirections (300, 301, 302) of this request instead of sending them to the caller; with false it does not, whatever parameter recurse says.",
			core.Bool("on", "true if left out").Opt()),
		core.Func("t_check_trans", m.tCheckTrans, "For scripts of other routers: what belongs to a transaction never reaches the script here, so the answer is false."),
	}
}

// Fr_timer attributes of SER: names under which a domain or user may set them.
var (
	attrFR    = core.AttrRef{Track: core.ToTrack, Class: core.AnyClass, Name: "fr_timer"}
	attrFRInv = core.AttrRef{Track: core.ToTrack, Class: core.AnyClass, Name: "fr_inv_timer"}
)

func (m *Module) tRelay(r *core.Request, a *core.Args) core.Result {
	if a.Has(0) {
		if _, err := sipmsg.ParseURI(a.Bytes(0)); err != nil {
			return core.Fail(err)
		}
		r.Main.NextHop = r.Keep(a.Bytes(0))
	}
	r.Decide()
	if r.Msg.Method == sipmsg.ACK {
		if err := r.MayForward(); err != nil {
			return core.False("ack")
		}
		if err := r.Engine.Forward(r, &r.Main); err != nil {
			return core.False("not_sent")
		}
		return core.True
	}
	t := m.ensure(r)
	if t == nil {
		return core.False("not_sent")
	}
	t.out = r.Out
	if t.canceled || t.state >= completed {
		return core.False("canceled")
	}
	if r.Route == core.RequestRoute {
		m.timersFromAttrs(r)
	}
	err := t.relay(r)
	t.out = r.Out
	if err == nil {
		return core.True
	}
	if r.Route == core.RequestRoute && t.state < completed {
		r.AnswerProblem(err)
	}
	return core.False(word(err))
}

// word is the short word for why a relay failed.
func word(err error) string {
	var p *sipmsg.Problem
	if !errors.As(err, &p) {
		return "not_sent"
	}
	switch p.Code {
	case 482:
		return "loop"
	case 483:
		return "hops"
	case 416:
		return "scheme"
	case 478:
		return "unresolvable"
	case 487:
		return "canceled"
	}
	return "refused"
}

func (m *Module) timersFromAttrs(r *core.Request) {
	if r.FRInvTimer == 0 {
		if v, ok := r.Attrs.Get(&attrFRInv); ok {
			if n, ok := v.Int(); ok {
				r.FRInvTimer = n * int64(time.Millisecond)
			}
		}
	}
	if r.FRTimer == 0 {
		if v, ok := r.Attrs.Get(&attrFR); ok {
			if n, ok := v.Int(); ok {
				r.FRTimer = n * int64(time.Millisecond)
			}
		}
	}
}

func (m *Module) tNewtran(r *core.Request, _ *core.Args) core.Result {
	if r.Tx != nil {
		return core.True
	}
	if r.Msg.Method == sipmsg.ACK {
		return core.False("ack")
	}
	return core.Is(m.ensure(r) != nil)
}

func (m *Module) tReply(r *core.Request, a *core.Args) core.Result {
	if r.Msg.Method == sipmsg.ACK {
		return core.False("ack")
	}
	code := int(a.Int(0, 0))
	if code < 100 || code > 699 {
		return core.Fail(errors.New("a status code from 100 to 699 is expected"))
	}
	reason := a.String(1)
	if reason == "" {
		reason = sipmsg.ReasonPhrase(code)
	}
	if r.Tx == nil && m.ensure(r) == nil {
		return core.False("not_sent")
	}
	if err := r.AnswerWith(code, reason); err != nil {
		return core.False("not_sent")
	}
	return core.True
}

func (m *Module) tOnFailure(r *core.Request, a *core.Args) core.Result {
	r.OnFailure = a.String(0)
	return core.True
}

func (m *Module) tOnBranch(r *core.Request, a *core.Args) core.Result {
	r.OnBranch = a.String(0)
	return core.True
}

func (m *Module) tOnReply(r *core.Request, a *core.Args) core.Result {
	r.OnReply = a.String(0)
	return core.True
}

func (m *Module) tCheckStatus(r *core.Request, a *core.Args) core.Result {
	code := 0
	if r.Route == core.ReplyRoute && r.Reply != nil {
		code = r.Reply.Status
	} else if t, ok := r.Tx.(*tx); ok {
		code = t.failCode
	}
	var tmp [8]byte
	return core.Is(matchStatus(a.Value(0).Str, strconv.AppendInt(tmp[:0], int64(code), 10)))
}

// matchStatus matches a status code against alternatives such as "486|408|5xx"
// or, as SER's expressions have it, "[45][0-9][0-9]".
func matchStatus(list string, code []byte) bool {
	for len(list) > 0 {
		one, rest, _ := strings.Cut(list, "|")
		if matchDigits(strings.Trim(one, "^$() "), code) {
			return true
		}
		list = rest
	}
	return false
}

func matchDigits(pattern string, code []byte) bool {
	for _, d := range code {
		if pattern == "" {
			return false
		}
		c := pattern[0]
		pattern = pattern[1:]
		if c == '[' {
			set, rest, ok := strings.Cut(pattern, "]")
			if !ok || !inSet(set, d) {
				return false
			}
			pattern = rest
		} else if c != d && c != '.' && c != 'x' && c != 'X' {
			return false
		}
	}
	return pattern == ""
}

// inSet tells whether d is in a set such as "45", "0-9" or "^4".
func inSet(set string, d byte) bool {
	set, not := strings.CutPrefix(set, "^")
	for i := 0; i < len(set); i++ {
		hi := set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			hi = set[i+2]
		}
		if d >= set[i] && d <= hi {
			return !not
		}
		if hi != set[i] {
			i += 2
		}
	}
	return not
}

func (m *Module) tIsCanceled(r *core.Request, _ *core.Args) core.Result {
	t, ok := r.Tx.(*tx)
	return core.Is(ok && (t.canceled || t.cancelQueued()))
}

func (m *Module) tSetFR(r *core.Request, a *core.Args) core.Result {
	if n := a.Int(0, 0); n > 0 {
		r.FRInvTimer = n * int64(time.Millisecond)
	}
	if n := a.Int(1, 0); n > 0 {
		r.FRTimer = n * int64(time.Millisecond)
	}
	return core.True
}

func (m *Module) appendBranch(r *core.Request, a *core.Args) core.Result {
	uri := a.Bytes(0)
	if uri == nil {
		uri = r.Msg.RURIText()
	}
	if _, err := sipmsg.ParseURI(uri); err != nil {
		return core.Fail(err)
	}
	if len(r.Targets)+1 >= m.maxBranches {
		return core.False("too_many")
	}
	q := core.DefaultQ
	if a.Has(1) {
		var ok bool
		if q, ok = parseQ(a.String(1)); !ok {
			return core.Fail(errors.New("a q value is a number from 0 to 1"))
		}
	}
	r.AddTarget(core.Target{URI: r.Keep(uri), Q: q})
	return core.True
}

func (m *Module) tCheckTrans(*core.Request, *core.Args) core.Result { return core.Is(false) }

func (m *Module) tLoadContacts(r *core.Request, _ *core.Args) core.Result {
	loadContacts(r)
	return core.True
}

func (m *Module) tRecurse(r *core.Request, a *core.Args) core.Result {
	r.Recurse = 1
	if !a.Bool(0, true) {
		r.Recurse = -1
	}
	return core.True
}

func (m *Module) tNextContacts(r *core.Request, _ *core.Args) core.Result {
	if !nextContacts(r, m.maxBranches) {
		return core.False("none")
	}
	r.Msg.SetRURI(r.Main.URI)
	r.Main.URI = nil
	return core.True
}
