package permissions

import (
	"context"

	"sipr/core"
)

func (m *Module) commands() []core.Command {
	return []core.Command{
		{Name: "reload", Run: m.cmdReload, Doc: "Reads the trusted sources from the database anew."},
		{Name: "dump", Run: m.cmdDump, Doc: "Shows the trusted sources."},
		{Name: "trustedReload", Run: m.cmdReload, Doc: "Kamailio's name of permissions.reload."},
		{Name: "trustedDump", Run: m.cmdDump, Doc: "Kamailio's name of permissions.dump."},
		{Name: "addressReload", Run: m.cmdReload, Doc: "Kamailio's name of permissions.reload."},
		{Name: "addressDump", Run: m.cmdDump, Doc: "Kamailio's name of permissions.dump."},
	}
}

func (m *Module) cmdReload(ctx context.Context, _ *core.Call) error {
	if err := m.Reload(ctx); err != nil {
		m.log.Error("trusted sources not reloaded, the old ones stay", "error", err)
		return &core.Fault{Code: 500, Reason: "Trusted Table Reload Failed"}
	}
	return nil
}

// dump is permissions.dump as JSON doors show it.
type dump struct {
	Trusted []dumpEntry `json:"trusted"`
}

type dumpEntry struct {
	ID     string `json:"id,omitempty"` // of the row; none for the parameter
	Source string `json:"source"`
	Proto  string `json:"proto"`
	Tag    string `json:"tag"`
}

func (m *Module) cmdDump(_ context.Context, c *core.Call) error {
	entries := m.current.Load().entries
	d := dump{Trusted: make([]dumpEntry, 0, len(entries))}
	for i := range entries {
		e := &entries[i]
		proto := "any"
		if e.proto != core.ProtoNone {
			proto = e.proto.String()
		}
		d.Trusted = append(d.Trusted, dumpEntry{e.row, source(e.prefix), proto, e.tag})
		s := c.Struct()
		if e.row != "" {
			s.Add("id", e.row)
		}
		s.Add("source", source(e.prefix)).Add("proto", proto).Add("tag", e.tag)
	}
	c.Data = d
	return nil
}
