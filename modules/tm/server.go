package tm

import (
	"errors"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

var (
	errFull = errors.New("too many transactions")
	errTwin = errors.New("the request has a transaction already")
)

// onRequest takes what belongs to a transaction that exists: retransmissions,
// the ACK to a final response other than 2xx, and CANCEL.
func (m *Module) onRequest(r *core.Request) bool {
	var tmp [512]byte
	method := r.Msg.Method
	switch method {
	case sipmsg.ACK, sipmsg.CANCEL:
		method = sipmsg.INVITE
	}
	t := m.server.find(appendKey(tmp[:0], r.Msg, method))
	if t == nil {
		return false
	}
	if t.state == terminated {
		t.mu.Unlock()
		return false
	}
	switch r.Msg.Method {
	case sipmsg.ACK:
		if t.state == accepted { // an ACK to a 2xx that reuses the branch
			t.mu.Unlock()
			return false
		}
		t.enterLocked(r.Out, event{kind: evAck, now: r.Now})
	case sipmsg.CANCEL:
		m.stats.cancels.Add(1)
		tag := t.tag
		t.mu.Unlock()
		// RFC 3261 §9.2: the CANCEL itself is answered at once, with the tag
		// that the INVITE's responses carry.
		r.AnswerStateless(&core.Answer{Code: 200, Reason: "canceling", ToTag: tag[:]})
		if t := m.server.find(appendKey(tmp[:0], r.Msg, sipmsg.INVITE)); t != nil {
			t.enterLocked(r.Out, event{kind: evCancel, now: r.Now})
		}
	default:
		m.stats.retransmissions.Add(1)
		t.repeat(r.Out)
	}
	return true
}

// repeat sends the last response again, if there is one to repeat; t.mu is
// held and released.
func (t *tx) repeat(out core.Sender) {
	if len(t.last) > 0 && t.state <= completed {
		out.Send(t.flow, append(out.Buffer(), t.last...))
	}
	t.mu.Unlock()
}

// onHold makes the transaction of a request that is about to wait, so that its
// retransmissions are absorbed meanwhile.
func (m *Module) onHold(r *core.Request) {
	if r.Tx != nil || r.Msg.Method == sipmsg.ACK || r.Route != core.RequestRoute {
		return
	}
	if t, err := m.newTx(r); err == nil && t.method == sipmsg.INVITE {
		t.sendTrying()
	}
}

// ensure returns the transaction of r, which it makes if there is none. A nil
// transaction means that the request was dealt with: it is another copy of one
// that is being handled, or there is no room.
func (m *Module) ensure(r *core.Request) *tx {
	if t, ok := r.Tx.(*tx); ok {
		return t
	}
	if r.InDialog || m.host.Draining() || !m.crowded() {
		t, err := m.newTx(r)
		if err == nil {
			return t
		}
		if errors.Is(err, errTwin) {
			r.Decide()
			return nil
		}
	}
	m.stats.refused.Add(1)
	r.AnswerStateless(&core.Answer{Code: 503, Reason: "Server Overload", Headers: []byte("Retry-After: 10\r\n")})
	return nil
}

// crowded leaves the last twentieth of the room to requests inside dialogs.
func (m *Module) crowded() bool {
	return m.stats.active.Load() >= int64(m.maxTx)-int64(m.maxTx)/20-1 && m.maxTx > 20
}

// sendTrying sends 100 to an INVITE (RFC 3261 §17.2.1).
func (t *tx) sendTrying() {
	if t.code >= 100 || t.r == nil {
		return
	}
	msg := t.r.AppendAnswer(t.out.Buffer(), &core.Answer{Code: 100, Reason: t.m.trying}, nil)
	t.remember(msg, 100)
	t.out.Send(t.flow, msg)
}

// remember keeps a response for retransmissions.
func (t *tx) remember(msg []byte, code int) {
	t.mu.Lock()
	t.code = code
	if code < 200 || code >= 300 || t.method != sipmsg.INVITE {
		if t.last == nil {
			t.last = t.m.buffer()
		}
		t.last = append(t.last[:0], msg...)
	} else {
		t.m.reuse(t.last)
		t.last = nil
	}
	t.mu.Unlock()
}

// Reply implements core.Transaction: a response of this router's own.
func (t *tx) Reply(r *core.Request, a *core.Answer) error {
	t.out = r.Out
	return t.reply(a)
}

func (t *tx) reply(a *core.Answer) error {
	if t.r == nil || t.state >= completed {
		return errors.New("the transaction has its final response")
	}
	if a.Code == 100 {
		t.sendTrying()
		return nil
	}
	tag := a.ToTag
	if len(tag) == 0 {
		tag = t.tag[:]
	}
	now := t.m.clock.Now()
	if a.Code >= 200 {
		t.r.Final(core.FinalEvent{Code: a.Code, Reason: []byte(a.Reason), ToTag: tag, Now: now})
		t.cancelBranches(now)
	}
	msg := t.r.AppendAnswer(t.out.Buffer(), a, tag)
	return t.emit(msg, a.Code, now)
}

// emit sends a response upstream and moves the server side on.
func (t *tx) emit(msg []byte, code int, now clock.Time) error {
	t.remember(msg, code)
	t.m.stats.replies[code/100].Add(1)
	if t.reliable && t.r != nil && !t.m.host.Network().Alive(t.flow) {
		t.mu.Lock()
		t.flow = t.r.ReplyFlow() // a new connection (RFC 3261 §18.2.2)
		t.mu.Unlock()
	}
	err := t.out.Send(t.flow, msg)
	switch {
	case code < 200:
		t.setState(proceeding)
		return err
	case t.method != sipmsg.INVITE:
		t.setState(completed)
	case code < 300:
		t.setState(accepted)
	default:
		t.setState(completed)
		if !t.reliable { // Timer G
			t.interval = t.m.t1
			t.retrAt = now.Add(t.interval)
			t.wheel.Set(&t.retr, t.retrAt)
		}
		t.setEnd(now.Add(64 * t.m.t1)) // Timer H
	}
	return err
}

func (t *tx) setState(s txState) {
	t.mu.Lock()
	t.state = s
	t.mu.Unlock()
}

// retransmit is Timer G: the final response to an INVITE goes out again until
// its ACK comes.
func (t *tx) retransmit(now clock.Time) {
	if t.state != completed || t.method != sipmsg.INVITE || t.retrAt == 0 || now < t.retrAt {
		return
	}
	t.out.Send(t.flow, append(t.out.Buffer(), t.last...))
	t.interval = min(2*t.interval, t.m.t2)
	t.retrAt = now.Add(t.interval)
	t.wheel.Set(&t.retr, t.retrAt)
}

// acked handles the ACK to a final response other than 2xx.
func (t *tx) acked() {
	if t.state != completed || t.method != sipmsg.INVITE {
		return
	}
	t.setState(confirmed)
	t.wheel.Stop(&t.retr)
	t.retrAt = 0
	if t.reliable && !t.running && t.quiet() {
		t.terminate()
	}
	// Over UDP Timer H goes on in the place of I: the branches' Timer D needs
	// the transaction as long.
}

// quiet tells whether no branch needs the transaction any more.
func (t *tx) quiet() bool {
	for _, b := range t.branches {
		if !b.final() || !b.flow.Proto().Reliable() {
			return false
		}
	}
	return true
}

// frTimers returns the final response timers of r.
func (m *Module) frTimers(r *core.Request) (fr, inv time.Duration) {
	fr, inv = m.frTimer.Load(), m.frInvTimer.Load()
	if r != nil && r.FRTimer > 0 {
		fr = time.Duration(r.FRTimer)
	}
	switch {
	case r == nil:
	case r.FRInvTimer > 0:
		inv = time.Duration(r.FRInvTimer)
	case len(r.Later) > 0:
		inv = min(inv, m.frInvNext.Load())
	}
	return fr, inv
}
