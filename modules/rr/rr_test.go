package rr_test

import (
	"fmt"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest/sim"
	"sipr/modules/rr"
)

// script answers with what loose_route says, or sends on what may go on.
const script = `function request_route()
  local inside, why = loose_route()
  if has_hf("X-Ask") then
    append_to_reply("X-Param: " .. tostring(check_route_param("nat=yes")) .. " " .. tostring(check_route_param("nat")) .. " " .. tostring(check_route_param("nat=no")))
    return sl_reply(299, inside and "inside" or why)
  end
  if not inside or is_method("NOTIFY|SUBSCRIBE") then
    record_route()
    add_rr_param(";nat=yes")
  end
  forward()
end`

func start(t *testing.T) *sim.Sim {
	return sim.New(t, sim.Config{Modules: []func() core.Module{rr.New}, Settings: `loadmodule "rr"`, Script: script})
}

const (
	alice = "192.0.2.1:5060"
	bob   = "192.0.2.2:5060"
)

// message is a request; from and to are tags, uri the Request-URI.
func message(method, uri, from, to string, lines ...string) string {
	s := method + " " + uri + " SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\nMax-Forwards: 70\n" +
		"From: <sip:a@home.example>;tag=" + from + "\nTo: <sip:b@home.example>"
	if to != "" {
		s += ";tag=" + to
	}
	s += "\nCall-ID: call-1\nCSeq: 1 " + method + "\n"
	for _, l := range lines {
		s += l + "\n"
	}
	return s + "Content-Length: 0\n"
}

func one(t *testing.T, s *sim.Sim) sim.Packet {
	t.Helper()
	p := s.Sent()
	if len(p) != 1 {
		t.Fatalf("sent %v", p)
	}
	return p[0]
}

func headers(text, name string) []string {
	var all []string
	for _, line := range strings.Split(text, "\r\n") {
		if n, v, ok := strings.Cut(line, ": "); ok && n == name {
			all = append(all, v)
		}
	}
	return all
}

// setUp sends a dialog's first request through and returns our Record-Route.
func setUp(t *testing.T, s *sim.Sim, socket int, uri string) []string {
	t.Helper()
	s.ReceiveOn(socket, alice, message("INVITE", uri, "A", ""))
	return headers(one(t, s).Text, "Record-Route")
}

func ask(t *testing.T, s *sim.Sim, from, to string, lines ...string) (string, sim.Packet) {
	t.Helper()
	s.Receive(alice, message("BYE", "sip:b@192.0.2.2", from, to, append(lines, "X-Ask: 1")...))
	p := one(t, s)
	word, _, _ := strings.Cut(strings.TrimPrefix(p.Text, "SIP/2.0 299 "), "\r\n")
	return word, p
}

func TestProof(t *testing.T) {
	s := start(t)
	set := setUp(t, s, 0, "sip:b@192.0.2.2")
	if len(set) != 1 || !strings.HasPrefix(set[0], "<sip:192.0.2.100;lr;mac=") || !strings.HasSuffix(set[0], ";nat=yes>") {
		t.Fatal(set)
	}
	own := "Route: " + set[0]
	bad := strings.Replace(own, "mac=", "mac=0", 1)
	for _, c := range []struct {
		from, to, want string
		lines          []string
	}{
		{"A", "B", "inside", []string{own}},                                             // the caller's
		{"B", "A", "inside", []string{own}},                                             // the callee's
		{"A", "B", "inside", []string{own, "Route: <sip:192.0.2.7;lr>"}},                // another proxy follows
		{"A", "B", "inside", []string{own + ", <sip:192.0.2.7;lr>"}},                    // in one field
		{"X", "Y", "forged", []string{own}},                                             // a Route of somebody else's dialog
		{"X", "Y", "foreign", []string{own, "Route: <sip:192.0.2.7;lr>"}},               //
		{"A", "B", "forged", []string{bad}},                                             //
		{"A", "B", "forged", []string{"Route: <sip:192.0.2.100;lr>"}},                   // no proof
		{"A", "B", "foreign", []string{"Route: <sip:192.0.2.7;lr>"}},                    //
		{"A", "B", "foreign", []string{"Route: <sip:192.0.2.7;lr>", own}},               // ours is not the first
		{"A", "B", "none", nil},                                                         //
		{"A", "", "none", nil},                                                          //
		{"A", "", "preloaded", []string{own}},                                           // as an outbound proxy
		{"A", "", "preloaded", []string{"Route: <sip:192.0.2.100:5060;lr>"}},            //
		{"A", "", "foreign", []string{own, "Route: <sip:203.0.113.9;lr>"}},              // on to somebody else's
		{"A", "", "foreign", []string{"Route: <sip:203.0.113.9;lr>"}},                   //
		{"A", "B", "forged", []string{strings.Replace(own, "nat", "lr", 1)[:40] + ">"}}, // cut short
	} {
		if got, _ := ask(t, s, c.from, c.to, c.lines...); got != c.want {
			t.Errorf("%s %s %q: %s, want %s", c.from, c.to, c.lines, got, c.want)
		}
	}
}

func TestRouteParams(t *testing.T) {
	s := start(t)
	set := setUp(t, s, 0, "sip:b@192.0.2.2")
	_, p := ask(t, s, "A", "B", "Route: "+set[0])
	if got := headers(p.Text, "X-Param"); fmt.Sprint(got) != "[true true false]" {
		t.Fatal(got)
	}
	_, p = ask(t, s, "A", "B")
	if got := headers(p.Text, "X-Param"); fmt.Sprint(got) != "[false false false]" {
		t.Fatal(got)
	}
}

func TestTwoSockets(t *testing.T) {
	s := start(t)
	set := setUp(t, s, 0, "sip:b@192.0.2.2;transport=tcp")
	if len(set) != 2 || !strings.HasPrefix(set[0], "<sip:192.0.2.100;transport=tcp;r2=on;lr;") || !strings.HasPrefix(set[1], "<sip:192.0.2.100;r2=on;lr;") {
		t.Fatal(set)
	}
	// The caller sees them from the other end (§12.1.2): both go, and nothing else.
	word, _ := ask(t, s, "A", "B", "Route: "+set[1], "Route: "+set[0])
	if word != "inside" {
		t.Fatal(word)
	}
	s.Receive(alice, message("BYE", "sip:b@192.0.2.2;transport=tcp", "A", "B", "Route: "+set[1]+","+set[0], "Route: <sip:192.0.2.7;lr>"))
	p := one(t, s)
	if got := headers(p.Text, "Route"); len(got) != 1 || got[0] != "<sip:192.0.2.7;lr>" || p.To() != "192.0.2.7:5060" {
		t.Fatal(p.To(), p.Text)
	}
	s.ReceiveOn(1, bob, message("BYE", "sip:a@192.0.2.1", "B", "A", "Route: "+set[0], "Route: "+set[1]))
	p = one(t, s)
	if p.To() != alice || p.Flow.Proto() != core.UDP || len(headers(p.Text, "Route")) != 0 {
		t.Fatal(p.To(), p.Text)
	}
}

// RFC 3261 §16.12.1.2 and §16.4: a strict router before us put our URI into the
// Request-URI and the remote target at the end of the Route.
func TestStrictRouterBeforeUs(t *testing.T) {
	s := start(t)
	set := setUp(t, s, 0, "sip:b@192.0.2.2")
	uri := strings.Trim(set[0], "<>")
	for _, c := range []struct{ lines, route, to string }{
		{"Route: <sip:b@192.0.2.2>", "", bob},
		{"Route: <sip:192.0.2.7;lr>, <sip:b@192.0.2.2>", "<sip:192.0.2.7;lr>", "192.0.2.7:5060"},
		{"Route: <sip:192.0.2.7;lr>\nRoute: <sip:b@192.0.2.2>", "<sip:192.0.2.7;lr>", "192.0.2.7:5060"},
	} {
		s.Receive(alice, message("BYE", uri, "A", "B", c.lines))
		p := one(t, s)
		if p.Line() != "BYE sip:b@192.0.2.2 SIP/2.0" || p.To() != c.to || strings.Join(headers(p.Text, "Route"), "") != c.route {
			t.Fatalf("%q went to %s as\n%s", c.lines, p.To(), p.Text)
		}
	}
	s.Receive(alice, message("BYE", uri, "A", "B", "Route: <sip:b@192.0.2.2>", "X-Ask: 1"))
	if p := one(t, s); !strings.Contains(p.Line(), "inside") {
		t.Fatal(p.Line())
	}
	s.Receive(alice, message("BYE", uri, "X", "B", "Route: <sip:b@192.0.2.2>", "X-Ask: 1"))
	if p := one(t, s); !strings.Contains(p.Line(), "forged") {
		t.Fatal(p.Line())
	}
}

// RFC 3261 §16.12.1.2: the next hop is a strict router.
func TestStrictRouterAfterUs(t *testing.T) {
	s := start(t)
	set := setUp(t, s, 0, "sip:b@192.0.2.2")
	s.Receive(alice, message("BYE", "sip:b@192.0.2.2", "A", "B", "Route: "+set[0]+",<sip:192.0.2.7>,<sip:192.0.2.8;lr>"))
	p := one(t, s)
	if p.Line() != "BYE sip:192.0.2.7 SIP/2.0" || p.To() != "192.0.2.7:5060" {
		t.Fatal(p.To(), p.Text)
	}
	if got := strings.Join(headers(p.Text, "Route"), ","); got != "<sip:192.0.2.8;lr>,<sip:b@192.0.2.2>" {
		t.Fatal(got)
	}
}

// A NOTIFY of the callee's inside the dialog records us again, with the proof
// of the dialog's owner.
func TestRecordInsideDialog(t *testing.T) {
	s := start(t)
	s.Receive(alice, message("SUBSCRIBE", "sip:b@192.0.2.2", "A", ""))
	set := headers(one(t, s).Text, "Record-Route")
	s.Receive(bob, message("NOTIFY", "sip:a@192.0.2.1", "B", "A", "Route: "+set[0]))
	again := headers(one(t, s).Text, "Record-Route")
	if len(again) != 1 || again[0] != set[0] {
		t.Fatal(again, set)
	}
	for _, tags := range [][2]string{{"A", "B"}, {"B", "A"}} {
		if got, _ := ask(t, s, tags[0], tags[1], "Route: "+again[0]); got != "inside" {
			t.Fatal(got)
		}
	}
}

func TestRecordOnStreams(t *testing.T) {
	s := start(t)
	set := setUp(t, s, 1, "sip:b@192.0.2.2;transport=tcp")
	if len(set) != 1 || !strings.HasPrefix(set[0], "<sip:192.0.2.100;transport=tcp;lr;") {
		t.Fatal(set)
	}
}
