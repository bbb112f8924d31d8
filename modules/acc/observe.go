package acc

import (
	"fmt"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// mode is how much is recorded of a request.
type mode uint8

// The modes; each includes those before it.
const (
	modeOff mode = iota
	modeCalls
	modeMissed
	modeFailed
	modeAll
)

var modeNames = [...]string{"off", "calls", "missed", "failed", "all"}

func parseMode[T string | []byte](s T) (mode, bool) {
	for i, name := range modeNames {
		if string(s) == name {
			return mode(i), true
		}
	}
	return 0, false
}

func checkMode(s string) error {
	if _, ok := parseMode(s); !ok {
		return fmt.Errorf("%q is not allowed: one of %v is expected", s, modeNames)
	}
	return nil
}

// attrRefs are the attributes that are read or written for each record.
type attrRefs struct {
	fromUID, fromDID, toUID, toDID core.AttrRef
	// mode is where do_accounting leaves its choice. The global class is the
	// one that nothing loads anew after the script has begun.
	mode core.AttrRef
}

func newAttrRefs() attrRefs {
	return attrRefs{
		fromUID: core.AttrRef{Track: core.FromTrack, Class: core.UserClass, Name: "uid"},
		fromDID: core.AttrRef{Track: core.FromTrack, Class: core.DomainClass, Name: "did"},
		toUID:   core.AttrRef{Track: core.ToTrack, Class: core.UserClass, Name: "uid"},
		toDID:   core.AttrRef{Track: core.ToTrack, Class: core.DomainClass, Name: "did"},
		mode:    core.AttrRef{Class: core.GlobalClass, Name: "acc_mode"},
	}
}

func (m *Module) modeOf(r *core.Request) mode {
	if v, ok := r.Attrs.Get(&m.attrs.mode); ok && v.Kind == core.KindInt {
		return mode(v.Num)
	}
	if m.logFailed && m.mode != modeOff {
		return max(m.mode, modeFailed)
	}
	return m.mode
}

// onFinal sees each final response to a server transaction. It runs on the
// message path.
func (m *Module) onFinal(e *core.FinalEvent) {
	if e.Code < 200 {
		return
	}
	msg := e.Request.Msg
	mode := m.modeOf(e.Request)
	switch {
	case msg.Method == sipmsg.INVITE && msg.ToTag() == nil:
		m.onInvite(e, mode)
	case msg.Method == sipmsg.BYE:
		m.onBye(e, mode)
	default:
		m.onOther(e, mode)
	}
}

func (m *Module) onInvite(e *core.FinalEvent, mode mode) {
	switch {
	case e.Code < 300:
		m.onAnswer(e, mode)
	case challenge(e.Code):
	case mode >= modeFailed || mode == modeMissed && isMissed(e.Code):
		k := failed
		if isMissed(e.Code) {
			k = missed
		}
		m.enqueue(m.event(k, e))
	}
}

// onAnswer opens a call. One that is not recorded is kept too, if its BYE might
// be.
func (m *Module) onAnswer(e *core.FinalEvent, mode mode) {
	if mode == modeOff && m.mode == modeOff {
		return
	}
	event := m.event(answered, e)
	open := m.pool.Get().(*record)
	open.copyFrom(event)
	open.kind, open.silent = call, mode == modeOff
	var tmp [512]byte
	key := appendKey(tmp[:0], event.get(fCallID), event.get(fFromTag), event.get(fToTag))
	known, full := m.calls.add(key, open)
	if known || full {
		m.free(open)
	}
	if full {
		m.callsFull.Add(1)
	}
	if known || mode == modeOff { // known: the 2xx came again
		m.free(event)
		return
	}
	m.enqueue(event)
}

func (m *Module) onBye(e *core.FinalEvent, mode mode) {
	reason := ""
	switch {
	case e.Code < 300:
		reason = "bye"
	case e.Code == 408:
		reason = "timeout"
	case e.Code == 481 && e.Reply != nil:
		reason = "gone"
	default:
		// A BYE that was refused, by us perhaps as forged, ends no call.
		m.onOther(e, mode)
		return
	}
	if mode == modeOff && m.calls.empty() {
		return
	}
	event := m.event(bye, e)
	var tmp [512]byte
	key := appendKey(tmp[:0], event.get(fCallID), event.get(fFromTag), event.get(fToTag))
	open := m.calls.take(key)
	silent := mode == modeOff
	if open != nil {
		silent = open.silent
		by := "caller"
		if string(open.get(fFromTag)) != string(event.get(fFromTag)) {
			by = "callee"
		}
		m.end(open, e.Request.Now, reason, by)
	}
	if silent {
		m.free(event)
		return
	}
	m.enqueue(event)
}

// end completes the record of a call and hands it to the writer.
func (m *Module) end(r *record, at clock.Time, reason, by string) {
	if r.silent {
		m.free(r)
		return
	}
	r.finish(at, reason, by)
	m.enqueue(r)
}

func (m *Module) onOther(e *core.FinalEvent, mode mode) {
	if mode == modeOff || challenge(e.Code) || mode < modeAll && !m.methods[e.Request.Msg.Method] {
		return
	}
	if e.Code >= 300 && mode < modeFailed {
		return
	}
	m.enqueue(m.event(request, e))
}

// challenge tells whether a response asks for credentials: the request is not
// over, it comes again.
func challenge(code int) bool { return code == 401 || code == 407 }

// isMissed tells whether a call failed at the callee's side.
func isMissed(code int) bool {
	switch code {
	case 408, 480, 486, 487, 600, 603:
		return true
	}
	return false
}

// event makes the record of a final response.
func (m *Module) event(k kind, e *core.FinalEvent) *record {
	r := m.describe(k, e.Request)
	r.time, r.code = e.Now, e.Code
	r.set(fReason, e.Reason)
	tag := e.Request.Msg.ToTag()
	if tag == nil && e.Reply != nil {
		tag = e.Reply.ToTag()
	} else if tag == nil {
		tag = e.ToTag // of our own response
	}
	r.set(fToTag, tag)
	return r
}

// describe makes a record of what is known of a request.
func (m *Module) describe(k kind, req *core.Request) *record {
	msg, r := req.Msg, m.newRecord(k)
	r.start = req.Now
	r.src = req.Source().Addr().Unmap()
	r.set(fMethod, msg.MethodText())
	r.set(fCallID, msg.CallID())
	r.set(fFromTag, msg.FromTag())
	if u, err := msg.FromURI(); err == nil {
		r.set(fFromURI, u.Raw)
	}
	if u, err := msg.ToURI(); err == nil {
		r.set(fToURI, u.Raw)
	}
	r.set(fRequestURI, msg.RURIText())
	for _, a := range [...]struct {
		f   field
		ref *core.AttrRef
	}{
		{fFromUID, &m.attrs.fromUID}, {fFromDID, &m.attrs.fromDID},
		{fToUID, &m.attrs.toUID}, {fToDID, &m.attrs.toDID},
	} {
		if v, ok := req.Attrs.Get(a.ref); ok {
			var tmp [64]byte
			r.set(a.f, v.Append(tmp[:0]))
		}
	}
	if req.Auth.Known && len(req.Auth.UID) > 0 {
		if _, ok := req.Attrs.Get(&m.attrs.fromUID); !ok {
			var tmp [64]byte
			r.set(fFromUID, append(tmp[:0], req.Auth.UID...))
		}
	}
	return r
}

// enqueue hands r to the writer and never waits.
func (m *Module) enqueue(r *record) {
	select {
	case m.writer.queue <- r:
	default:
		m.lost.Add(1)
		m.free(r)
	}
}
