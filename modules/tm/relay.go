package tm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/dchest/siphash"

	"sipr/core"
	"sipr/core/sipmsg"
)

// loopKey keys the loop hash, so that nobody can make a request look like a
// loop.
type loopKey struct{ k0, k1 uint64 }

// Problems of relaying.
var (
	errLoop     = &sipmsg.Problem{Code: 482, Reason: "Loop Detected"}
	errBreadth  = &sipmsg.Problem{Code: 440, Reason: "Max-Breadth Exceeded"}
	errBranches = errors.New("the transaction has too many branches")
)

// loopHash covers what decides where a request goes (RFC 5393 §4.2.1), as the
// request was received.
func (m *Module) loopHash(msg *sipmsg.Message) uint32 {
	var tmp [1024]byte
	b := append(tmp[:0], msg.OriginalRURI()...)
	b = append(append(b, 0), msg.FromTag()...)
	b = append(append(b, 0), msg.ToTag()...)
	b = append(append(b, 0), msg.CallID()...)
	n, _, _ := msg.CSeq()
	b = binary.BigEndian.AppendUint32(b, n)
	b = append(b, msg.Get(sipmsg.HRoute)...)
	return uint32(siphash.Hash(m.loop.k0, m.loop.k1, b))
}

// looped tells whether the request has been here before with the same decision
// ahead: one of its Via values is ours and carries the same hash. A request
// that comes back changed is a spiral and goes on.
func (m *Module) looped(msg *sipmsg.Message, hash uint32) bool {
	for it := msg.Values(sipmsg.HVia); it.Next(); {
		v, err := sipmsg.ParseVia(it.Value)
		if err != nil {
			continue
		}
		if h, ok := branchLoop(v.Branch); ok && h == hash {
			return true
		}
	}
	return false
}

// maxNumber is the highest number of a branch: it has two digits in our branch
// parameter.
const maxNumber = 255

// relay sends the request of t to its destinations. The error is the problem
// that the caller should hear of if no branch could be made.
func (t *tx) relay(r *core.Request) error {
	if err := r.MayForward(); err != nil {
		return err
	}
	t.loop = t.m.loopHash(r.Msg)
	if r.Msg.Next(max(r.Msg.First(sipmsg.HVia), 0)) >= 0 && t.m.looped(r.Msg, t.loop) {
		t.m.stats.loops.Add(1)
		return errLoop
	}
	have := t.m.breadth(r.Msg)
	if t.serial = have > 0 && t.m.serialForking.Load() && preferences(r); t.serial {
		loadContacts(r)
		nextContacts(r, have)
	}
	if have < 1+len(r.Targets) {
		return errBreadth
	}
	if t.method == sipmsg.INVITE {
		t.sendTrying()
	}
	made, first := t.fork(r, have)
	if made == 0 && !t.nextGroup(r) {
		return first
	}
	return nil
}

// fork makes a branch for each of the request's destinations and forgets them.
// It returns how many there are, and the first problem.
func (t *tx) fork(r *core.Request, have int) (made int, first error) {
	targets := 1 + len(r.Targets)
	for i := 0; i < targets; i++ {
		target := &r.Main
		if i > 0 {
			target = &r.Targets[i-1]
			if repeated(r, i-1) {
				continue
			}
		}
		if err := t.addBranch(r, target, have/targets); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		made++
		if t.canceled {
			break
		}
	}
	r.ClearTargets()
	return made, first
}

// repeated tells whether destination i of r.Targets is there already (RFC 3261
// §16.5: a set). The same URI by two ways is two destinations.
func repeated(r *core.Request, i int) bool {
	t := &r.Targets[i]
	if t.URI == nil {
		return false
	}
	same := func(o *core.Target, uri []byte) bool {
		return o.Flow == t.Flow && bytes.Equal(o.NextHop, t.NextHop) && bytes.Equal(o.Path, t.Path) && sameURI(uri, t.URI)
	}
	main := r.Main.URI
	if main == nil {
		main = r.Msg.RURIText()
	}
	if same(&r.Main, main) {
		return true
	}
	for j := range r.Targets[:i] {
		if same(&r.Targets[j], r.Targets[j].URI) {
			return true
		}
	}
	return false
}

// breadth returns how many branches the request may have at once, here and
// further on: its Max-Breadth, at most max_breadth, which is also what a request
// without one gets (RFC 5393 §5.3.3).
func (m *Module) breadth(msg *sipmsg.Message) int {
	if i := msg.First(sipmsg.HMaxBreadth); i >= 0 {
		if n, ok := sipmsg.ParseUint(msg.Value(i), 1<<31); ok {
			return min(int(n), m.maxBreadth)
		}
	}
	return m.maxBreadth
}

// addBranch makes one branch and sends the request over it.
func (t *tx) addBranch(r *core.Request, to *core.Target, breadth int) error {
	target := *to
	m := t.m
	if len(t.branches)-t.failovers >= m.maxBranches || len(t.branches) > maxNumber {
		return errBranches
	}
	record, params := r.RecordRoute, len(r.RRParams)
	i := r.Msg.First(sipmsg.HMaxBreadth)
	if r.OnBranch != "" || i >= 0 {
		k := m.marks.Get().(*sipmsg.Mark)
		r.Msg.Mark(k)
		defer func() {
			r.Msg.Restore(k)
			m.marks.Put(k)
			r.RecordRoute, r.RRParams = record, r.RRParams[:params]
		}()
	}
	if err := t.branchRoute(r, &target); err != nil {
		return err
	}
	if i >= 0 {
		var tmp [20]byte
		r.Msg.Replace(i, strconv.AppendInt(tmp[:0], int64(breadth), 10))
	}
	hop, err := r.HopFor(&target)
	if err != nil {
		return err
	}
	if i < 0 {
		hop.Breadth = breadth
	}
	b := t.freshBranch()
	if err := t.findWays(r, b, hop); err != nil {
		return err
	}
	if t.canceled || t.state >= completed {
		return &sipmsg.Problem{Code: 487, Reason: "Request Terminated"}
	}
	hop.Flow, b.flow = b.ways[b.way], b.ways[b.way]
	b.breadth = breadth
	b.id = appendBranch(b.id[:0], t.index, uint8(b.n), t.loop)
	b.req = r.AppendBranch(m.buffer(), hop, &target, b.id)
	if len(b.req) > sipmsg.MaxSize {
		b.recycle()
		return core.ErrTooLarge
	}
	if len(b.ways) > 1 { // what AppendAgain needs
		b.record, b.rrParams = r.RecordRoute, r.Keep(r.RRParams[params:])
	}
	t.mu.Lock()
	t.branches = append(t.branches, b)
	t.mu.Unlock()
	b.begin(m.clock.Now(), b.patience(r))
	return nil
}

// branchRoute runs the branch route, if there is one, on the request as it goes
// to target; an error says that the branch is not made.
func (t *tx) branchRoute(r *core.Request, target *core.Target) error {
	if r.OnBranch == "" {
		return nil
	}
	if target.URI != nil {
		r.Msg.SetRURI(target.URI)
		target.URI = nil
	}
	r.Dropped = false
	err := r.Engine.RunRoute(r, core.BranchRoute, r.OnBranch)
	t.out = r.Out
	r.Decide() // the relaying is the decision, whatever the branch route says
	if err != nil {
		return err
	}
	if r.Dropped {
		return &sipmsg.Problem{Code: 403, Reason: "Branch Refused"}
	}
	return nil
}
