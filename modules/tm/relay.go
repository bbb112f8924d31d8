package tm

import (
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

// relay sends the request of t to its destinations. The error is the problem
// that the caller should hear of if no branch could be made.
func (t *tx) relay(r *core.Request) error {
	if err := r.MayForward(); err != nil {
		return err
	}
	hash := t.m.loopHash(r.Msg)
	if r.Msg.Next(max(r.Msg.First(sipmsg.HVia), 0)) >= 0 && t.m.looped(r.Msg, hash) {
		t.m.stats.loops.Add(1)
		return errLoop
	}
	targets := 1 + len(r.Targets)
	breadth, err := t.m.breadth(r.Msg, targets)
	if err != nil {
		return err
	}
	if t.method == sipmsg.INVITE {
		t.sendTrying()
	}
	made := 0
	var first error
	for i := 0; i < targets; i++ {
		target := &r.Main
		if i > 0 {
			target = &r.Targets[i-1]
		}
		if err := t.addBranch(r, target, hash, breadth); err != nil {
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
	if made == 0 {
		return first
	}
	return nil
}

// breadth returns the Max-Breadth of each branch, 0 for no header field.
func (m *Module) breadth(msg *sipmsg.Message, branches int) (int, error) {
	have := m.maxBreadth
	i := msg.First(sipmsg.HMaxBreadth)
	if i >= 0 {
		n, ok := sipmsg.ParseUint(msg.Value(i), 1<<31)
		if ok && int(n) < have {
			have = int(n)
		}
	} else if branches == 1 {
		return 0, nil
	}
	if have < branches {
		return 0, errBreadth
	}
	return have / branches, nil
}

// addBranch makes one branch and sends the request over it.
func (t *tx) addBranch(r *core.Request, to *core.Target, hash uint32, breadth int) error {
	target := *to
	m := t.m
	if len(t.branches) >= m.maxBranches {
		return errBranches
	}
	marked := r.OnBranch != "" || breadth > 0
	var k *sipmsg.Mark
	if marked {
		k = m.marks.Get().(*sipmsg.Mark)
		r.Msg.Mark(k)
		defer func() {
			r.Msg.Restore(k)
			m.marks.Put(k)
		}()
	}
	if r.OnBranch != "" {
		record, params := r.RecordRoute, len(r.RRParams)
		defer func() { r.RecordRoute, r.RRParams = record, r.RRParams[:params] }()
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
	}
	if breadth > 0 {
		value := strconv.AppendInt(nil, int64(breadth), 10)
		if i := r.Msg.First(sipmsg.HMaxBreadth); i >= 0 {
			r.Msg.Replace(i, value)
		} else {
			r.Msg.Append([]byte("Max-Breadth"), value)
		}
	}
	hop, err := r.HopFor(&target)
	if err != nil {
		return err
	}
	if !hop.Flow.Valid() {
		if hop.Flow, err = r.Engine.Resolve(r, &hop.Next, r.Flow.Socket); err != nil {
			return err
		}
		t.out = r.Out
	}
	if err := r.MayReach(hop.Flow); err != nil {
		return err
	}
	if t.canceled || t.state >= completed {
		return &sipmsg.Problem{Code: 487, Reason: "Request Terminated"}
	}
	b := t.freshBranch()
	b.flow = hop.Flow
	b.id = appendBranch(b.id[:0], t.index, uint8(b.n), hash)
	b.req = r.AppendBranch(m.buffer(), hop, &target, b.id)
	if len(b.req) > sipmsg.MaxSize {
		b.recycle()
		return core.ErrTooLarge
	}
	t.mu.Lock()
	t.branches = append(t.branches, b)
	t.mu.Unlock()
	fr, _ := m.frTimers(r)
	b.begin(m.clock.Now(), fr)
	return nil
}
