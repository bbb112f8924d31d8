package tm

import (
	"math/rand/v2"
	"sync"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// txState is the state of the server side (RFC 3261 §17.2, RFC 6026 §8.5).
type txState uint8

const (
	trying     txState = iota // nothing but 100 was sent
	proceeding                // a provisional response was sent
	completed                 // a final response was sent (INVITE: other than 2xx)
	confirmed                 // INVITE: its ACK came
	accepted                  // INVITE: a 2xx was sent
	terminated
)

// tx is one transaction: the server side and the branches that it was relayed
// to, or a client side of our own.
type tx struct {
	m     *Module
	wheel *clock.Wheel

	// Found under the tables' locks.
	next  *tx
	hash  uint64
	key   []byte
	index uint32

	mu    sync.Mutex
	owned bool
	queue []event

	// What follows belongs to the owner.
	out      core.Sender
	r        *core.Request // nil once it is not needed any more
	method   sipmsg.Method
	state    txState
	running  bool // a run of the script has the transaction
	canceled bool
	// mayWait tells that the owner runs a failure route, or looks for a further
	// destination: a CANCEL that comes meanwhile is answered when it wakes up.
	mayWait  bool
	failCode int // of the failure route that is running
	// serial tells that the destinations that wait for their turn get it
	// without the script's doing.
	serial    bool
	loop      uint32 // the loop hash of the branches
	failovers int    // branches that took the place of others
	reliable  bool   // the server side's transport
	code      int    // of the last response sent
	flow      core.Flow
	tag       [16]byte
	last      []byte // the last response sent, to repeat
	branches  []*branch
	spare     []*branch                             // branches of the past, each for its own place in branches
	done      func(code int, reply *sipmsg.Message) // of a request of our own
	source    core.Flow
	created   clock.Time
	pending   bool // it still owes somebody an answer

	retr     clock.Timer // Timer G
	retrAt   clock.Time
	interval time.Duration
	end      clock.Timer // Timers H, I, J, L; the branches' D, K, M
	endAt    clock.Time
}

// event is what somebody found for a transaction that was owned.
type event struct {
	kind   eventKind
	branch int
	now    clock.Time
	msg    *sipmsg.Message // a response, in memory of its own
	flow   core.Flow
}

type eventKind uint8

const (
	evResponse eventKind = iota
	evCancel
	evAck
	evRetransmit // a retransmission timer of a branch
	evTimeout    // the final response timer of a branch
	evServerRetransmit
	evEnd
)

// Expire implements clock.Owner.
func (t *tx) Expire(timer *clock.Timer, now clock.Time) {
	kind := evEnd
	if timer == &t.retr {
		kind = evServerRetransmit
	}
	t.enter(t.m.out, event{kind: kind, now: now})
}

// begin makes t a new transaction that the caller owns; t.mu is held.
func (t *tx) begin(method sipmsg.Method, now clock.Time) {
	t.owned, t.running, t.mayWait = true, false, false
	t.serial, t.loop, t.failovers = false, 0, 0
	t.method, t.state, t.code, t.failCode, t.canceled = method, trying, 0, 0, false
	t.created = now
}

// open counts a transaction that has been entered in the tables.
func (t *tx) open() {
	t.pending = true
	t.m.stats.active.Add(1)
	t.m.stats.pending.Add(1)
	t.m.stats.created.Add(1)
}

// answered notes that nobody waits for the transaction any more: what is left
// of it is there for retransmissions alone.
func (t *tx) answered() {
	if t.pending {
		t.pending = false
		t.m.stats.pending.Add(-1)
	}
}

// newTx makes the server transaction of r, owned by the caller. It returns nil
// if there is one for the same request already, or no room.
func (m *Module) newTx(r *core.Request) (*tx, error) {
	if !m.server.enter(r.Flow.Remote.Addr()) {
		return nil, errFull
	}
	t := m.fresh()
	t.mu.Lock() // a timer of the transaction that had this memory may just expire
	t.key = appendKey(t.key[:0], r.Msg, r.Msg.Method)
	t.begin(r.Msg.Method, r.Now)
	t.running, t.r, t.out = true, r, r.Out
	t.flow, t.source = r.ReplyFlow(), r.Flow
	t.reliable = t.flow.Proto().Reliable()
	appendHex(t.tag[:0], rand.Uint64(), 16)
	t.mu.Unlock()
	if !m.client.add(t) {
		m.server.leave(r.Flow.Remote.Addr())
		t.recycle()
		return nil, errFull
	}
	t.wheel = m.wheels[int(t.index)%len(m.wheels)]
	if !m.server.add(t) {
		m.client.remove(t)
		m.server.leave(r.Flow.Remote.Addr())
		t.recycle()
		return nil, errTwin
	}
	t.open()
	r.Tx = t
	r.Engine.Retain(r)
	return t, nil
}

// recycle gives the memory of a transaction that is in no table back.
func (t *tx) recycle() {
	t.mu.Lock()
	for _, b := range t.branches {
		b.recycle()
	}
	t.branches = t.branches[:0]
	t.r, t.out, t.done, t.state, t.owned = nil, nil, nil, terminated, false
	clear(t.queue)
	t.queue = t.queue[:0]
	t.flow, t.source = core.Flow{}, core.Flow{}
	t.m.reuse(t.last)
	t.last = nil
	t.retrAt, t.endAt, t.interval = 0, 0, 0
	t.mu.Unlock()
	t.m.pool.put(t)
}

// enter handles an event now, or leaves it to the owner.
func (t *tx) enter(out core.Sender, ev event) {
	t.mu.Lock()
	t.enterLocked(out, ev)
}

// enterLocked is enter for who has t.mu already; it is unlocked afterwards.
func (t *tx) enterLocked(out core.Sender, ev event) {
	if t.state == terminated {
		t.mu.Unlock()
		return
	}
	if t.owned {
		t.keep(ev)
		t.mu.Unlock()
		return
	}
	t.own(out)
	t.mu.Unlock()
	t.handle(ev)
	t.letGo()
}

// enterApart is enter on a goroutine of its own if a route may have to run or a
// name to be looked up: that may wait, and whoever calls turns the wheels for
// everybody.
func (t *tx) enterApart(ev event) {
	t.mu.Lock()
	if t.state == terminated || t.owned || !t.mayRun() {
		t.enterLocked(t.m.out, ev)
		return
	}
	out := t.m.host.Network().NewSender()
	t.own(out)
	t.mu.Unlock()
	t.m.apart.Go(func() {
		t.handle(ev)
		t.letGo()
		out.Flush()
	})
}

// mayRun tells whether an event may run a route of the script or look up
// another destination; t.mu is held, or the caller is the owner.
func (t *tx) mayRun() bool {
	r := t.r
	return r != nil && (r.OnFailure != "" || r.OnReply != "" || t.serial && len(r.Later) > 0 || t.m.recurses(r))
}

// own makes the caller the owner; t.mu is held.
func (t *tx) own(out core.Sender) {
	t.owned = true
	t.out = out
	if t.r != nil {
		t.r.Out = out
	}
}

// keep queues an event; t.mu is held. A full queue drops responses: who sent
// them sends them again. One CANCEL and one ACK are as good as many.
func (t *tx) keep(ev event) {
	switch ev.kind {
	case evResponse:
		if len(t.queue) >= t.m.maxQueue {
			return
		}
	case evCancel, evAck:
		for i := range t.queue {
			if t.queue[i].kind == ev.kind {
				return
			}
		}
	}
	t.queue = append(t.queue, ev)
}

// letGo handles what was queued meanwhile and gives the transaction up.
func (t *tx) letGo() {
	for {
		t.mu.Lock()
		if t.state == terminated {
			t.mu.Unlock()
			t.recycle()
			return
		}
		if len(t.queue) == 0 {
			t.owned, t.out = false, nil
			if t.r != nil {
				t.r.Out = nil
			}
			t.mu.Unlock()
			return
		}
		if t.out == t.m.out && t.mayRun() { // the wheels must not wait for a script
			out := t.m.host.Network().NewSender()
			t.own(out)
			t.mu.Unlock()
			t.m.apart.Go(func() {
				t.letGo()
				out.Flush()
			})
			return
		}
		ev := t.queue[0]
		n := copy(t.queue, t.queue[1:])
		t.queue[n] = event{}
		t.queue = t.queue[:n]
		t.mu.Unlock()
		t.handle(ev)
	}
}

// Leave implements core.Transaction.
func (t *tx) Leave(r *core.Request) {
	if !t.running {
		return
	}
	t.running = false
	t.out = r.Out
	if t.state < completed && len(t.branches) == 0 {
		if r.Decided() {
			// Dropped, or sent on without a transaction: there is no response
			// of ours, and its retransmissions are absorbed.
			t.setState(confirmed)
		} else {
			t.reply(&core.Answer{Code: 500, Reason: "Server Internal Error"})
		}
	}
	t.settle()
	t.letGo()
}

// Woken implements core.Transaction. In a reply route a CANCEL waits: the
// response that was received first goes first.
func (t *tx) Woken(r *core.Request) {
	t.out = r.Out
	if (t.running || t.mayWait) && t.state < completed && t.method == sipmsg.INVITE && t.cancelQueued() {
		t.canceled = true
		t.reply(&core.Answer{Code: 487, Reason: "Request Terminated"})
	}
}

// cancelQueued tells whether a CANCEL came while the request waited.
func (t *tx) cancelQueued() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ev := range t.queue {
		if ev.kind == evCancel {
			return true
		}
	}
	return false
}

// handle handles an event. Whatever it leads to, the transaction is looked at
// once more when it is done, and not before: the request must not be given back
// while a route of the script still has it.
func (t *tx) handle(ev event) {
	t.dispatch(ev)
	t.settle()
}

func (t *tx) dispatch(ev event) {
	switch ev.kind {
	case evResponse:
		if ev.branch < len(t.branches) {
			t.response(t.branches[ev.branch], ev.msg, ev.now)
		}
	case evCancel:
		t.cancel(ev.now)
	case evAck:
		t.acked()
	case evRetransmit:
		if ev.branch < len(t.branches) {
			t.branches[ev.branch].retransmit(ev.now)
		}
	case evTimeout:
		if ev.branch < len(t.branches) {
			t.branches[ev.branch].timeout(ev.now)
		}
	case evServerRetransmit:
		t.retransmit(ev.now)
	case evEnd:
		switch {
		case t.endAt == 0 || ev.now < t.endAt:
		case t.allFinal():
			t.terminate()
		default: // a branch is still being canceled: settle begins anew
			t.endAt = 0
		}
	}
}

// allFinal tells whether every branch has its final response.
func (t *tx) allFinal() bool {
	for _, b := range t.branches {
		if !b.final() {
			return false
		}
	}
	return true
}

// settle looks whether the transaction is over but for the timers, and shrinks
// it to what they need.
func (t *tx) settle() {
	if t.running || t.state < completed || t.state == terminated || !t.allFinal() {
		return
	}
	t.answered()
	if t.r != nil {
		t.release()
		t.mu.Lock()
		t.last = t.m.compact(t.last)
		t.mu.Unlock()
		for _, b := range t.branches {
			b.shrink()
		}
	}
	if t.endAt != 0 {
		return
	}
	if t.method != sipmsg.INVITE && t.reliable {
		all := true
		for _, b := range t.branches {
			all = all && b.flow.Proto().Reliable()
		}
		if all {
			t.terminate()
			return
		}
	}
	t.setEnd(t.m.clock.Now().Add(t.life()))
}

// life is how long a finished transaction stays for retransmissions: the RFC's
// 32 s (Timers J, L, M, D), or T4 where memory runs short. To refuse a new
// request costs somebody a call; to forget an answered one early, at worst a
// retransmission is handled once more.
func (t *tx) life() time.Duration {
	active, max := t.m.stats.active.Load(), int64(t.m.maxTx)
	switch {
	case t.done != nil && t.method != sipmsg.INVITE, // Timer K
		t.method != sipmsg.INVITE && active > max/4,
		active > max/4*3:
		return t.m.t4
	}
	return 64 * t.m.t1
}

// release gives the request back.
func (t *tx) release() {
	r := t.r
	t.mu.Lock()
	t.r = nil
	t.mu.Unlock()
	r.Tx = nil
	r.Engine.Release(r)
}

func (t *tx) setEnd(at clock.Time) {
	t.endAt = at
	t.wheel.Set(&t.end, at)
}

// terminate takes the transaction out of the tables; the owner recycles it.
func (t *tx) terminate() {
	t.wheel.Stop(&t.retr)
	t.wheel.Stop(&t.end)
	for _, b := range t.branches {
		b.stopTimers()
	}
	if len(t.key) > 0 {
		t.m.server.remove(t)
		t.m.server.leave(t.source.Remote.Addr())
	}
	t.m.client.remove(t)
	if t.r != nil {
		t.release()
	}
	t.answered()
	t.m.stats.active.Add(-1)
	t.mu.Lock()
	t.state = terminated
	t.mu.Unlock()
}
