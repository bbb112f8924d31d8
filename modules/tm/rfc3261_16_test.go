package tm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sipr/core/coretest/sim"
)

// What RFC 3261 §16 asks of a proxy, one test for each numbered rule, as
// conversations on the wire.

// call lets alice call bob and returns the INVITE that bob gets.
func (r *rig) call(more ...string) sim.Packet {
	r.t.Helper()
	r.Receive(alice, invite("z9hG4bKi", more...))
	r.take()
	return r.last(bob, "INVITE")
}

// acked has alice acknowledge the final response to her INVITE.
func (r *rig) acked() { r.Receive(alice, request("ACK", "z9hG4bKi", toBob)) }

func TestRFC3261_16_3_1_Syntax(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob, "CSeq: 1 INVITE"))
	r.expect("alice 400")
	r.Receive(alice, request("OPTIONS", "z9hG4bKp", toBob, "X-Unknown: \x80 odd but none of our business"))
	r.expect("bob OPTIONS")
	r.empty()
}

func TestRFC3261_16_3_2_Scheme(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", "soap.beep://192.0.2.2"))
	r.expect("alice 416")
	r.empty()
}

func TestRFC3261_16_3_3_MaxForwards(t *testing.T) {
	r := start(t, plain)
	for i, method := range []string{"INVITE", "OPTIONS", "REGISTER", "SUBSCRIBE", "FLY"} {
		r.Receive(alice, request(method, fmt.Sprint("z9hG4bK", i), toBob, "Max-Forwards: 0"))
		r.expect("alice 483")
		r.Receive(alice, request(method, fmt.Sprint("z9hG4bKx", i), toBob, "Max-Forwards: 1"))
		r.take()
		if got := header(r.last(bob, method).Text, "Max-Forwards"); got != "0" {
			t.Fatal(got)
		}
	}
	r.Receive(alice, request("ACK", "z9hG4bKack", toBob, "Max-Forwards: 0"))
	r.expect() // an ACK is never answered
	r.empty()
}

func TestRFC3261_16_3_4_Loop(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", "sip:x@192.0.2.100"))
	r.take()
	r.Receive(router, r.last(router, "OPTIONS").Text)
	r.expect(router + " 482")
	r.empty()
}

// A request that comes back with another Request-URI is a spiral, not a loop.
func TestRFC3261_16_3_4_Spiral(t *testing.T) {
	r := start(t, `function request_route()
  if ruri.user == "x" then ruri.user = "y" else ruri.host = "192.0.2.2" end
  t_relay()
end`)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", "sip:x@192.0.2.100"))
	r.take()
	r.Receive(router, r.last(router, "OPTIONS").Text)
	r.expect("bob OPTIONS")
	r.empty()
}

func TestRFC3261_16_3_5_ProxyRequire(t *testing.T) {
	r := start(t, plain)
	for i, method := range []string{"INVITE", "OPTIONS", "REGISTER"} {
		r.Receive(alice, request(method, fmt.Sprint("z9hG4bK", i), toBob, "Proxy-Require: foo, bar"))
		r.expect("alice 420")
		if got := strings.Join(headers(r.seen[0].Text, "Unsupported"), " "); got != "foo, bar" {
			t.Fatal(got)
		}
	}
	r.Receive(alice, request("ACK", "z9hG4bKack", toBob, "Proxy-Require: foo"))
	r.expect("bob ACK")
	r.empty()
}

// A strict router before us has put our Record-Route into the Request-URI.
func TestRFC3261_16_4_StrictRouterBefore(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	ours := strings.Trim(header(inv.Text, "Record-Route"), "<>")
	r.Receive(bob, answer(inv, 200))
	r.Receive(alice, request("BYE", "z9hG4bKb", ours, "To: <sip:bob@home.example>;tag=192-0-2-2", "CSeq: 2 BYE", "Route: <sip:bob@192.0.2.2>"))
	r.take()
	if p := r.last(bob, "BYE"); p.Line() != "BYE "+toBob+" SIP/2.0" || header(p.Text, "Route") != "" {
		t.Fatal(p.Text)
	}
	r.empty()
}

func TestRFC3261_16_4_OwnRouteIsRemoved(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 200))
	r.Receive(alice, request("BYE", "z9hG4bKb", toBob, "To: <sip:bob@home.example>;tag=192-0-2-2", "CSeq: 2 BYE",
		"Route: "+header(inv.Text, "Record-Route")+", <sip:192.0.2.3;lr>"))
	r.take()
	if p := r.last(carol, "BYE"); p.Line() != "BYE "+toBob+" SIP/2.0" || header(p.Text, "Route") != "<sip:192.0.2.3;lr>" {
		t.Fatal(p.Text)
	}
	r.empty()
}

func TestRFC3261_16_5_TargetSet(t *testing.T) {
	r := start(t, `function request_route()
  append_branch("sip:carol@192.0.2.3")
  append_branch("sip:carol@192.0.2.3;transport=udp")
  append_branch("sip:%63arol@192.0.2.3")
  append_branch("sip:bob@192.0.2.2")
  t_relay()
end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE", "carol INVITE", "carol INVITE") // a transport parameter makes another URI
	r.empty()
}

func TestRFC3261_16_6_1_Copy(t *testing.T) {
	r := start(t, plain)
	odd := "X-Unknown:  kept ,as  it\r\n is;"
	msg := strings.ReplaceAll(invite("z9hG4bKi", "X-Place: here"), "\n", "\r\n")
	msg = strings.Replace(msg, "X-Place: here", odd, 1) + "\r\n"
	msg = strings.Replace(msg, "Content-Length: 0\r\n\r\n", "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nbody\x00", 1)
	r.Receive(alice, msg)
	r.take()
	p := r.last(bob, "INVITE")
	_, rest, _ := strings.Cut(msg, "Via: ")
	for _, line := range strings.SplitAfter(rest, "\r\n") {
		if !strings.HasPrefix(line, "Max-Forwards") && !strings.Contains(p.Text, line) {
			t.Fatalf("%q is not in\n%s", line, p.Text)
		}
	}
	r.empty()
}

func TestRFC3261_16_6_2_RequestURI(t *testing.T) {
	r := start(t, fork)
	r.call()
	if b, c := r.last(bob, "INVITE"), r.last(carol, "INVITE"); b.Line() != "INVITE "+toBob+" SIP/2.0" || c.Line() != "INVITE sip:carol@192.0.2.3 SIP/2.0" {
		t.Fatal(b.Line(), c.Line())
	}
	r.empty()
}

func TestRFC3261_16_6_3_MaxForwards(t *testing.T) {
	r := start(t, plain)
	if inv := r.call(); header(inv.Text, "Max-Forwards") != "69" {
		t.Fatal(inv.Text)
	}
	r.Receive(alice, strings.Replace(request("OPTIONS", "z9hG4bKo", toBob), "Max-Forwards: 70\n", "", 1))
	r.take()
	if p := r.last(bob, "OPTIONS"); header(p.Text, "Max-Forwards") != "70" {
		t.Fatal(p.Text)
	}
	r.empty()
}

func TestRFC3261_16_6_4_RecordRoute(t *testing.T) {
	r := start(t, plain)
	inv := r.call("Record-Route: <sip:192.0.2.77;lr>")
	if rr := headers(inv.Text, "Record-Route"); len(rr) != 2 || !strings.HasPrefix(rr[0], "<sip:192.0.2.100;lr") || rr[1] != "<sip:192.0.2.77;lr>" {
		t.Fatal(rr)
	}
	r.empty()
}

// The next hop is a strict router: it becomes the Request-URI.
func TestRFC3261_16_6_6_StrictRouterAhead(t *testing.T) {
	r := start(t, `function request_route() t_relay() end`)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob, "Route: <sip:192.0.2.3>, <sip:192.0.2.4;lr>"))
	r.take()
	p := r.last(carol, "OPTIONS")
	if p.Line() != "OPTIONS sip:192.0.2.3 SIP/2.0" || strings.Join(headers(p.Text, "Route"), ", ") != "<sip:192.0.2.4;lr>, <"+toBob+">" {
		t.Fatal(p.Text)
	}
	r.empty()
}

func TestRFC3261_16_6_7_NextHop(t *testing.T) {
	r := start(t, `function request_route() t_relay() end`)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob, "Route: <sip:192.0.2.3;lr>"))
	r.take()
	if p := r.last(carol, "OPTIONS"); p.Line() != "OPTIONS "+toBob+" SIP/2.0" || header(p.Text, "Route") != "<sip:192.0.2.3;lr>" {
		t.Fatal(p.Text)
	}
	r.Receive(alice, request("OPTIONS", "z9hG4bKp", toBob))
	r.expect("bob OPTIONS")
	r.empty()
}

func TestRFC3261_16_6_8_Via(t *testing.T) {
	r := start(t, fork)
	r.call()
	b, c := r.last(bob, "INVITE"), r.last(carol, "INVITE")
	own := func(p sim.Packet) string { return headers(p.Text, "Via")[0] }
	if own(b) == own(c) {
		t.Fatal("two branches with one branch parameter")
	}
	for _, p := range []sim.Packet{b, c} {
		if v := headers(p.Text, "Via"); len(v) != 2 || !strings.HasPrefix(v[0], "SIP/2.0/UDP 192.0.2.100;branch=z9hG4bK") || v[1] != "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKi" {
			t.Fatal(v)
		}
	}
	r.advance(600 * ms)
	r.take()
	if own(r.last(bob, "INVITE")) != own(b) {
		t.Fatal("a retransmission has another branch parameter")
	}
	r.empty()
}

func TestRFC3261_16_6_10_OneTransactionABranch(t *testing.T) {
	r := start(t, fork)
	r.call()
	r.Receive(bob, answer(r.last(bob, "INVITE"), 180))
	r.take()
	r.advance(1600 * ms)
	r.take()
	if r.count(bob, "INVITE") != 0 || r.count(carol, "INVITE") != 2 {
		t.Fatal(r.seen)
	}
	r.advance(120 * time.Second)
	r.empty()
}

func TestRFC3261_16_6_11_TimerCIsSet(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 100))
	r.advance(119 * time.Second)
	r.expect()
	r.advance(2 * time.Second)
	r.take()
	r.last(bob, "CANCEL")
	r.last(alice, "408")
	r.acked()
	r.empty()
}

// What came in a datagram without Content-Length cannot be framed on a stream.
func TestRFC3261_16_6_9_ContentLength(t *testing.T) {
	r := start(t, plain)
	bare := func(s string) string {
		return strings.Replace(strings.Replace(s, "Content-Length: 0\n", "Content-Type: text/plain\n", 1), "Content-Length: 0\r\n", "", 1)
	}
	r.Receive(alice, bare(request("MESSAGE", "z9hG4bKm", toBob+";transport=tcp"))+"\nhello")
	r.take()
	if m := r.last(bob, "MESSAGE"); header(m.Text, "Content-Length") != "5" || !strings.HasSuffix(m.Text, "\r\n\r\nhello") {
		t.Fatal(m.Text)
	}
	r.ReceiveOn(1, alice, strings.Replace(request("MESSAGE", "z9hG4bKn", toBob), "UDP", "TCP", 1))
	r.take()
	r.Receive(bob, bare(answer(r.last(bob, "MESSAGE"), 200)))
	r.take()
	if p := r.last(alice, "200"); header(p.Text, "Content-Length") != "0" {
		t.Fatal(p.Text)
	}
	r.empty()
}
