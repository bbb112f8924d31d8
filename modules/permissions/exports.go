package permissions

import "sipr/core"

func (m *Module) exports() []core.Export {
	return []core.Export{
		core.Func("allow_source_address", m.allowSourceAddress,
			"Tells whether the request came from a trusted source, and if so marks it as trusted.",
			core.Text("group", "only entries whose tag is this text count; without it all do").Opt()),
	}
}

func (m *Module) allowSourceAddress(r *core.Request, a *core.Args) core.Result {
	var group []byte
	if a.Len() > 0 {
		// A select without a value must not widen the question to all groups.
		if group = a.Bytes(0); len(group) == 0 {
			return core.False("empty")
		}
	}
	if !m.current.Load().has(r.Flow.Remote.Addr(), r.Flow.Proto(), group) {
		return core.False("untrusted")
	}
	r.Trusted = true
	return core.True
}
