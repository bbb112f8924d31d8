// Package rr keeps this router in the path of a dialog: Record-Route, Route and
// their repair for strict routers (RFC 3261 §16.4, §16.6, §16.12).
//
// A Record-Route of ours carries a MAC over the Call-ID and the tag of who set
// the dialog up. Only a request that brings it back belongs to a dialog that
// went through this router; an invented To tag and Route buy nothing. It also
// carries the attributes that have the flag dialog_cookie.
package rr

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"net/netip"

	"github.com/dchest/siphash"

	"sipr/core"
	"sipr/core/sipmsg"
)

// Module is the module rr.
type Module struct {
	host       core.Host
	k0, k1     uint64
	appendFrom bool
	cookies    cookies
	gateways   gateways // nil without the module
	// barrier is its IsGateway: made once, as a method value is memory.
	barrier func(netip.Addr) bool
	record  func(dst []byte, r *core.Request, out *core.Socket) []byte
}

// gateways is what rr uses of module gateway.
type gateways interface{ IsGateway(netip.Addr) bool }

// New returns the module with its defaults.
func New() core.Module { return &Module{cookies: cookies{enabled: true, size: 256}} }

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
)

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:    "rr",
		Summary: "Record-Route and loose routing, with proof that a dialog was set up through this router.",
		Wants:   []string{"gateway"},
		Params: append(m.cookies.params(),
			core.BoolParam(&m.appendFrom, "append_fromtag", "add ;ftag= with the tag of From to Record-Route"),
		),
		Exports: []core.Export{
			core.Func("record_route", m.recordRoute, "Stays in the path of the dialog that this request may set up. Where the branch leaves over another socket than it came, both are recorded.").
				In(core.RequestRoute | core.BranchRoute | core.FailureRoute),
			core.Func("loose_route", m.looseRoute, "Removes our own Route and repairs what a strict router did. True if the request belongs to a dialog that was set up through this router: its attributes with the flag dialog_cookie are there again. Else false and why: none (no Route), preloaded (only ours, outside a dialog), foreign (a Route that is not ours is left) or forged (only ours, without proof).").
				In(core.RequestRoute),
			core.Func("add_rr_param", m.addParam, "Adds parameters to our Record-Route, such as \";nat=yes\".", core.Text("params", "with the leading semicolon")).
				In(core.RequestRoute | core.BranchRoute | core.FailureRoute),
			core.Func("check_route_param", m.checkParam, "Tells whether our own Route, which loose_route removed, carries a parameter, or a parameter with a value.",
				core.Text("param", `"nat" or "nat=yes"`)).In(core.RequestRoute),
		},
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.host = h
	m.record = m.appendRecord
	if err := m.cookies.configure(h); err != nil {
		return err
	}
	if !h.Loaded("gateway") {
		return nil
	}
	var err error
	if m.gateways, err = core.Bind[gateways](h, "gateway"); err == nil {
		m.barrier = m.gateways.IsGateway
	}
	return err
}

// Start implements core.Starter.
func (m *Module) Start(context.Context) error {
	key := m.host.Secret("record-route")
	m.cookies.start(m.host)
	m.k0, m.k1 = binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	return nil
}

// gatewayMark is the parameter of a Record-Route whose dialog has a gateway at
// one end. Only such a dialog's requests may reach a gateway.
const gatewayMark = "gw"

// appendMAC appends the proof for a dialog: what binds a Record-Route to the
// Call-ID, the tag of who set it up, and to whether a gateway takes part.
func (m *Module) appendMAC(dst, callID, tag []byte, gateway bool) []byte {
	var tmp [512]byte
	b := append(append(append(tmp[:0], callID...), 0), tag...)
	if gateway {
		b = append(b, 0, 1)
	}
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], siphash.Hash(m.k0, m.k1, b))
	return hex.AppendEncode(dst, sum[:])
}

func (m *Module) recordRoute(r *core.Request, _ *core.Args) core.Result {
	r.RecordRoute = m.record
	return core.True
}

// appendRecord appends our Record-Route lines for a branch that leaves over
// out: the nearer to the callee first.
func (m *Module) appendRecord(dst []byte, r *core.Request, out *core.Socket) []byte {
	in := r.Flow.Socket
	if in == out || in == nil {
		return m.appendLine(dst, r, out, false)
	}
	dst = m.appendLine(dst, r, out, true)
	return m.appendLine(dst, r, in, true)
}

func (m *Module) appendLine(dst []byte, r *core.Request, s *core.Socket, double bool) []byte {
	dst = append(append(dst, "Record-Route: <sip:"...), s.SentBy...)
	if s.Proto != core.UDP {
		dst = append(dst, ";transport="...)
		for _, c := range []byte(s.Proto.String()) {
			dst = append(dst, c|0x20)
		}
	}
	if double {
		dst = append(dst, ";r2=on"...)
	}
	dst = append(dst, ";lr;mac="...)
	tag := r.Msg.FromTag()
	reverse := r.InDialog && !m.proves(r, tag)
	if reverse {
		tag = r.Msg.ToTag()
	}
	gateway := m.viaGateway(r)
	dst = m.appendMAC(dst, r.Msg.CallID(), tag, gateway)
	if gateway {
		dst = append(dst, ";"+gatewayMark...)
	}
	if m.appendFrom {
		dst = append(append(dst, ";ftag="...), r.Msg.FromTag()...)
	}
	dst = m.cookies.appendTo(dst, r, tag, reverse)
	dst = append(dst, r.RRParams...)
	return append(dst, ">\r\n"...)
}

// proves tells whether the Route that the request brought was made for a
// dialog that the owner of tag set up.
func (m *Module) proves(r *core.Request, tag []byte) bool {
	mac, ok := sipmsg.HeaderParam(r.RouteParams, "mac")
	if !ok || len(tag) == 0 {
		return false
	}
	var tmp [16]byte
	_, gateway := sipmsg.HeaderParam(r.RouteParams, gatewayMark)
	return bytes.Equal(m.appendMAC(tmp[:0], r.Msg.CallID(), tag, gateway), mac)
}

// viaGateway tells whether the request came from a gateway or goes to one.
func (m *Module) viaGateway(r *core.Request) bool {
	return m.gateways != nil && (m.gateways.IsGateway(r.Source().Addr()) || m.gateways.IsGateway(r.Next().Remote.Addr()))
}

func (m *Module) addParam(r *core.Request, a *core.Args) core.Result {
	p := a.Bytes(0)
	if len(p) == 0 {
		return core.False("empty")
	}
	if bytes.ContainsAny(p, "<>\"\r\n ,?") {
		return core.False("invalid")
	}
	if p[0] != ';' {
		r.RRParams = append(r.RRParams, ';')
	}
	r.RRParams = append(r.RRParams, p...)
	return core.True
}

func (m *Module) checkParam(r *core.Request, a *core.Args) core.Result {
	name, want, hasValue := bytes.Cut(a.Bytes(0), []byte("="))
	v, ok := sipmsg.HeaderParam(r.RouteParams, string(name))
	return core.Is(ok && (!hasValue || bytes.Equal(v, want)))
}
