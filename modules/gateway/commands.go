package gateway

import (
	"context"
	"slices"

	"sipr/core"
)

func (m *Module) commands() []core.Command {
	return []core.Command{
		{Name: "reload", Doc: "Reads the rules of the file and of the table again.", Run: m.cmdReload},
		{Name: "dump", Doc: "Shows the rules.", Run: m.cmdDump},
		{Name: "test", Doc: "Shows where a number would be led, in the order of the tries; among gateways of one priority the heaviest comes first.", Args: "<number>", Run: m.cmdTest},
	}
}

func (m *Module) cmdReload(ctx context.Context, c *core.Call) error {
	if err := m.Reload(ctx); err != nil {
		return err
	}
	c.Struct().Add("rules", int64(len(m.snap.Load().rules)))
	return nil
}

func (m *Module) cmdDump(_ context.Context, c *core.Call) error {
	rules := m.snap.Load().rules
	for i := range rules {
		r := &rules[i]
		c.Struct().Add("prefix", r.prefix).Add("strip", int64(r.strip)).Add("prepend", r.prepend).
			Add("target", r.target).Add("priority", int64(r.priority)).Add("weight", int64(r.weight)).
			Add("origin", r.origin)
	}
	return nil
}

func (m *Module) cmdTest(_ context.Context, c *core.Call) error {
	if len(c.Params) != 1 {
		return &core.Fault{Code: 400, Reason: "a number is expected"}
	}
	number, ok := appendNumber(nil, []byte(c.String(0)))
	if !ok {
		return &core.Fault{Code: 400, Reason: c.String(0) + " is not a telephone number"}
	}
	// The snapshot's own order has no chance in it.
	rules := slices.Clone(m.snap.Load().find(number))
	shown := 0
	for _, r := range rules {
		uri, ok := r.appendURI(nil, number)
		if !ok {
			continue
		}
		shown++
		c.Struct().Add("uri", string(uri)).Add("prefix", r.prefix).Add("priority", int64(r.priority)).
			Add("weight", int64(r.weight)).Add("origin", r.origin)
	}
	if shown == 0 {
		return &core.Fault{Code: 404, Reason: "no rule takes " + string(number)}
	}
	return nil
}
