package gateway

import (
	"bytes"
	"errors"

	"sipr/core"
	"sipr/core/sipmsg"
)

var errRoom = errors.New("the message has no room for another Request-URI")

// nextAttr is where a request keeps the Request-URIs of the gateways that are
// still to be tried, divided by spaces: $tr.gw_next.
func nextAttr() core.AttrRef {
	return core.AttrRef{Track: core.ToTrack, Class: core.URIClass, Name: "gw_next"}
}

func (m *Module) exports() []core.Export {
	const r = core.RequestRoute | core.FailureRoute
	return []core.Export{
		core.Func("gw_route", m.gwRoute,
			"Leads a number to the gateways of its longest prefix: sets the Request-URI to the first and forgets every other destination. False: no_number, no_rule.",
			core.Text("number", "the number; without it the user part of the Request-URI").Opt()).In(r),
		core.Func("next_gw", m.nextGW,
			"Sets the Request-URI to the next gateway that gw_route has found, for use in a failure route. False: no_more.").In(r),
		core.Func("is_gateway", m.isGateway,
			"Tells whether an address is a gateway's; gateways that are given by host name are not known by address. False: not_gateway, no_address.",
			core.Text("address", "the IP address to ask for; without it the source of the request").Opt()),
		core.Func("from_gateway", m.isGateway,
			"Tells whether the request came from a gateway's address. False: not_gateway."),
	}
}

func (m *Module) gwRoute(r *core.Request, a *core.Args) core.Result {
	var tmp [maxNumber]byte
	number, ok := m.number(r, a, tmp[:0])
	if !ok {
		return core.False("no_number")
	}
	found := m.snap.Load().find(number)
	if len(found) == 0 {
		m.noRule.Add(1)
		return core.False("no_rule")
	}
	var few [16]*rule
	order := append(few[:0], found...)
	shuffle(order, m.random)

	var buf [512]byte
	list := buf[:0]
	for _, rule := range order {
		mark := len(list)
		if mark > 0 {
			list = append(list, ' ')
		}
		if list, ok = rule.appendURI(list, number); !ok {
			list = list[:mark]
		}
	}
	if len(list) == 0 {
		m.noRule.Add(1)
		return core.False("no_rule")
	}
	if err := m.use(r, r.Keep(list)); err != nil {
		return core.Fail(err)
	}
	m.routed.Add(1)
	return core.True
}

// number finds the number that is to be routed.
func (m *Module) number(r *core.Request, a *core.Args, dst []byte) ([]byte, bool) {
	if a.Len() > 0 {
		return appendNumber(dst, a.Bytes(0))
	}
	u, err := r.Msg.RURI()
	if err != nil || u.Scheme == sipmsg.SchemeOther {
		return dst, false
	}
	return appendNumber(dst, u.User)
}

func (m *Module) nextGW(r *core.Request, _ *core.Args) core.Result {
	ref := nextAttr()
	v, _ := r.Attrs.Get(&ref)
	list := v.Raw
	if list == nil && v.Str != "" {
		list = r.Keep([]byte(v.Str))
	}
	if len(list) == 0 {
		return core.False("no_more")
	}
	if err := m.use(r, list); err != nil {
		return core.Fail(err)
	}
	m.failovers.Add(1)
	return core.True
}

// use makes the first URI of list the only destination and leaves the others
// with the request. list must live as long as r.
func (m *Module) use(r *core.Request, list []byte) error {
	first, rest, _ := bytes.Cut(list, []byte{' '})
	if !r.Msg.Room(len(first)) {
		return errRoom
	}
	if rest == nil { // an attribute without value would show an older list
		rest = list[len(list):]
	}
	r.Msg.SetRURI(first)
	// What was found for the old Request-URI, such as a binding's flow, must
	// not take the call elsewhere.
	r.ClearTargets()
	ref := nextAttr()
	r.Attrs.Set(&ref, core.RawValue(rest))
	return nil
}

func (m *Module) isGateway(r *core.Request, a *core.Args) core.Result {
	addr := r.Source().Addr()
	if a.Len() > 0 {
		var ok bool
		if addr, ok = sipmsg.ParseIP(a.Bytes(0)); !ok {
			return core.False("no_address")
		}
	}
	if m.IsGateway(addr) {
		return core.True
	}
	return core.False("not_gateway")
}
