package domain

import (
	"context"
	"slices"

	"sipr/core"
)

func (m *Module) commands() []core.Command {
	return append([]core.Command{
		{Name: "reload", Run: m.cmdReload, Doc: "Reads the virtual domains, and their attributes if those are used, from the database anew."},
		{Name: "dump", Run: m.cmdDump, Doc: "Shows the virtual domains in the cache, the one loaded last first."},
	}, m.provisionCommands()...)
}

// cacheDisabled is the reason of both commands' faults with db_mode 0.
const cacheDisabled = "Server Domain Cache Disabled"

func (m *Module) cmdReload(ctx context.Context, _ *core.Call) error {
	if !m.cached() {
		return &core.Fault{Code: 200, Reason: cacheDisabled} // SER's code
	}
	if err := m.Reload(ctx); err != nil {
		m.log.Error("virtual domains not reloaded, the old ones stay", "error", err)
		return &core.Fault{Code: 400, Reason: "Domain Table Reload Failed"}
	}
	return nil
}

func (m *Module) cmdDump(_ context.Context, c *core.Call) error {
	if !m.cached() {
		return &core.Fault{Code: 400, Reason: cacheDisabled}
	}
	snap := m.current.Load()
	c.Data = dump{Domains: dumpJSON(snap)}
	for _, v := range slices.Backward(snap.order) {
		s := c.Struct().Add("did", v.did)
		for _, n := range v.names {
			s.Add("domain", n.text).Add("flags", int64(n.flags))
		}
		for _, a := range slices.Backward(v.set.All()) {
			s.Add("attr", a.Name+"="+a.Value.String())
		}
	}
	return nil
}

// dump is domain.dump as JSON doors show it.
type dump struct {
	Domains []dumpDomain `json:"domains"`
}

type dumpDomain struct {
	DID   string     `json:"did"`
	Names []dumpName `json:"names"`
	Attrs []dumpAttr `json:"attrs"`
}

type dumpName struct {
	Domain string `json:"domain"`
	Flags  uint32 `json:"flags"`
}

type dumpAttr struct {
	Name  string `json:"name"`
	Type  int    `json:"type"`  // as in the table: 2 text, 0 number
	Value any    `json:"value"` // string or int64
}

// dumpJSON keeps the order of the text form; the attribute did is a member of
// its own there.
func dumpJSON(snap *snapshot) []dumpDomain {
	out := make([]dumpDomain, 0, len(snap.order))
	for _, v := range slices.Backward(snap.order) {
		d := dumpDomain{DID: v.did, Names: []dumpName{}, Attrs: []dumpAttr{}}
		for _, n := range v.names {
			d.Names = append(d.Names, dumpName{n.text, n.flags})
		}
		for _, a := range slices.Backward(v.set.All()[1:]) {
			if a.Value.Kind == core.KindInt {
				d.Attrs = append(d.Attrs, dumpAttr{a.Name, 0, a.Value.Num})
			} else {
				d.Attrs = append(d.Attrs, dumpAttr{a.Name, typeText, a.Value.Str})
			}
		}
		out = append(out, d)
	}
	return out
}
