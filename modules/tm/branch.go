package tm

import (
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// branch is a client transaction: one place that a request was sent to.
type branch struct {
	t    *tx
	n    int
	id   []byte // our branch parameter
	flow core.Flow
	// ways is where the branch's destination may be reached, in the order of
	// trial; way is the index of flow.
	ways []core.Flow
	way  int
	// breadth is the Max-Breadth that it was sent with.
	breadth int
	// record and rrParams is what our Record-Route in it was made of.
	record   func(dst []byte, r *core.Request, out *core.Socket) []byte
	rrParams []byte
	req      []byte // the request as sent; after a final response to INVITE the ACK to it
	code     int    // of the last response, 0 for none; 408 and others also of our own
	// reply is the final response, kept until the best one is chosen; empty
	// for one of our own.
	reply []byte
	// judged tells that the final response has been sent on, was weighed in an
	// earlier choice, or counts for nothing: another branch has taken over.
	judged bool

	wantCancel bool // CANCEL is due as soon as there is a provisional response
	canceled   bool // it was sent
	cancelDone bool // it was answered
	acked      bool // req is the ACK

	retr     clock.Timer // Timers A and E
	retrAt   clock.Time
	interval time.Duration
	fr       clock.Timer // Timers B, C and F
	frAt     clock.Time
}

// freshBranch returns the branch for the next place in t.branches. It stays
// with t for ever, so that a timer that expires late finds its transaction.
func (t *tx) freshBranch() *branch {
	n := len(t.branches)
	if n < len(t.spare) {
		return t.spare[n]
	}
	b := new(branch)
	b.belong(t, n)
	t.spare = append(t.spare, b)
	return b
}

// belong makes b a branch of t for ever.
func (b *branch) belong(t *tx, n int) {
	b.t, b.n = t, n
	b.retr.Owner, b.fr.Owner = b, b
}

// Expire implements clock.Owner.
func (b *branch) Expire(timer *clock.Timer, now clock.Time) {
	if timer == &b.retr {
		b.t.enter(b.t.m.out, event{kind: evRetransmit, branch: b.n, now: now})
		return
	}
	b.t.enterApart(event{kind: evTimeout, branch: b.n, now: now})
}

func (b *branch) recycle() {
	m := b.t.m
	m.reuse(b.req)
	m.reuse(b.reply)
	b.id, b.req, b.reply = b.id[:0], nil, nil
	b.code, b.judged, b.wantCancel, b.canceled, b.cancelDone, b.acked = 0, false, false, false, false, false
	b.retrAt, b.frAt, b.interval = 0, 0, 0
	b.flow = core.Flow{}
	clear(b.ways)
	b.ways, b.way, b.breadth = b.ways[:0], 0, 0
	b.record, b.rrParams = nil, nil
}

// shrink gives back what a finished branch does not need any more: all but the
// ACK of a failed INVITE, and the request of one that was given up and may be
// answered yet.
func (b *branch) shrink() {
	m := b.t.m
	m.reuse(b.reply)
	b.reply = nil
	if b.t.method == sipmsg.INVITE && b.code >= 300 {
		if cap(b.req) >= bufferSize {
			ack := append(make([]byte, 0, len(b.req)), b.req...)
			m.reuse(b.req)
			b.req = ack
		}
		return
	}
	m.reuse(b.req)
	b.req = nil
}

// final tells whether the branch has its final response, real or our own.
func (b *branch) final() bool { return b.code >= 200 }

// begin sends the request that lies in b.req for the first time.
func (b *branch) begin(now clock.Time, fr time.Duration) {
	t := b.t
	if err := t.out.Send(b.flow, append(t.out.Buffer(), b.req...)); err != nil {
		b.setTimeout(now) // as if it had timed out at once, but with 503
		b.code = -503
		return
	}
	if !b.flow.Proto().Reliable() {
		b.interval = t.m.t1
		b.setRetransmit(now.Add(b.interval))
	} else if t.method != sipmsg.INVITE && t.done == nil {
		b.setRetransmit(now.Add(t.m.untilT2()))
	}
	b.setTimeout(now.Add(fr))
}

// untilT2 is how long it takes Timer E to reach T2. A request other than INVITE
// that has no response by then gets 100 (RFC 4320 §4.1).
func (m *Module) untilT2() (d time.Duration) {
	for i := m.t1; i < m.t2; i *= 2 {
		d += i
	}
	return d
}

func (b *branch) setRetransmit(at clock.Time) {
	b.retrAt = at
	b.t.wheel.Set(&b.retr, at)
}

func (b *branch) setTimeout(at clock.Time) {
	b.frAt = at
	b.t.wheel.Set(&b.fr, at)
}

func (b *branch) stopRetransmit() {
	if b.retrAt != 0 {
		b.retrAt = 0
		b.t.wheel.Stop(&b.retr)
	}
}

func (b *branch) stopTimers() {
	b.stopRetransmit()
	if b.frAt != 0 {
		b.frAt = 0
		b.t.wheel.Stop(&b.fr)
	}
}

// retransmit is Timer A or E, also of a CANCEL.
func (b *branch) retransmit(now clock.Time) {
	if b.retrAt == 0 || now < b.retrAt {
		return
	}
	t := b.t
	switch {
	case b.canceled && b.cancelDone, b.final() && !b.canceled:
		b.retrAt = 0
		return
	case b.canceled:
		b.sendCancel()
		b.interval = min(2*b.interval, t.m.t2)
	case t.method == sipmsg.INVITE:
		t.out.Send(b.flow, append(t.out.Buffer(), b.req...))
		b.interval *= 2
	case b.flow.Proto().Reliable():
		b.retrAt = 0
		t.sendTrying()
		return
	default:
		t.out.Send(b.flow, append(t.out.Buffer(), b.req...))
		b.interval = min(2*b.interval, t.m.t2)
		if b.interval == t.m.t2 {
			t.sendTrying()
		}
		if b.code >= 100 { // Proceeding: Timer E runs at T2
			b.interval = t.m.t2
		}
	}
	b.setRetransmit(now.Add(b.interval))
}

// timeout is Timer B, C or F: there is no final response in time.
func (b *branch) timeout(now clock.Time) {
	if b.frAt == 0 || now < b.frAt {
		return
	}
	t := b.t
	heard := b.code >= 100
	b.frAt = 0
	b.stopRetransmit()
	if b.final() { // given up before: the CANCEL had its time
		return
	}
	switch {
	case b.code == -503:
		b.code = 503
	case t.method == sipmsg.INVITE && b.code >= 100 && !b.canceled:
		// Timer C: the branch rings too long. It is canceled, and counts as
		// timed out at once so that others get their turn (§16.8).
		b.cancelNow(now)
		b.code = 408
		t.m.stats.timeouts.Add(1)
	case b.canceled:
		b.code = 487
	default:
		b.code = 408
		t.m.stats.timeouts.Add(1)
	}
	b.dropReply()
	if !heard && t.failover(b, now) {
		return
	}
	t.branchDone(b, nil, now)
}

// keepReply keeps a final response, as it is now, until the best one is chosen;
// nil leaves what there is.
func (b *branch) keepReply(msg *sipmsg.Message) {
	if msg == nil {
		return
	}
	b.dropReply()
	if msg.Edited() {
		b.reply = msg.AppendTo(b.t.m.buffer())
	} else {
		b.reply = append(b.t.m.buffer(), msg.Bytes()...)
	}
}

func (b *branch) dropReply() {
	b.t.m.reuse(b.reply)
	b.reply = nil
}

// cancelNow cancels the branch: at once if it has a provisional response, else
// as soon as one comes (RFC 3261 §9.1).
func (b *branch) cancelNow(now clock.Time) {
	if b.final() || b.canceled || b.t.method != sipmsg.INVITE {
		return
	}
	if b.code < 100 {
		b.wantCancel = true
		return
	}
	b.beginCancel(now)
}

// beginCancel sends the CANCEL, and repeats it until it is answered.
func (b *branch) beginCancel(now clock.Time) {
	b.wantCancel, b.canceled = false, true
	b.sendCancel()
	if !b.flow.Proto().Reliable() {
		b.interval = b.t.m.t1
		b.setRetransmit(now.Add(b.interval))
	}
	b.setTimeout(now.Add(64 * b.t.m.t1))
}

func (b *branch) sendCancel() {
	b.t.out.Send(b.flow, b.appendHop(b.t.out.Buffer(), "CANCEL", nil))
}

// appendHop appends an ACK or a CANCEL for the request that was sent.
func (b *branch) appendHop(dst []byte, method string, to []byte) []byte {
	m := b.t.m.scratch.Get().(*sipmsg.Message)
	if m.Parse(b.req) == nil {
		dst = m.AppendHop(dst, method, to)
	}
	m.Reset()
	b.t.m.scratch.Put(m)
	return dst
}

// ack sends the ACK to a final response other than 2xx, and keeps it in the
// place of the request for retransmissions of the response.
func (b *branch) ack(reply *sipmsg.Message) {
	if !b.acked {
		ack := b.appendHop(b.t.m.buffer(), "ACK", reply.Get(sipmsg.HTo))
		b.t.m.reuse(b.req)
		b.req, b.acked = ack, true
	}
	b.t.out.Send(b.flow, append(b.t.out.Buffer(), b.req...))
}
