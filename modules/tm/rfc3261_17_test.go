package tm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// RFC 3261 §17 with the corrections of RFC 6026, and what of §18 is visible to
// transactions.

func TestRFC3261_17_1_1_2_A_Retransmissions(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(29 * time.Second)
	r.expectTimes("bob", "INVITE", 0, 500, 1500, 3500, 7500, 15500)
	r.empty()
}

func TestRFC3261_17_1_1_2_A_NoneOverTCP(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("INVITE", "z9hG4bKi", toBob+";transport=tcp"))
	r.advance(29 * time.Second)
	r.expectTimes("bob", "INVITE", 0)
	r.empty()
}

func TestRFC3261_17_1_1_2_A_StopsInProceeding(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 100))
	r.advance(29 * time.Second)
	r.expect()
	r.Receive(bob, answer(inv, 486))
	r.acked()
	r.empty()
}

func TestRFC3261_17_1_1_2_B_Timeout(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_timer", 32000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(33 * time.Second)
	r.take()
	if at := r.first(alice, "408").At; at != 32*time.Second {
		t.Fatal(at)
	}
	r.acked()
	r.empty()
}

func TestRFC3261_17_1_1_2_D_FinalResponsesAreAcknowledgedAgain(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 486))
	r.expect("bob ACK", "alice 486")
	r.acked()
	ack := r.last(bob, "ACK")
	for range 3 {
		r.advance(10 * time.Second)
		r.Receive(bob, answer(inv, 486))
		r.take()
		if len(r.seen) != 1 || r.last(bob, "ACK").Text != ack.Text { // and it is not sent on
			t.Fatal(r.seen)
		}
	}
	r.advance(5 * time.Second)
	r.drained()
	r.Receive(bob, answer(inv, 486))
	r.expect()
}

func TestRFC3261_17_1_1_3_AckOfThisHop(t *testing.T) {
	r := start(t, `function request_route() t_relay() end`)
	inv := r.call("Route: <sip:192.0.2.2;lr>", "Contact: <sip:alice@192.0.2.1>")
	r.Receive(bob, answer(inv, 486))
	r.take()
	ack := r.last(bob, "ACK")
	if ack.Line() != "ACK "+toBob+" SIP/2.0" || len(headers(ack.Text, "Via")) != 1 || header(ack.Text, "CSeq") != "1 ACK" {
		t.Fatal(ack.Text)
	}
	for _, h := range []string{"Call-ID", "From", "Via", "Route"} {
		if header(ack.Text, h) != header(inv.Text, h) {
			t.Fatalf("%s: %s", h, ack.Text)
		}
	}
	if header(ack.Text, "To") != header(inv.Text, "To")+";tag=192-0-2-2" {
		t.Fatal(ack.Text)
	}
	r.acked()
	r.empty()
}

func TestRFC3261_17_1_2_2_E_Retransmissions(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.advance(20 * time.Second)
	r.expectTimes("bob", "MESSAGE", 0, 500, 1500, 3500, 7500, 11500, 15500, 19500)
	r.empty()
	r.take()
	r.Receive(alice, request("MESSAGE", "z9hG4bKt", toBob+";transport=tcp"))
	r.advance(20 * time.Second)
	r.take()
	if r.count(bob, "MESSAGE") != 1 {
		t.Fatal(r.seen)
	}
	r.empty()
}

func TestRFC3261_17_1_2_2_E_ProceedingAtT2(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.take()
	r.Receive(bob, answer(r.last(bob, "MESSAGE"), 100))
	r.advance(10 * time.Second)
	r.expectTimes("bob", "MESSAGE", 500, 4500, 8500)
	r.empty()
}

func TestRFC3261_17_1_2_2_F_Timeout(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_timer", 32000)`, `modparam("tm", "non_invite_408", 1)`)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.advance(33 * time.Second)
	r.take()
	if at := r.first(alice, "408").At; at != 32*time.Second {
		t.Fatal(at)
	}
	r.empty()
}

func TestRFC3261_17_1_2_2_K_LateResponsesAreAbsorbed(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.take()
	m := r.last(bob, "MESSAGE")
	r.Receive(bob, answer(m, 200))
	r.expect("alice 200")
	r.advance(4 * time.Second)
	r.Receive(bob, answer(m, 200))
	r.expect()
	r.empty()
}

func TestRFC3261_17_1_3_Matching(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 180))
	r.Receive(alice, cancel("z9hG4bKi"))
	r.take()
	c := r.last(bob, "CANCEL")
	if header(c.Text, "Via") != header(inv.Text, "Via") {
		t.Fatal(c.Text)
	}
	r.Receive(bob, answer(c, 200)) // the method of CSeq tells it from the INVITE's
	r.expect()
	r.Receive(bob, answer(inv, 487))
	r.expect("bob ACK", "alice 487")
	r.acked()
	r.empty()
}

func TestRFC3261_17_1_4_TransportErrors(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() if t_check_status("503") then note("503") end end`)
	r.Fail(bob, true)
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(20 * ms)
	r.expect("alice 100", "alice 500")
	if len(r.test.notes) != 1 {
		t.Fatal("the failure route did not see 503")
	}
	r.acked()
	r.empty()
}

func TestRFC3261_17_2_1_Proceeding(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	for _, code := range []int{180, 183} {
		r.Receive(bob, answer(inv, code))
		r.Receive(alice, invite("z9hG4bKi"))
		r.expect(fmt.Sprint("alice ", code), fmt.Sprint("alice ", code)) // the newest is repeated
	}
	r.Receive(bob, answer(inv, 200))
	r.empty()
}

func TestRFC3261_17_2_1_G_FinalResponseIsRepeated(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 486))
	r.advance(13 * time.Second)
	r.expectTimes("alice", "486", 0, 500, 1500, 3500, 7500, 11500)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 486") // Completed
	r.acked()
	r.advance(5 * time.Second)
	r.expect()
	r.empty()
}

func TestRFC3261_17_2_1_H_NoAck(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 486))
	r.advance(33 * time.Second)
	r.drained()
}

func TestRFC3261_17_2_1_I_Confirmed(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 486))
	r.acked()
	r.take()
	r.acked()
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect() // both are absorbed, and neither goes to bob
	r.empty()
}

func TestRFC3261_17_2_2_J_NonInvite(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.take()
	m := r.last(bob, "MESSAGE")
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.expect() // Trying: absorbed without a word
	r.Receive(bob, answer(m, 404))
	r.expect("alice 404")
	r.advance(30 * time.Second)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.expect("alice 404")
	r.advance(3 * time.Second)
	r.drained()
}

func TestRFC3261_17_2_3_Matching(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.expect("bob MESSAGE")
	r.Receive(alice, request("OPTIONS", "z9hG4bKm", toBob)) // another method
	r.expect("bob OPTIONS")
	r.Receive(alice, strings.Replace(request("MESSAGE", "z9hG4bKm", toBob), "UDP 192.0.2.1;", "UDP 192.0.2.1:5070;", 1)) // another sent-by
	r.expect("bob MESSAGE")
	r.Receive(alice, request("MESSAGE", "z9hG4bKM", toBob)) // another branch: letters count
	r.expect("bob MESSAGE")
	r.Receive(alice, strings.Replace(request("MESSAGE", "z9hG4bKm", "sip:else@192.0.2.2"), "call-1", "call-2", 1)) // a client that has one branch for two requests
	r.expect("bob MESSAGE")
	r.Receive(alice, strings.Replace(request("MESSAGE", "z9hG4bKm", toBob), "CSeq: 1 ", "CSeq: 2 ", 1)) // the branch decides
	r.expect()
	r.empty()
}

func TestRFC3261_17_2_3_RFC2543(t *testing.T) { TestRFC2543(t) }

func TestRFC3261_18_1_2_SentBy(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	for _, other := range []string{"192.0.2.99", "192.0.2.100:5099"} {
		r.Receive(bob, strings.Replace(answer(inv, 200), "SIP/2.0/UDP 192.0.2.100", "SIP/2.0/UDP "+other, 1))
		r.expect()
	}
	r.Receive(bob, answer(inv, 200))
	r.expect("alice 200")
	r.empty()
}

func TestRFC3261_18_2_1_Received(t *testing.T) {
	r := start(t, plain)
	r.Receive("192.0.2.9:5060", invite("z9hG4bKi"))
	r.take()
	if v := headers(r.last(bob, "INVITE").Text, "Via")[1]; !strings.HasSuffix(v, ";received=192.0.2.9") {
		t.Fatal(v)
	}
	r.Receive(bob, answer(r.last(bob, "INVITE"), 200))
	r.empty()
}

func TestRFC3261_18_2_2_WayBack(t *testing.T) {
	r := start(t, plain)
	n := 0
	send := func(from, via string) {
		n++
		r.Receive(from, strings.Replace(request("OPTIONS", fmt.Sprint("z9hG4bK", n), toBob), "UDP 192.0.2.1;", "UDP "+via+";", 1))
		r.take()
		r.Receive(bob, answer(r.last(bob, "OPTIONS"), 200))
	}
	send("192.0.2.9:40000", "192.0.2.1")
	r.expect("192.0.2.9:5060 200") // received, default port
	send("192.0.2.9:40000", "192.0.2.1:5070")
	r.expect("192.0.2.9:5070 200") // sent-by's port
	send("192.0.2.9:40000", "192.0.2.1;rport")
	r.expect("192.0.2.9:40000 200") // RFC 3581
	r.empty()
}

func TestRFC3261_18_2_2_SameConnection(t *testing.T) {
	r := start(t, plain)
	r.ReceiveOn(1, "192.0.2.1:40000", strings.Replace(request("OPTIONS", "z9hG4bKo", toBob), "UDP", "TCP", 1))
	r.take()
	r.Receive(bob, answer(r.last(bob, "OPTIONS"), 200))
	r.expect("192.0.2.1:40000 200")
	if r.seen[0].Flow.Conn != 1 {
		t.Fatal(r.seen)
	}
	r.empty()
}

func TestRFC3261_18_4_ErrorsOfTheTransport(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Undeliverable(inv) // over a stream it is known only later
	r.expect("bob ACK", "alice 500")
	r.acked()
	r.empty()
}

func TestRFC6026_7_1_Accepted(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 200))
	r.expect("alice 200")
	r.advance(20 * time.Second)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect()                       // a retransmission that comes late reaches nobody
	r.Receive(bob, answer(inv, 200)) // repeating a 2xx is the callee's affair
	r.expect("alice 200")
	r.advance(13 * time.Second)
	r.drained() // Timer L
}

// An ACK to a 2xx that has the INVITE's branch, as some send it, still goes on.
func TestRFC6026_7_1_AckPassesAccepted(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 200))
	r.take()
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob, "Route: "+header(inv.Text, "Record-Route"), "To: <sip:bob@home.example>;tag=192-0-2-2"))
	r.expect("bob ACK")
	r.empty()
}

func TestRFC6026_7_2_Further2xx(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 200))
	r.take()
	r.advance(30 * time.Second)
	r.Receive(bob, strings.Replace(answer(inv, 200), "tag=192-0-2-2", "tag=other", 1)) // forked further on
	r.expect("alice 200")
	r.Receive(bob, answer(inv, 486))
	r.expect() // nothing but 2xx
	r.advance(3 * time.Second)
	r.drained() // Timer M
}

func TestRFC6026_7_3_StrayResponses(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 200))
	r.advance(40 * time.Second)
	r.take()
	r.Receive(bob, answer(inv, 200))
	r.expect()
	r.drained()
}
