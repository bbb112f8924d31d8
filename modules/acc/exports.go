package acc

import (
	"sipr/core"
)

func (m *Module) exports() []core.Export {
	return []core.Export{
		core.Func("acc_request", m.accRequest,
			"Records the request, or the response that a reply or failure route looks at, at once.",
			core.Text("comment", "text that goes with the record").Opt()),
		core.Func("do_accounting", m.doAccounting,
			"Chooses what is recorded of this request: all (the default), failed, missed, calls or off. A call that is off has no record of its end either.",
			core.String("what", "all, failed, missed, calls or off").Opt().Checked(checkMode)).In(core.RequestRoute | core.FailureRoute | core.BranchRoute),
	}
}

func (m *Module) accRequest(req *core.Request, a *core.Args) core.Result {
	r := m.describe(script, req)
	r.time = m.host.Clock().Now()
	r.set(fToTag, req.Msg.ToTag())
	if req.Reply != nil {
		r.code = req.Reply.Status
		r.set(fReason, req.Reply.Reason())
	}
	r.set(fComment, a.Bytes(0))
	m.enqueue(r)
	return core.True
}

func (m *Module) doAccounting(req *core.Request, a *core.Args) core.Result {
	what := modeAll
	if a.Len() > 0 {
		var ok bool
		if what, ok = parseMode(a.Bytes(0)); !ok {
			return core.Fail(checkMode(a.String(0)))
		}
	}
	req.Attrs.Set(&m.attrs.mode, core.IntValue(int64(what)))
	return core.True
}
