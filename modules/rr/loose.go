package rr

import (
	"sipr/core"
	"sipr/core/sipmsg"
)

func (m *Module) looseRoute(r *core.Request, _ *core.Args) core.Result {
	m.repairStrict(r)
	own := 0
	for own < 2 { // ours, and its twin if the dialog changes sockets here
		u, ok := m.topRoute(r)
		if !ok || !r.Engine.IsMyself(u.Host, u.Port) {
			break
		}
		if own == 0 {
			r.RouteParams = r.Keep(u.Params)
		}
		_, double := u.Param("r2")
		r.Msg.RemoveTopValue(r.Msg.First(sipmsg.HRoute))
		own++
		if !double {
			break
		}
	}
	inside := r.RouteParams != nil && r.Msg.ToTag() != nil
	if inside && m.enter(r) {
		if _, gateway := sipmsg.HeaderParam(r.RouteParams, gatewayMark); m.gateways != nil && !gateway {
			r.Barrier = m.barrier
		}
		return core.True
	}
	switch {
	case r.Msg.Has(sipmsg.HRoute):
		return core.False("foreign")
	case inside:
		return core.False("forged")
	case own > 0:
		return core.False("preloaded")
	}
	return core.False("none")
}

// enter notes that a request belongs to a dialog and gives it the dialog's
// attributes. It reports false if the Route does not prove that.
func (m *Module) enter(r *core.Request) bool {
	tag, reverse, ok := m.owner(r)
	if ok {
		r.InDialog = true
		m.cookies.restore(r, tag, reverse)
	}
	return ok
}

// owner returns the tag of who set the dialog up, and whether that is not who
// sent this request; ok is false where the Route proves neither.
func (m *Module) owner(r *core.Request) (tag []byte, reverse, ok bool) {
	if tag = r.Msg.FromTag(); m.proves(r, tag) {
		return tag, false, true
	}
	tag = r.Msg.ToTag()
	return tag, true, m.proves(r, tag)
}

// topRoute parses the URI of the topmost Route value.
func (m *Module) topRoute(r *core.Request) (sipmsg.URI, bool) {
	i := r.Msg.First(sipmsg.HRoute)
	if i < 0 {
		return sipmsg.URI{}, false
	}
	v, _ := sipmsg.NextValue(r.Msg.Value(i))
	n, err := sipmsg.ParseNameAddr(v)
	if err != nil {
		return sipmsg.URI{}, false
	}
	u, err := n.URI()
	return u, err == nil
}

// repairStrict undoes what a strict router before us did: it put our
// Record-Route URI into the Request-URI and the real one at the end of the
// Route (RFC 3261 §16.4).
func (m *Module) repairStrict(r *core.Request) {
	u, err := r.Msg.RURI()
	if err != nil || u.User != nil {
		return
	}
	if _, ours := u.Param("mac"); !ours || !r.Engine.IsMyself(u.Host, u.Port) {
		return
	}
	last, header := lastRoute(r.Msg)
	if header < 0 {
		return
	}
	n, err := sipmsg.ParseNameAddr(last)
	if err != nil {
		return
	}
	r.RouteParams = r.Keep(u.Params)
	r.Msg.SetRURI(r.Keep(n.URIText))
	removeLast(r.Msg, header)
}

// lastRoute returns the last Route value and the header field that holds it.
func lastRoute(m *sipmsg.Message) ([]byte, int) {
	var last []byte
	header := -1
	for v := m.Values(sipmsg.HRoute); v.Next(); {
		last, header = v.Value, v.Header()
	}
	return last, header
}

// removeLast removes the last value of a header field.
func removeLast(m *sipmsg.Message, header int) {
	var keep []byte
	rest := m.Value(header)
	for {
		var v []byte
		v, rest = sipmsg.NextValue(rest)
		if len(rest) == 0 {
			break
		}
		if len(keep) > 0 {
			keep = append(keep, ", "...)
		}
		keep = append(keep, v...)
	}
	if len(keep) == 0 {
		m.Remove(header)
		return
	}
	m.Replace(header, keep)
}
