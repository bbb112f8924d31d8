package tm

import (
	"bytes"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// onResponse takes responses to requests that a transaction has sent.
func (m *Module) onResponse(r *core.Response) bool {
	v, err := r.Msg.Via()
	if err != nil {
		return false
	}
	index, n, ok := parseBranch(v.Branch)
	if !ok {
		return false
	}
	t := m.client.get(index)
	if t == nil {
		m.stats.late.Add(1)
		return true // ours by its form, but not known any more: it must not travel on
	}
	if t.state == terminated || int(n) >= len(t.branches) || !bytes.Equal(t.branches[n].id, v.Branch) {
		t.mu.Unlock()
		m.stats.late.Add(1)
		return true
	}
	method := r.Msg.CSeqMethod()
	if method == sipmsg.CANCEL && t.method == sipmsg.INVITE {
		b := t.branches[n]
		if !t.owned && r.Msg.Status >= 200 { // the CANCEL needs no more retransmissions
			b.cancelDone = true
		}
		t.mu.Unlock()
		return true
	}
	if method != t.method {
		t.mu.Unlock()
		return true
	}
	ev := event{kind: evResponse, branch: int(n), now: r.Now, msg: r.Msg, flow: r.Flow}
	if t.owned { // it outlives the batch
		ev.msg = copyMessage(r.Msg)
	}
	t.enterLocked(r.Out, ev)
	return true
}

// copyMessage copies a message that has to wait.
func copyMessage(m *sipmsg.Message) *sipmsg.Message {
	c := new(sipmsg.Message)
	if err := c.Parse(bytes.Clone(m.Bytes())); err != nil {
		return nil
	}
	return c
}

// response handles a response of a branch.
func (t *tx) response(b *branch, msg *sipmsg.Message, now clock.Time) {
	if msg == nil {
		return
	}
	code := msg.Status
	if b.final() {
		t.again(b, msg, now)
		return
	}
	if code < 200 {
		t.provisional(b, msg, now)
		return
	}
	b.stopTimers()
	b.code = code
	elsewhere := code == 503 && t.failover(b, now) // while it has its request
	if t.method == sipmsg.INVITE && code >= 300 {
		b.ack(msg)
	}
	if !elsewhere {
		t.branchDone(b, msg, now)
	}
}

// again handles a response of a branch that has its final one already. To other
// requests than INVITE nothing late is sent on (RFC 4320 §4.2).
func (t *tx) again(b *branch, msg *sipmsg.Message, now clock.Time) {
	if t.method != sipmsg.INVITE {
		return
	}
	if msg.Status < 200 {
		if b.code == 408 && !b.canceled && !b.acked && t.done == nil { // given up in silence, and now it rings
			b.beginCancel(now)
		}
		return
	}
	if msg.Status >= 300 {
		if b.code >= 300 { // it came again, or after the branch was given up
			b.stopTimers()
			b.ack(msg)
		}
		return
	}
	if t.done != nil {
		return
	}
	if t.state < completed { // it answered after the branch was given up
		b.stopTimers()
		b.code = msg.Status
		t.branchDone(b, msg, now)
		return
	}
	// A 2xx is always sent on (§16.7 step 5).
	t.forwardReply(msg, now)
}

func (t *tx) provisional(b *branch, msg *sipmsg.Message, now clock.Time) {
	first := b.code < 100
	b.code = msg.Status
	if t.method == sipmsg.INVITE {
		if !b.canceled {
			b.stopRetransmit()
			_, inv := t.m.frTimers(t.r)
			if first || msg.Status > 100 { // Timer C starts anew (§16.7 step 2)
				b.setTimeout(now.Add(inv))
			}
		}
		if b.wantCancel {
			b.cancelNow(now)
		}
	}
	if msg.Status == 100 || t.state >= completed || t.method != sipmsg.INVITE && t.done == nil {
		return // RFC 4320 §4.1: only an INVITE has further provisional responses
	}
	if t.done != nil {
		t.done(msg.Status, msg)
		return
	}
	if t.replyRoute(msg) && t.state < completed {
		t.forwardReply(msg, now)
	}
}

// replyRoute runs the reply route; false says that the response is dropped.
func (t *tx) replyRoute(msg *sipmsg.Message) bool {
	r := t.r
	if r == nil || r.OnReply == "" {
		return true
	}
	was := r.Reply
	r.Reply, r.Dropped = msg, false
	r.Engine.RunRoute(r, core.ReplyRoute, r.OnReply)
	r.Reply = was
	t.out = r.Out
	return !r.Dropped
}

// forwardReply sends a response upstream: without our Via, otherwise as it is.
func (t *tx) forwardReply(msg *sipmsg.Message, now clock.Time) {
	code := msg.Status
	if _, ok := msg.RemoveVia(); !ok {
		return
	}
	if code >= 200 && t.state < completed && t.r != nil {
		t.r.Final(core.FinalEvent{Code: code, Reason: msg.Reason(), Reply: msg, Now: now})
	}
	out := msg.AppendTo(t.out.Buffer())
	if t.state >= completed {
		if t.method == sipmsg.INVITE && code >= 200 && code < 300 { // a further 2xx
			t.out.Send(t.flow, out)
		}
		return
	}
	t.emit(out, code, now)
}

// branchDone judges a final response of a branch; msg is nil for one of our
// own (timeout, transport failure).
func (t *tx) branchDone(b *branch, msg *sipmsg.Message, now clock.Time) {
	if t.done != nil {
		b.judged = true
		t.setState(completed)
		t.done(b.code, msg)
		return
	}
	if b.code >= 200 && b.code < 300 && msg != nil {
		b.judged = true
		if t.state < completed || t.method == sipmsg.INVITE {
			if t.state < completed {
				t.replyRoute(msg)
			}
			t.cancelBranches(now)
			t.forwardReply(msg, now)
		}
		return
	}
	if b.code >= 600 {
		t.cancelBranches(now)
	}
	if t.state >= completed {
		return
	}
	msg = t.recurse(b, msg)
	if t.state >= completed { // canceled while it looked for the contacts
		return
	}
	if !t.allFinal() {
		b.keepReply(msg)
		return
	}
	if !t.goOn(b, msg) {
		t.decide(b, msg, now)
	}
}

// cancelBranches cancels every branch that has no final response.
func (t *tx) cancelBranches(now clock.Time) {
	for _, b := range t.branches {
		b.cancelNow(now)
	}
}

// cancel handles the caller's CANCEL.
func (t *tx) cancel(now clock.Time) {
	if t.method != sipmsg.INVITE || t.canceled || t.state >= completed {
		return
	}
	t.canceled = true
	if len(t.branches) == 0 {
		t.reply(&core.Answer{Code: 487, Reason: "Request Terminated"})
		return
	}
	t.cancelBranches(now)
}
