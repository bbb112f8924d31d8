package test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

const agentHost = "127.0.41.1"

// TestSipgo has user agents on sipgo's transports, transactions and parser
// call each other through the router.
func TestSipgo(t *testing.T) {
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	r := start(t, setup{})
	for _, c := range []struct{ caller, callee string }{{"UDP", "UDP"}, {"TCP", "TCP"}, {"UDP", "TCP"}, {"TCP", "UDP"}} {
		t.Run(c.caller+" to "+c.callee, func(t *testing.T) {
			alice, bob := newAgent(t, r, c.caller, "alice"), newAgent(t, r, c.callee, "bob")
			here, _ := alice.call(bob)
			alice.bye(here, bob)
			_, there := alice.call(bob)
			bob.bye(there, alice)
		})
	}
}

// agent is a registered user agent, which takes every call. What it sends and
// gets is text on this side only: sipgo parses and writes it, resends it and
// finds the connection.
type agent struct {
	*peer // its names; it has no socket
	r     *router
	layer *sip.TransactionLayer
	heard chan struct{} // the caller has got our 180
	other *agent        // whom it calls
}

func newAgent(t *testing.T, r *router, proto, user string) *agent {
	t.Helper()
	transport := sip.NewTransportLayer(net.DefaultResolver, sip.NewParser(), nil)
	a := &agent{r: r, layer: sip.NewTransactionLayer(transport), heard: make(chan struct{}, 10)}
	a.peer = &peer{t: t, proto: proto, tag: unique("t"), user: user, in: make(chan *message, 100)}
	a.layer.OnRequest(a.handle)
	if proto == "UDP" {
		c, err := net.ListenPacket("udp", agentHost+":0")
		if err != nil {
			t.Fatal(err)
		}
		a.addr = c.LocalAddr().String()
		go transport.ServeUDP(c)
	} else {
		c, err := net.Listen("tcp", agentHost+":0")
		if err != nil {
			t.Fatal(err)
		}
		a.addr = c.Addr().String()
		go transport.ServeTCP(c)
	}
	t.Cleanup(func() {
		a.layer.Close()
		transport.Close()
	})
	eventually(t, "sipgo listens", func() bool { return transport.GetListenPort(sip.NetworkToLower(proto)) != 0 })
	r.try("ctl", "registrar.rm", user+"@example.com")
	aor := "sip:" + user + "@example.com"
	a.twice(a.request("REGISTER", "sip:example.com", aor, aor, "Contact: <"+a.contact()+">", "Expires: 600"), 401)
	return a
}

// message gives a text to sipgo's parser.
func (a *agent) message(text, destination string) sip.Message {
	m, err := sip.NewParser().ParseSIP([]byte(text))
	if err != nil {
		a.t.Errorf("sipgo: %v:\n%s", err, text)
		return sip.NewResponse(500, "unreadable")
	}
	m.SetTransport(a.proto)
	m.SetDestination(destination)
	if q, ok := m.(*sip.Request); ok && a.proto == "UDP" {
		own := netip.MustParseAddrPort(a.addr)
		q.Laddr = sip.Addr{IP: own.Addr().AsSlice(), Port: int(own.Port())}
	}
	return m
}

// handle answers a request.
func (a *agent) handle(q *sip.Request, tx *sip.ServerTx) {
	got, source := parse(q.String()), q.Source()
	a.in <- got
	respond := func(code int, reason string) {
		if err := tx.Respond(a.message(got.reply(a.peer, code, reason), source).(*sip.Response)); err != nil {
			a.t.Errorf("%s: %d to %s: %v", a.user, code, got.method, err)
		}
	}
	switch got.method {
	case "ACK":
		return
	case "INVITE":
		respond(180, "Ringing")
		select { // sipgo does not keep the order of what comes at once
		case <-a.heard:
		case <-time.After(patience):
			a.t.Errorf("the caller does not hear that %s rings", a.user)
		}
	}
	respond(200, "OK")
}

// do sends a request and returns the final response.
func (a *agent) do(q *request) *message {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tx, err := a.layer.Request(ctx, a.message(q.text(a.peer), a.r.addr.String()).(*sip.Request))
	if err != nil {
		a.t.Fatal(err)
	}
	for {
		select {
		case res := <-tx.Responses():
			if res.StatusCode == 180 {
				a.other.heard <- struct{}{}
			}
			if !res.IsProvisional() {
				return parse(res.String())
			}
		case <-ctx.Done():
			a.t.Fatalf("%s: no final response to %s: %v", a.user, q.method, tx.Err())
		}
	}
}

// twice sends a request without and with credentials.
func (a *agent) twice(q *request, challenge int) (*request, *message) {
	a.t.Helper()
	m := a.do(q)
	if m.code != challenge {
		a.t.Fatalf("%s of %s without credentials: %s", q.method, a.user, m.line)
	}
	q = q.authorize(m, a.user, a.user)
	if m = a.do(q); m.code != 200 {
		a.t.Fatalf("%s of %s: %s", q.method, a.user, m.line)
	}
	return q, m
}

// call sets a call up.
func (a *agent) call(b *agent) (here, there *dialog) {
	a.t.Helper()
	a.other = b
	invite, ok := a.twice(a.request("INVITE", "sip:"+b.user+"@example.com", "sip:"+a.user+"@example.com", "sip:"+b.user+"@example.com"), 407)
	here, there = callerEnd(a.r, a.peer, invite, ok), calleeEnd(a.r, b.peer, invite, b.expect("INVITE"))
	ack := here.next("ACK")
	if err := a.layer.Transport().WriteMsg(a.message(ack.text(a.peer), a.r.addr.String())); err != nil {
		a.t.Fatal(err)
	}
	b.expect("ACK")
	return here, there
}

// bye ends a call.
func (a *agent) bye(d *dialog, other *agent) {
	a.t.Helper()
	d.q.cseq++
	if m := a.do(d.next("BYE")); m.code != 200 {
		a.t.Fatalf("BYE of %s: %s", a.user, m.line)
	}
	other.expect("BYE")
}
