package tm

import (
	"context"

	"sipr/core"
)

func (m *Module) cmdStats(_ context.Context, c *core.Call) error {
	s := c.Struct()
	s.Add("current", m.stats.active.Load())
	s.Add("total", m.stats.created.Load())
	s.Add("refused", m.stats.refused.Load())
	s.Add("retransmissions", m.stats.retransmissions.Load())
	s.Add("timeouts", m.stats.timeouts.Load())
	s.Add("late_replies", m.stats.late.Load())
	s.Add("cancels", m.stats.cancels.Load())
	s.Add("loops", m.stats.loops.Load())
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

func (m *Module) cmdList(_ context.Context, c *core.Call) error {
	left := int(c.Int(0, 100))
	now := m.clock.Now()
	for i := uint32(0); left > 0; i++ {
		m.client.mu.RLock()
		n := len(m.client.slots)
		m.client.mu.RUnlock()
		if int(i) >= n {
			return nil
		}
		t := m.client.get(i)
		if t == nil {
			continue
		}
		state, code, branches, age := t.state, t.code, len(t.branches), now.Sub(t.created)
		t.mu.Unlock()
		if state >= completed {
			continue
		}
		left--
		c.Struct().Add("index", int64(i)).Add("method", t.method.String()).Add("code", int64(code)).
			Add("branches", int64(branches)).Add("age_ms", age.Milliseconds())
	}
	return nil
}
