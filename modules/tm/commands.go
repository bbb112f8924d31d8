package tm

import (
	"bytes"
	"context"
	"strings"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// maxList is how many transactions one call of tm.list returns at most.
const maxList = 1000

func (m *Module) commands() []core.Command {
	return []core.Command{
		{Name: "stats", Doc: "Counts transactions by state and responses by class.", Run: m.cmdStats},
		{Name: "list", Args: "[count [offset]]", Doc: "Shows transactions that are not answered yet, 100 or as many as said, but at most 1000.", Run: m.cmdList},
		{Name: "cancel", Args: "<call-id> <cseq>", Doc: "Cancels INVITEs that are not answered yet, as a CANCEL from the caller does.", Run: m.cmdCancel},
	}
}

func (m *Module) cmdStats(_ context.Context, c *core.Call) error {
	s := c.Struct()
	s.Add("current", m.stats.active.Load())
	s.Add("pending", m.stats.pending.Load())
	s.Add("total", m.stats.created.Load())
	s.Add("refused", m.stats.refused.Load())
	s.Add("retransmissions", m.stats.retransmissions.Load())
	s.Add("timeouts", m.stats.timeouts.Load())
	s.Add("late_replies", m.stats.late.Load())
	s.Add("cancels", m.stats.cancels.Load())
	s.Add("loops", m.stats.loops.Load())
	s.Add("groups", m.stats.groups.Load())
	s.Add("recursions", m.stats.recursions.Load())
	s.Add("failovers", m.stats.failovers.Load())
	for i, name := range []string{"", "rpl_1xx", "rpl_2xx", "rpl_3xx", "rpl_4xx", "rpl_5xx", "rpl_6xx"} {
		if i > 0 {
			s.Add(name, m.stats.replies[i].Load())
		}
	}
	timers := 0
	for _, w := range m.wheels {
		timers += w.Len()
	}
	s.Add("timers", int64(timers))
	return nil
}

// listed is what tm.list shows of a transaction.
type listed struct {
	index    uint32
	method   sipmsg.Method
	state    string
	own      bool   // it is a request of this router's own
	request  []byte // as received or sent; empty while somebody handles it
	source   core.Flow
	code     int
	age      time.Duration
	branches []listedBranch
}

type listedBranch struct {
	flow     core.Flow
	code     int
	canceled bool
}

func (s txState) String() string {
	return [...]string{"trying", "proceeding", "completed", "confirmed", "accepted", "terminated"}[s]
}

// waiting calls f for each transaction that is not answered yet, locked, until
// it returns false.
func (m *Module) waiting(f func(t *tx) bool) {
	for i := uint32(0); ; i++ {
		m.client.mu.RLock()
		n := len(m.client.slots)
		m.client.mu.RUnlock()
		if int(i) >= n {
			return
		}
		t := m.client.get(i)
		if t == nil {
			continue
		}
		more := t.state >= completed || f(t)
		t.mu.Unlock()
		if !more {
			return
		}
	}
}

// look copies what is shown of t, which is locked. All but a little belongs to
// the owner, if there is one.
func (t *tx) look(now clock.Time) listed {
	l := listed{index: t.index, method: t.method, state: t.state.String(), own: len(t.key) == 0, age: now.Sub(t.created)}
	if t.owned {
		l.state = "busy"
		return l
	}
	l.code, l.source = t.code, t.source
	for _, b := range t.branches {
		l.branches = append(l.branches, listedBranch{b.flow, b.code, b.canceled})
		if l.own {
			l.request = bytes.Clone(b.req)
		}
	}
	if t.r != nil {
		l.request = bytes.Clone(t.r.Msg.Bytes())
	}
	return l
}

func (m *Module) cmdList(_ context.Context, c *core.Call) error {
	count, skip := c.Int(0, 100), c.Int(1, 0)
	if count < 1 || count > maxList || skip < 0 {
		return &core.Fault{Code: 400, Reason: "count is from 1 to 1000, offset from 0"}
	}
	now := m.clock.Now()
	var list []listed
	m.waiting(func(t *tx) bool {
		if skip > 0 {
			skip--
			return true
		}
		list = append(list, t.look(now))
		return int64(len(list)) < count
	})
	for i := range list {
		list[i].add(c)
	}
	return nil
}

// add adds l to a reply.
func (l *listed) add(c *core.Call) {
	s := c.Struct().Add("index", int64(l.index))
	var msg sipmsg.Message
	if len(l.request) > 0 && msg.Parse(l.request) == nil {
		seq, _, _ := msg.CSeq()
		s.Add("method", string(msg.MethodText())).Add("uri", string(msg.RURIText())).
			Add("callid", string(msg.CallID())).Add("cseq", int64(seq))
		if from, err := msg.From(); err == nil {
			s.Add("from", string(from.URIText)).Add("from_tag", string(msg.FromTag()))
		}
		if to, err := msg.To(); err == nil {
			s.Add("to", string(to.URIText))
		}
	} else {
		s.Add("method", l.method.String())
	}
	s.Add("state", l.state).Add("code", int64(l.code)).Add("age_ms", l.age.Milliseconds())
	if l.source.Valid() {
		s.Add("source", flowText(l.source))
	}
	for _, b := range l.branches {
		sub := s.Struct("branch").Add("destination", flowText(b.flow)).Add("code", int64(b.code))
		if b.canceled {
			sub.Add("canceled", true)
		}
	}
}

func flowText(f core.Flow) string {
	return strings.ToLower(f.Proto().String()) + ":" + f.Remote.String()
}

// isFor tells whether t, which is locked, is an INVITE with this Call-ID and
// CSeq. It must have no owner.
func (t *tx) isFor(callID string, cseq int64) bool {
	if t.state >= completed || t.r == nil {
		return false
	}
	var msg sipmsg.Message
	if msg.Parse(bytes.Clone(t.r.Msg.Bytes())) != nil {
		return false
	}
	n, _, err := msg.CSeq()
	return err == nil && int64(n) == cseq && string(msg.CallID()) == callID
}

// cmdCancel looks at every transaction: there is no index by Call-ID, since
// nothing else would use one.
func (m *Module) cmdCancel(_ context.Context, c *core.Call) error {
	callID, cseq := c.String(0), c.Int(1, -1)
	if callID == "" || cseq < 0 {
		return &core.Fault{Code: 400, Reason: "a Call-ID and the number of a CSeq are expected"}
	}
	var found []*tx
	busy := false
	m.waiting(func(t *tx) bool {
		switch {
		case t.method != sipmsg.INVITE || len(t.key) == 0:
		case t.owned:
			busy = true
		case t.isFor(callID, cseq):
			found = append(found, t)
		}
		return true
	})
	out := m.host.Network().NewSender()
	defer out.Flush()
	canceled := int64(0)
	for _, t := range found {
		t.mu.Lock()
		// The memory may be another transaction's since it was found.
		if t.owned || !t.isFor(callID, cseq) {
			t.mu.Unlock()
			busy = true
			continue
		}
		canceled++
		t.enterLocked(out, event{kind: evCancel, now: m.clock.Now()})
	}
	if canceled == 0 && busy {
		return &core.Fault{Code: 503, Reason: "no such INVITE among those that are not being handled at this moment: try again"}
	}
	if canceled == 0 {
		return &core.Fault{Code: 404, Reason: "no such INVITE is waiting for an answer"}
	}
	c.Struct().Add("canceled", canceled)
	return nil
}
