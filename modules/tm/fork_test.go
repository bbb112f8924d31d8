package tm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const fork = `function request_route()
  append_branch("sip:carol@192.0.2.3")
  t_relay()
end`

const fork3 = `function request_route()
  append_branch("sip:carol@192.0.2.3")
  append_branch("sip:dave@192.0.2.4")
  t_relay()
end`

func TestForkedCallIsAnswered(t *testing.T) {
	r := start(t, fork)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE", "carol INVITE")
	b, c := r.last(bob, "INVITE"), r.last(carol, "INVITE")
	if header(b.Text, "Max-Breadth") != "30" || header(c.Text, "Max-Breadth") != "30" {
		t.Fatal(b.Text, c.Text)
	}
	if c.Line() != "INVITE sip:carol@192.0.2.3 SIP/2.0" || b.Line() != "INVITE "+toBob+" SIP/2.0" {
		t.Fatal(b.Line(), c.Line())
	}
	r.Receive(bob, answer(b, 180))
	r.Receive(carol, answer(c, 180))
	r.expect("alice 180", "alice 180")
	r.Receive(carol, answer(c, 200))
	r.expect("bob CANCEL", "alice 200")
	r.Receive(bob, answer(b, 200)) // both picked up
	r.expect("alice 200")
	if !strings.Contains(header(r.seen[0].Text, "To"), "192-0-2-2") {
		t.Fatal(r.seen[0].Text)
	}
	r.Receive(carol, answer(c, 200))
	r.expect("alice 200")
	r.empty()
	r.expect()
}

func TestBestResponse(t *testing.T) {
	for _, c := range []struct {
		bob, carol, want int
	}{
		{486, 603, 603}, {603, 486, 603}, {302, 404, 302}, {404, 302, 302}, {404, 500, 404}, {500, 404, 404},
		{401, 404, 401}, {404, 407, 407}, {486, 408, 486}, {487, 404, 404}, {503, 500, 500}, {503, 404, 404},
		{500, 604, 604}, {420, 480, 420},
	} {
		for _, order := range []string{"bc", "cb"} {
			r := start(t, fork)
			r.Receive(alice, invite("z9hG4bKi"))
			r.take()
			bi, ci := r.last(bob, "INVITE"), r.last(carol, "INVITE")
			for _, who := range order {
				if who == 'b' {
					r.Receive(bob, answer(bi, c.bob))
				} else {
					r.Receive(carol, answer(ci, c.carol))
				}
			}
			r.expect2(fmt.Sprintf("alice %d", c.want), "bob ACK", "carol ACK")
			r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
			r.empty()
		}
	}
}

func TestChallengesAreCollected(t *testing.T) {
	r := start(t, fork3)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	b, c, d := r.last(bob, "INVITE"), r.last(carol, "INVITE"), r.last(dave, "INVITE")
	r.Receive(bob, answer(b, 401, `WWW-Authenticate: Digest realm="b", nonce="1"`))
	r.Receive(carol, answer(c, 407, `Proxy-Authenticate: Digest realm="c", nonce="2"`))
	r.Receive(dave, answer(d, 486))
	r.take()
	final := r.last(alice, "401")
	if !strings.Contains(final.Text, `realm="b"`) || !strings.Contains(final.Text, `Proxy-Authenticate: Digest realm="c"`) {
		t.Fatal(final.Text)
	}
	r.empty()
}

func Test6xxCancelsOthers(t *testing.T) {
	r := start(t, fork)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	b, c := r.last(bob, "INVITE"), r.last(carol, "INVITE")
	r.Receive(bob, answer(b, 180))
	r.expect("alice 180")
	r.Receive(carol, answer(c, 603))
	r.expect("carol ACK", "bob CANCEL")
	r.Receive(bob, answer(b, 487))
	r.expect("bob ACK", "alice 603")
	r.empty()
}

func Test503Becomes500(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	r.Receive(bob, answer(r.last(bob, "INVITE"), 503))
	r.expect("bob ACK", "alice 500")
	r.empty()
}

func TestSendingFails(t *testing.T) {
	r := start(t, fork)
	r.Fail(carol, true)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE")
	r.advance(20 * ms)
	r.Receive(bob, answer(r.last(bob, "INVITE"), 404))
	r.expect("bob ACK", "alice 404")
	r.empty()
	r.take()
	r.Fail(bob, true)
	r.Receive(alice, invite("z9hG4bKi2"))
	r.advance(20 * ms)
	r.expect2("alice 100", "alice 500")
	r.empty()
}

func TestUndeliverable(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() if t_check_status("503") then ruri.host = "192.0.2.3" t_relay() end end`)
	r.Receive(alice, invite("z9hG4bKi", "Supported: x"))
	r.take()
	r.Undeliverable(r.last(bob, "INVITE"))
	r.take()
	c := r.last(carol, "INVITE")
	r.Undeliverable(c)
	r.take()
	r.last(alice, "500")
	r.empty()
}

func TestMaxBreadth(t *testing.T) {
	r := start(t, fork)
	r.Receive(alice, invite("z9hG4bK1", "Max-Breadth: 1"))
	r.expect("alice 440")
	r.Receive(alice, request("OPTIONS", "z9hG4bK2", toBob, "Max-Breadth: 5"))
	r.take()
	if header(r.last(bob, "OPTIONS").Text, "Max-Breadth") != "2" {
		t.Fatal(r.seen)
	}
	r.empty()
	r = start(t, plain)
	r.Receive(alice, request("OPTIONS", "z9hG4bK3", toBob, "Max-Breadth: 5"))
	r.take()
	if header(r.last(bob, "OPTIONS").Text, "Max-Breadth") != "5" {
		t.Fatal(r.seen)
	}
	r.Receive(alice, request("OPTIONS", "z9hG4bK4", toBob, "Max-Breadth: 0"))
	r.expect("alice 440")
	r.empty()
}

func TestBranchRouteEditsOnlyItsBranch(t *testing.T) {
	r := start(t, `function request_route()
  append_branch("sip:carol@192.0.2.3")
  append_branch("sip:dave@192.0.2.4")
  t_on_branch("b")
  t_relay()
end
function b()
  if ruri.user == "carol" then append_hf("X-Who: carol") ruri.user = "caroline" end
  if ruri.user == "dave" then drop() end
end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE", "carol INVITE")
	b, c := r.last(bob, "INVITE"), r.last(carol, "INVITE")
	if strings.Contains(b.Text, "X-Who") || header(c.Text, "X-Who") != "carol" || b.Line() != "INVITE "+toBob+" SIP/2.0" || c.Line() != "INVITE sip:caroline@192.0.2.3 SIP/2.0" {
		t.Fatal(b.Text, c.Text)
	}
	r.empty()
}

func TestEveryBranchDropped(t *testing.T) {
	r := start(t, `function request_route() t_on_branch("b") t_relay() end
function b() drop() end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "alice 403")
	r.empty()
}

func TestReplyRoute(t *testing.T) {
	r := start(t, `function request_route() t_on_reply("f") t_relay() end
function f()
  if t_check_status("183") then drop() end
  if t_check_status("1xx") then append_hf("X-Seen: 1xx") end
  if t_check_status("[2]00") then note("never") end
  if t_check_status("2..|486") then append_hf("X-Seen: final") drop() end
end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 183))
	r.expect()
	r.Receive(bob, answer(inv, 180))
	r.expect("alice 180")
	if header(r.seen[0].Text, "X-Seen") != "1xx" {
		t.Fatal(r.seen[0].Text)
	}
	r.Receive(bob, answer(inv, 486))
	r.expect("bob ACK", "alice 486") // a final response cannot be dropped
	if header(r.last(alice, "486").Text, "X-Seen") != "final" {
		t.Fatal(r.seen)
	}
	r.empty()
}

func TestFailureRouteRelaysAgain(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f()
  if t_check_status("486|600") then
    ruri.user = "vm" ruri.host = "192.0.2.3"
    t_on_failure("g")
    t_relay()
  end
end
function g()
  if t_check_status("408") then t_reply(480, "Nobody There") end
end`, `modparam("tm", "fr_timer", 2000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	r.Receive(bob, answer(r.last(bob, "INVITE"), 486))
	r.expect("bob ACK", "carol INVITE")
	if r.last(carol, "INVITE").Line() != "INVITE sip:vm@192.0.2.3 SIP/2.0" {
		t.Fatal(r.seen)
	}
	r.advance(2 * time.Second)
	r.take()
	if p := r.last(alice, "480"); !strings.Contains(p.Line(), "Nobody There") {
		t.Fatal(p.Line())
	}
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.empty()
}

func TestFailureRouteDoesNothing(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() note("f") end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	r.Receive(bob, answer(r.last(bob, "INVITE"), 404))
	r.expect("bob ACK", "alice 404")
	if got := <-r.test.notes; got != "f" {
		t.Fatal(got)
	}
	r.empty()
}

func TestFailureRouteThatBreaks(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() local x = nil x.y = 1 end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	r.Receive(bob, answer(r.last(bob, "INVITE"), 404))
	r.expect("bob ACK", "alice 404")
	r.empty()
}

func TestFailureRouteReplies(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() t_reply(480) note("after") end`)
	for i := range 3 { // the request is not given back while the route runs
		r.Receive(alice, request("MESSAGE", fmt.Sprint("z9hG4bK", i), toBob))
		r.take()
		r.Receive(bob, answer(r.last(bob, "MESSAGE"), 404))
		r.expect("alice 480")
	}
	r.empty()
}

func TestNoFailureRouteForCanceled(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() note("f") end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 180))
	r.Receive(alice, cancel("z9hG4bKi"))
	r.Receive(bob, answer(inv, 487))
	r.expect("alice 180", "alice 200", "bob CANCEL", "bob ACK", "alice 487")
	if len(r.test.notes) > 0 {
		t.Fatal("the failure route ran")
	}
	r.empty()
}

func TestSetFR(t *testing.T) {
	for _, script := range []string{
		`function request_route() t_set_fr(3000, 1000) t_relay() end`,
		`function request_route() set_avp("$t.fr_inv_timer", 3000) set_avp("$t.fr_timer", 1000) t_relay() end`,
	} {
		r := start(t, script)
		r.Receive(alice, invite("z9hG4bKi"))
		r.advance(time.Second)
		r.take()
		if r.first(alice, "408").At != time.Second {
			t.Fatal(r.seen)
		}
		r.empty()
		r.Receive(alice, invite("z9hG4bKj"))
		r.take()
		at := r.first(bob, "INVITE").At
		r.Receive(bob, answer(r.first(bob, "INVITE"), 180))
		r.advance(3 * time.Second)
		r.take()
		if r.first(alice, "408").At != at+3*time.Second {
			t.Fatal(r.seen)
		}
		r.empty()
	}
}

// What a branch route adds to Record-Route belongs to its branch too.
func TestBranchRouteRecordsItsBranch(t *testing.T) {
	r := start(t, `function request_route()
  append_branch("sip:carol@192.0.2.3")
  t_on_branch("b")
  t_relay()
end
function b()
  if ruri.user == "bob" then record_route() add_rr_param(";x=bob") end
end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	if rr := header(r.last(bob, "INVITE").Text, "Record-Route"); !strings.Contains(rr, ";x=bob") {
		t.Fatal(rr)
	}
	if rr := header(r.last(carol, "INVITE").Text, "Record-Route"); rr != "" {
		t.Fatal(rr)
	}
	r.empty()
}
