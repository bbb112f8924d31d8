package tm_test

import (
	"strings"
	"testing"
	"time"
)

func cancel(branch string) string { return request("CANCEL", branch, toBob) }

func TestCancelAfterProvisional(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 180))
	r.expect("alice 180")
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("alice 200", "bob CANCEL")
	if header(r.seen[0].Text, "CSeq") != "1 CANCEL" || !strings.Contains(header(r.seen[0].Text, "To"), ";tag=") {
		t.Fatal(r.seen[0].Text)
	}
	c := r.last(bob, "CANCEL")
	if header(c.Text, "Via") != header(inv.Text, "Via") || len(headers(c.Text, "Via")) != 1 || header(c.Text, "To") != header(inv.Text, "To") {
		t.Fatal(c.Text)
	}
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("alice 200") // a retransmission
	r.Receive(bob, answer(c, 200))
	r.expect()
	r.Receive(bob, answer(inv, 487))
	r.expect("bob ACK", "alice 487")
	ack := r.last(bob, "ACK")
	if header(ack.Text, "Via") != header(inv.Text, "Via") || header(ack.Text, "CSeq") != "1 ACK" || !strings.HasSuffix(header(ack.Text, "To"), ";tag=192-0-2-2") {
		t.Fatal(ack.Text)
	}
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.empty()
	r.expect()
}

func TestCancelBeforeProvisionalIsDeferred(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("alice 200")
	r.advance(600 * ms)
	r.expect("bob INVITE") // still looking for an answer
	r.Receive(bob, answer(inv, 100))
	r.expect("bob CANCEL")
	r.advance(1600 * ms)
	r.expectTimes("bob", "CANCEL", 1100, 2100)
	r.Receive(bob, answer(inv, 487))
	r.expect("bob ACK", "alice 487")
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.empty()
}

func TestCancelWithoutAnyAnswer(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_timer", 5000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.Receive(alice, cancel("z9hG4bKi"))
	r.advance(5 * time.Second)
	r.take()
	if n := r.count(alice, "487"); n != 1 || r.count(bob, "CANCEL") != 0 {
		t.Fatal(r.seen)
	}
	r.empty()
}

func TestCancelCrosses200(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 180))
	r.Receive(alice, cancel("z9hG4bKi"))
	r.take()
	r.Receive(bob, answer(inv, 200))
	r.expect("alice 200")
	r.advance(2 * time.Second)
	r.expect() // the CANCEL is not repeated
	r.empty()
}

func TestCancelOfNothing(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("alice 481")
	r.drained()
}

func TestScriptThatWaits(t *testing.T) {
	r := start(t, `function request_route() block() note("on") local ok, why = t_relay() note(why or "sent") end`)
	done := make(chan bool)
	go func() { r.Receive(alice, invite("z9hG4bKi")); close(done) }()
	<-r.test.enter
	r.expect("alice 100")
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100")
	for range 5 {
		r.Receive(alice, cancel("z9hG4bKi"))
	}
	r.expect("alice 200", "alice 200", "alice 200", "alice 200", "alice 200")
	r.test.leave <- struct{}{}
	<-done
	r.expect("alice 487")
	if a, b := <-r.test.notes, <-r.test.notes; a != "on" || b != "canceled" {
		t.Fatal(a, b)
	}
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.empty()
	r.expect()
}

func TestFailureRouteThatWaitsIsCanceled(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() block() ruri.host = "192.0.2.3" t_relay() end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	done := make(chan bool)
	go func() { r.Receive(bob, answer(r.last(bob, "INVITE"), 486)); close(done) }()
	<-r.test.enter
	r.Receive(alice, invite("z9hG4bKi"))
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("bob ACK", "alice 100", "alice 200")
	r.test.leave <- struct{}{}
	<-done
	r.expect("alice 487")
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.empty()
	r.expect()
}

func TestFailureRouteAfterATimeoutWaitsApart(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() block() ruri.host = "192.0.2.3" t_relay() end`, `modparam("tm", "fr_timer", 1000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	r.Clock.Advance(1100 * ms) // returns although the script waits
	<-r.test.enter
	r.take()
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob))
	r.Clock.Advance(600 * ms)
	r.expectTimes("bob", "OPTIONS", 1100, 1600)
	r.test.leave <- struct{}{}
	r.tm.Settled()
	r.expect("carol INVITE")
	for range 2 { // its failure route is not armed any more; the OPTIONS has one
		r.Clock.Advance(500 * ms)
	}
	<-r.test.enter
	r.test.leave <- struct{}{}
	r.tm.Settled()
	r.empty()
}

func TestReplyRouteKeepsItsMessageWhileItWaits(t *testing.T) {
	r := start(t, `function request_route() nap() t_on_reply("f") t_relay() end
function f() block() end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	for i, code := range []int{180, 183, 200} {
		done := make(chan bool)
		go func() { r.Receive(bob, answer(inv, code)); close(done) }()
		<-r.test.enter
		r.test.leave <- struct{}{}
		<-done
		p := r.take()
		if len(p) != 1 || strings.Contains(p[0].Text, "#") || header(p[0].Text, "Call-ID") != "call-1" {
			t.Fatal(i, p)
		}
	}
	r.empty()
}

func TestCancelDoesNotOvertakeA200ThatItsReplyRouteHolds(t *testing.T) {
	r := start(t, `function request_route() t_on_reply("f") t_relay() end
function f() block() end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	done := make(chan bool)
	go func() { r.Receive(bob, answer(inv, 200)); close(done) }()
	<-r.test.enter
	r.Receive(alice, cancel("z9hG4bKi"))
	r.test.leave <- struct{}{}
	<-done
	r.expect("alice 200", "alice 200")
	r.empty()
	r.expect()
}

func TestDropAfterAWait(t *testing.T) {
	r := start(t, `function request_route() nap() drop() end`)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob))
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob))
	r.expect()
	r.empty()
}

func TestStatelessForwardAfterAWait(t *testing.T) {
	r := start(t, `function request_route() nap() forward() end`)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob))
	r.expect("bob OPTIONS")
	r.Receive(bob, answer(r.seen[0], 200))
	r.expect("alice 200")
	r.empty()
}

func TestNoDecisionAfterAWait(t *testing.T) {
	r := start(t, `function request_route() nap() end`)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob))
	r.expect("alice 500")
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob))
	r.expect("alice 500")
	r.empty()
}
