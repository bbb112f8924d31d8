package tm_test

import (
	"strings"
	"testing"
	"time"
)

// RFC 3261 §16.7 to §16.11: what a proxy does with responses, timers, transport
// errors and CANCEL.

func TestRFC3261_16_7_1_Context(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, strings.Replace(answer(inv, 200), "branch=z9hG4bK", "branch=z9hG4bKx", 1))
	r.expect() // nobody's
	r.Receive(bob, answer(inv, 200))
	r.expect("alice 200")
	r.empty()
}

func TestRFC3261_16_7_2_TimerC(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_inv_timer", 10000)`)
	inv := r.call()
	r.Receive(bob, answer(inv, 180))
	r.advance(9 * time.Second)
	r.Receive(bob, answer(inv, 183)) // begins anew
	r.advance(9 * time.Second)
	r.Receive(bob, answer(inv, 100)) // does not
	r.take()
	r.advance(1100 * ms)
	r.take()
	if at := r.first(bob, "CANCEL").At; at != 19*time.Second {
		t.Fatal(at)
	}
	r.acked()
	r.empty()
}

func TestRFC3261_16_7_3_Via(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 180))
	r.take()
	if v := headers(r.last(alice, "180").Text, "Via"); len(v) != 1 || v[0] != "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKi" {
		t.Fatal(v)
	}
	r.Receive(bob, answer(inv, 486))
	r.take()
	r.acked()
	r.empty()
}

// A redirection may be followed; what was tried is not tried again, and other
// kinds of URI are left to the caller.
func TestRFC3261_16_7_4_Recursion(t *testing.T) {
	r := start(t, plain, `modparam("tm", "recurse", 1)`)
	inv := r.call()
	r.Receive(bob, answer(inv, 302, "Contact: <sip:carol@192.0.2.3>, <sip:bob@192.0.2.2>", "Contact: <tel:+431234>"))
	r.expect("bob ACK", "carol INVITE")
	c := r.last(carol, "INVITE")
	r.Receive(carol, answer(c, 302, "Contact: <sip:bob@192.0.2.2>"))
	r.take()
	final := r.last(alice, "302")
	if got := strings.Join(headers(final.Text, "Contact"), " "); got != "<sip:bob@192.0.2.2> <tel:+431234>" {
		t.Fatal(got)
	}
	r.acked()
	r.empty()
}

func TestRFC3261_16_7_5_ProvisionalsAreForwarded(t *testing.T) {
	r := start(t, fork)
	b := r.call("Supported: 199, 100rel")
	c := r.last(carol, "INVITE")
	r.Receive(bob, answer(b, 100))
	r.expect() // 100 is for this hop
	r.Receive(bob, answer(b, 180, "RSeq: 1", "Require: 100rel"))
	r.Receive(carol, answer(c, 183))
	r.Receive(carol, answer(c, 199, `Reason: SIP;cause=486`))
	r.expect("alice 180", "alice 183", "alice 199") // early dialogs of two branches, and the end of one
	r.Receive(carol, answer(c, 486))
	r.Receive(bob, answer(b, 200))
	r.expect("carol ACK", "alice 200")
	r.empty()
}

func TestRFC3261_16_7_5_Every2xxIsForwarded(t *testing.T) {
	r := start(t, fork)
	b := r.call()
	c := r.last(carol, "INVITE")
	r.Receive(bob, answer(b, 200))
	r.Receive(carol, answer(c, 200))
	r.Receive(bob, answer(b, 200))
	r.expect("alice 200", "alice 200", "alice 200")
	r.empty()
}

func TestRFC3261_16_7_5_6xxEndsTheSearch(t *testing.T) {
	r := start(t, fork3, `modparam("tm", "recurse", 1)`)
	b := r.call()
	c, d := r.last(carol, "INVITE"), r.last(dave, "INVITE")
	r.Receive(bob, answer(b, 180))
	r.Receive(carol, answer(c, 603))
	r.expect("alice 180", "carol ACK", "bob CANCEL") // and dave's waits for a provisional response
	r.Receive(dave, answer(d, 302, "Contact: <sip:x@192.0.2.9>"))
	r.expect("dave ACK") // no new branch after a 6xx
	r.Receive(bob, answer(b, 487))
	r.expect("bob ACK", "alice 603")
	r.acked()
	r.empty()
}

func TestRFC3261_16_7_6_BestResponse(t *testing.T) {
	TestBestResponse(t)
}

func TestRFC3261_16_7_6_503Becomes500(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 503, "Retry-After: 60"))
	r.expect("bob ACK", "alice 500")
	r.acked()
	r.empty()
}

func TestRFC3261_16_7_6_ContactsAreCollected(t *testing.T) {
	r := start(t, fork3)
	b := r.call()
	r.Receive(bob, answer(b, 302, "Contact: <sip:b@192.0.2.20>;q=0.5"))
	r.Receive(carol, answer(r.last(carol, "INVITE"), 301, "Contact: <sip:c@192.0.2.30>, <sip:b@192.0.2.20>"))
	r.Receive(dave, answer(r.last(dave, "INVITE"), 486))
	r.take()
	if got := strings.Join(headers(r.last(alice, "302").Text, "Contact"), " "); got != "<sip:b@192.0.2.20>;q=0.5 <sip:c@192.0.2.30>" {
		t.Fatal(got)
	}
	r.acked()
	r.empty()
}

func TestRFC3261_16_7_7_ChallengesAreCollected(t *testing.T) {
	r := start(t, fork3)
	b := r.call()
	r.Receive(bob, answer(b, 401, `WWW-Authenticate: Digest realm="b1", nonce="1"`, `WWW-Authenticate: Digest realm="b2", nonce="2"`))
	r.Receive(carol, answer(r.last(carol, "INVITE"), 407, `Proxy-Authenticate: Digest realm="c", nonce="3"`, `WWW-Authenticate: Digest realm="c2", nonce="4"`))
	r.Receive(dave, answer(r.last(dave, "INVITE"), 486))
	r.take()
	final := r.last(alice, "401")
	var realms []string
	for _, v := range append(headers(final.Text, "WWW-Authenticate"), headers(final.Text, "Proxy-Authenticate")...) {
		_, rest, _ := strings.Cut(v, `realm="`)
		realm, _, _ := strings.Cut(rest, `"`)
		realms = append(realms, realm)
	}
	if got := strings.Join(realms, " "); got != "b1 b2 c2 c" {
		t.Fatal(final.Text)
	}
	r.acked()
	r.empty()
}

func TestRFC3261_16_7_9_ForwardedUnchanged(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	odd := "X-Odd:  a ,b"
	r.Receive(bob, answer(inv, 200, odd, "Contact: <sip:bob@192.0.2.2>"))
	r.take()
	p := r.last(alice, "200")
	if !strings.Contains(p.Text, odd+"\r\n") || header(p.Text, "Record-Route") != header(inv.Text, "Record-Route") || p.Line() != "SIP/2.0 200 Test" {
		t.Fatal(p.Text)
	}
	r.empty()
}

func TestRFC3261_16_7_10_OthersAreCanceled(t *testing.T) {
	r := start(t, fork3)
	b := r.call()
	c, d := r.last(carol, "INVITE"), r.last(dave, "INVITE")
	r.Receive(carol, answer(c, 180))
	r.Receive(bob, answer(b, 200))
	r.expect("alice 180", "carol CANCEL", "alice 200")
	r.Receive(dave, answer(d, 180)) // only now it may be canceled
	r.expect("dave CANCEL")
	r.Receive(carol, answer(c, 487))
	r.Receive(dave, answer(d, 487))
	r.expect("carol ACK", "dave ACK")
	r.empty()
}

func TestRFC3261_16_8_TimerC(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_inv_timer", 10000)`, `modparam("tm", "fr_timer", 5000)`)
	inv := r.call()
	r.Receive(bob, answer(inv, 180))
	r.advance(10 * time.Second)
	r.expect("alice 180", "bob CANCEL", "alice 408") // it rang: CANCEL
	r.Receive(bob, answer(inv, 487))
	r.acked()
	r.empty()
	r.take()
	r.Receive(alice, invite("z9hG4bKj"))
	r.advance(5 * time.Second)
	r.take()
	if r.count(bob, "CANCEL") != 0 || r.count(alice, "408") != 1 { // no word: as if it had answered 408
		t.Fatal(r.seen)
	}
	r.empty()
}

func TestRFC3261_16_9_TransportErrors(t *testing.T) {
	r := start(t, fork)
	r.Fail(carol, true)
	b := r.call()
	r.advance(20 * ms)
	r.Receive(bob, answer(b, 486))
	r.expect("bob ACK", "alice 486") // carol's branch counts as 503
	r.acked()
	r.Fail(bob, true)
	r.Receive(alice, invite("z9hG4bKj"))
	r.advance(20 * ms)
	r.expect("alice 100", "alice 500")
	r.empty()
}

func TestRFC3261_16_10_Cancel(t *testing.T) {
	r := start(t, fork)
	b := r.call()
	c := r.last(carol, "INVITE")
	r.Receive(bob, answer(b, 180))
	r.take()
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("alice 200", "bob CANCEL") // its own 200 at once
	r.Receive(carol, answer(c, 180))
	r.expect("carol CANCEL", "alice 180")
	r.Receive(bob, answer(b, 487))
	r.Receive(carol, answer(c, 487))
	r.expect("bob ACK", "carol ACK", "alice 487")
	r.acked()
	r.empty()
}

func TestRFC3261_16_10_CancelCrosses200(t *testing.T) {
	r := start(t, plain)
	inv := r.call()
	r.Receive(bob, answer(inv, 180))
	r.Receive(alice, cancel("z9hG4bKi"))
	r.Receive(bob, answer(inv, 200))
	r.expect("alice 180", "alice 200", "bob CANCEL", "alice 200")
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("alice 200")
	r.empty()
}

func TestRFC3261_16_10_CancelWithoutTransaction(t *testing.T) {
	r := start(t, `function request_route() forward() end`)
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("bob CANCEL") // statelessly
	r.empty()
}

func TestRFC3261_16_11_Stateless(t *testing.T) {
	r := start(t, `function request_route() forward() end`)
	var branches []string
	for _, msg := range []string{invite("z9hG4bKi"), invite("z9hG4bKi"), cancel("z9hG4bKi"), request("ACK", "z9hG4bKi", toBob)} {
		r.Receive(alice, msg)
		r.take()
		branches = append(branches, headers(r.seen[0].Text, "Via")[0])
	}
	for _, b := range branches { // all take the same way as one transaction
		if b != branches[0] {
			t.Fatal(branches)
		}
	}
	r.Receive(alice, invite("z9hG4bKj"))
	r.take()
	inv := r.last(bob, "INVITE")
	if headers(inv.Text, "Via")[0] == branches[0] {
		t.Fatal("two transactions with one branch parameter")
	}
	r.Receive(bob, answer(inv, 100)) // a stateless proxy knows no provisional from a final one
	r.Receive(bob, answer(inv, 200))
	r.take()
	r.last(alice, "200")
	r.Receive(bob, strings.Replace(answer(inv, 200), "192.0.2.1;", "192.0.2.9;", 1)) // to somebody else
	r.expect()
	r.drained()
}

// A proxy handles every method that it does not know as it handles OPTIONS.
func TestRFC3261_16_6_AnyMethod(t *testing.T) {
	r := start(t, plain)
	for i, method := range []string{"PRACK", "UPDATE", "INFO", "REFER", "NOTIFY", "PUBLISH", "FLY"} {
		branch := "z9hG4bK" + string(rune('a'+i))
		r.Receive(alice, request(method, branch, toBob))
		r.expect("bob " + method)
		r.Receive(bob, answer(r.last(bob, method), 200))
		r.expect("alice 200")
		r.Receive(alice, request(method, branch, toBob))
		r.expect("alice 200")
	}
	r.Receive(alice, invite("z9hG4bKre", "To: <sip:bob@home.example>;tag=192-0-2-2", "CSeq: 5 INVITE")) // a re-INVITE
	r.expect("alice 100", "bob INVITE")
	r.Receive(bob, answer(r.last(bob, "INVITE"), 200))
	r.expect("alice 200")
	r.empty()
}
