package users

import (
	"context"

	"sipr/core"
)

func (m *Module) commands() []core.Command {
	return []core.Command{
		{Name: "flush", Doc: "Forgets what is remembered of the uri table.", Run: m.cmdFlush},
	}
}

func (m *Module) cmdFlush(_ context.Context, c *core.Call) error {
	c.Struct().Add("forgotten", int64(m.cache.flush()))
	return nil
}
