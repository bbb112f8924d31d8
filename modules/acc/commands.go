package acc

import (
	"context"

	"sipr/core"
)

func (m *Module) commands() []core.Command {
	return []core.Command{
		{Name: "reopen", Doc: "Opens the JSON file anew, after it was rotated.", Run: m.cmdReopen},
		{Name: "stats", Doc: "Shows how many records wait, were written and were lost.", Run: m.cmdStats},
	}
}

func (m *Module) cmdReopen(ctx context.Context, _ *core.Call) error {
	if m.json == nil {
		return &core.Fault{Code: 400, Reason: "json_file is not set"}
	}
	return m.Reload(ctx)
}

func (m *Module) cmdStats(_ context.Context, c *core.Call) error {
	w := m.writer
	state := "off"
	if m.useDB {
		state = "ok"
		if w.failing.Load() {
			state = "failing"
		}
	}
	c.Struct().Add("calls", int64(m.calls.len())).Add("calls_full", m.callsFull.Load()).
		Add("queued", int64(len(w.queue))).Add("waiting", w.waiting.Load()).
		Add("records", m.records.Load()).Add("lost", m.lost.Load()).
		Add("spooled", w.spooled.Load()).Add("json_errors", w.jsonErrors.Load()).
		Add("database", state)
	return nil
}
