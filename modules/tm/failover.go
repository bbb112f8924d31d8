package tm

import (
	"slices"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// findWays fills in the ways of a branch: the one that its destination
// prescribes, or all that its name leads to, and the first that it may take.
func (t *tx) findWays(r *core.Request, b *branch, hop *core.Hop) (err error) {
	b.way, b.ways = 0, b.ways[:0]
	if hop.Flow.Valid() {
		b.ways = append(b.ways, hop.Flow)
	} else {
		b.ways, err = r.Engine.ResolveAll(r, &hop.Next, r.Flow.Socket, b.ways)
		t.out = r.Out
		if err != nil {
			return err
		}
		if hop.Datagram {
			b.ways = overUDP(b.ways)
		}
	}
	for ; b.way < len(b.ways); b.way++ {
		if err = r.MayReach(b.ways[b.way]); err == nil {
			return nil
		}
	}
	if err == nil {
		err = core.ErrUnresolvable
	}
	return err
}

// overUDP leaves only the ways over UDP, if there is one.
func overUDP(ways []core.Flow) []core.Flow {
	stream := func(f core.Flow) bool { return f.Proto() != core.UDP }
	if !slices.ContainsFunc(ways, func(f core.Flow) bool { return !stream(f) }) {
		return ways
	}
	return slices.DeleteFunc(ways, stream)
}

// patience is how long the branch may be without any response: fr_timer, and
// less if there are other ways to try.
func (b *branch) patience(r *core.Request) time.Duration {
	fr, _ := b.t.m.frTimers(r)
	if b.way+1 < len(b.ways) {
		fr = min(fr, b.t.m.failoverTimer.Load())
	}
	return fr
}

// failover sends the request of a branch that led nowhere (a transport that
// failed, a timeout without any response, a 503) to the next address of the
// same destination, as a client transaction of its own (RFC 3263 §4.3, RFC 3261
// §16.6 step 7). The branch that failed takes no part in the choice of the best
// response; true says so. b.req is still the request.
func (t *tx) failover(b *branch, now clock.Time) bool {
	r := t.r
	if r == nil || len(b.ways) < 2 {
		return false
	}
	r.Engine.Unreachable(b.flow)
	if b.wantCancel || b.canceled || t.over() {
		return false
	}
	for b.way+1 < len(b.ways) && len(t.branches) <= maxNumber {
		b.way++
		if r.MayReach(b.ways[b.way]) != nil {
			continue
		}
		n := t.replacement(r, b)
		if n == nil {
			return false
		}
		b.judged = true
		t.failovers++
		t.m.stats.failovers.Add(1)
		n.begin(now, n.patience(r))
		return true
	}
	return false
}

// replacement makes the branch that takes the place of b, over b's present way.
func (t *tx) replacement(r *core.Request, b *branch) *branch {
	sent := t.m.scratch.Get().(*sipmsg.Message)
	defer func() {
		sent.Reset()
		t.m.scratch.Put(sent)
	}()
	if sent.Parse(b.req) != nil {
		return nil
	}
	n := t.freshBranch()
	n.ways, b.ways = b.ways, n.ways[:0]
	n.way, n.flow, n.breadth, n.record, n.rrParams = b.way, n.ways[b.way], b.breadth, b.record, b.rrParams
	n.id = appendBranch(n.id[:0], t.index, uint8(n.n), t.loop)
	record, params := r.RecordRoute, len(r.RRParams)
	r.RecordRoute, r.RRParams = n.record, append(r.RRParams, n.rrParams...)
	n.req = r.AppendAgain(t.m.buffer(), sent, n.flow, n.id)
	r.RecordRoute, r.RRParams = record, r.RRParams[:params]
	t.mu.Lock()
	t.branches = append(t.branches, n)
	t.mu.Unlock()
	return n
}

// over tells whether nothing new is to be tried for the request: its caller has
// been answered or has canceled, or somebody has declined for the user as a
// whole (§16.7 step 5).
func (t *tx) over() bool {
	if t.r == nil || t.canceled || t.state >= completed {
		return true
	}
	for _, b := range t.branches {
		if b.code >= 600 && !b.judged {
			return true
		}
	}
	return false
}
