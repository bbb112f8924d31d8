package auth

import (
	"context"

	"sipr/core"
)

func (m *Module) commands() []core.Command {
	return []core.Command{
		{Name: "flush", Args: "[user]", Doc: "Forget cached credentials: those of a user name in every realm, or all.", Run: m.cmdFlush},
		{Name: "stats", Doc: "Show the outcomes of checks, challenges, database queries and the size of the cache.", Run: m.cmdStats},
	}
}

func (m *Module) cmdFlush(_ context.Context, c *core.Call) error {
	c.Struct().Add("flushed", int64(m.cache.flush(c.String(0))))
	return nil
}

func (m *Module) cmdStats(_ context.Context, c *core.Call) error {
	s := c.Struct()
	for v, counter := range m.counters {
		if verdict(v) != otherKey {
			s.Add(verdict(v).String(), counter.Load())
		}
	}
	known, unknown := m.cache.size()
	s.Add("challenges", m.sent.Load()).Add("queries", m.queries.Load()).
		Add("cached", int64(known)).Add("cached_unknown", int64(unknown))
	return nil
}
