package tm_test

import (
	"strings"
	"testing"
	"time"
)

func TestCallThroughRecordRoute(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE")
	inv := r.last(bob, "INVITE")
	if got := headers(inv.Text, "Via"); len(got) != 2 || !strings.HasPrefix(got[0], "SIP/2.0/UDP 192.0.2.100;branch=z9hG4bK") {
		t.Fatalf("Via %q", got)
	}
	if header(inv.Text, "Max-Forwards") != "69" {
		t.Fatal(inv.Text)
	}
	route := header(inv.Text, "Record-Route")
	if !strings.HasPrefix(route, "<sip:192.0.2.100;lr;mac=") {
		t.Fatalf("Record-Route %q", route)
	}
	r.Receive(bob, answer(inv, 180))
	r.expect("alice 180")
	r.Receive(bob, answer(inv, 200, "Contact: <sip:bob@192.0.2.2>"))
	r.expect("alice 200")
	if v := headers(r.seen[0].Text, "Via"); len(v) != 1 {
		t.Fatalf("Via %q", v)
	}
	r.Receive(bob, answer(inv, 200)) // its retransmission
	r.expect("alice 200")
	to := "To: <sip:bob@home.example>;tag=192-0-2-2"
	r.Receive(alice, request("ACK", "z9hG4bKack", toBob, to, "Route: "+route))
	r.expect("bob ACK")
	if strings.Contains(r.seen[0].Text, "Route:") {
		t.Fatal(r.seen[0].Text)
	}
	r.Receive(alice, request("BYE", "z9hG4bKbye", toBob, to, "CSeq: 2 BYE", "Route: "+route))
	r.expect("bob BYE")
	r.Receive(bob, answer(r.last(bob, "BYE"), 200))
	r.expect("alice 200")
	r.Receive(alice, request("BYE", "z9hG4bKbye", toBob, to, "CSeq: 2 BYE", "Route: "+route))
	r.expect("alice 200") // a retransmission gets the response again
	r.empty()
}

func TestRetransmittedInviteIsAbsorbed(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE")
	inv := r.last(bob, "INVITE")
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100")
	r.Receive(bob, answer(inv, 180))
	r.expect("alice 180")
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 180")
	r.Receive(bob, answer(inv, 486))
	r.expect("bob ACK", "alice 486")
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 486")
	r.Receive(bob, answer(inv, 486))
	r.expect("bob ACK")
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob, "To: <sip:bob@home.example>;tag=192-0-2-2"))
	r.expect()
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect() // confirmed
	r.empty()
}

func TestTimerA(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(31 * time.Second)
	r.expectTimes("bob", "INVITE", 0, 500, 1500, 3500, 7500, 15500)
	r.empty()
}

func TestTimerBIs408(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_timer", 5000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(6 * time.Second)
	p := r.take()
	last := r.first(alice, "408")
	if last.At != 5*time.Second {
		t.Fatalf("408 at %v of %d", last.At, len(p))
	}
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob, "To: "+header(last.Text, "To")))
	r.empty()
	r.expect()
}

func TestTimerE(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_timer", 20000)`, `modparam("tm", "non_invite_408", 1)`)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.advance(21 * time.Second)
	var got []int
	for _, p := range r.take() {
		if p.To() == bob {
			got = append(got, int(p.At/ms))
		}
	}
	want := []int{0, 500, 1500, 3500, 7500, 11500, 15500, 19500}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	if p := r.first(alice, "408"); p.At != 20*time.Second {
		t.Fatal(p.At)
	}
	r.empty()
}

func TestTimerEProceeding(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.expect("bob MESSAGE")
	r.Receive(bob, answer(r.last(bob, "MESSAGE"), 100))
	r.advance(10 * time.Second)
	r.expectTimes("bob", "MESSAGE", 500, 4500, 8500)
	r.empty()
}

func TestTimerGStopsWithAck(t *testing.T) {
	r := start(t, `function request_route() t_reply(486) end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(13 * time.Second)
	r.expectTimes("alice", "486", 0, 500, 1500, 3500, 7500, 11500)
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.advance(40 * time.Second)
	r.expect()
	r.drained()
}

func TestTimerH(t *testing.T) {
	r := start(t, `function request_route() t_reply(486) end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(32*time.Second + 20*ms)
	r.expectTimes("alice", "486", 0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500)
	r.drained()
}

func TestTimerCIsResetByProvisionals(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_inv_timer", 10000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE")
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 180))
	r.advance(8 * time.Second)
	r.Receive(bob, answer(inv, 183))
	r.advance(8 * time.Second)
	r.Receive(bob, answer(inv, 100)) // 100 does not count (§16.7 step 2)
	r.expect("alice 180", "alice 183")
	r.advance(3 * time.Second)
	p := r.take()
	if len(p) < 2 || r.first(bob, "CANCEL").At != 18*time.Second || r.first(alice, "408").At != 18*time.Second {
		t.Fatal(p)
	}
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.Receive(bob, answer(r.last(bob, "CANCEL"), 200))
	r.Receive(bob, answer(inv, 487))
	r.expect("bob ACK") // the late final response of a branch that was given up
	r.Receive(bob, answer(inv, 487))
	r.expect("bob ACK")
	r.empty()
	r.expect()
}

func TestTimerCCancelEndsSometime(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() ruri.host = "192.0.2.3" t_relay() end`, `modparam("tm", "fr_inv_timer", 60000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE")
	r.Receive(bob, answer(r.last(bob, "INVITE"), 180))
	r.advance(60 * time.Second)
	r.take()
	cancel := r.last(bob, "CANCEL")
	if header(cancel.Text, "CSeq") != "1 CANCEL" {
		t.Fatal(cancel.Text)
	}
	r.Receive(carol, answer(r.last(carol, "INVITE"), 180))
	r.advance(59 * time.Second)
	for _, p := range r.take() {
		if p.To() == bob && p.At > 93*time.Second {
			t.Fatalf("still %s at %v", p.Line(), p.At)
		}
	}
	r.advance(2 * time.Second)
	r.empty()
}

func TestLateAnswerOfBranchThatWasGivenUp(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() ruri.host = "192.0.2.3" t_relay() end`, `modparam("tm", "fr_inv_timer", 10000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 180))
	r.advance(10 * time.Second)
	r.take()
	r.Receive(carol, answer(r.last(carol, "INVITE"), 180))
	r.expect("alice 180")
	r.Receive(bob, answer(inv, 200)) // it picked up while the CANCEL was under way
	r.take()
	r.last(alice, "200")
	r.last(carol, "CANCEL")
	r.empty()
}
