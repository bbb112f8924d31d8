package tm_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/sipmsg"
	"sipr/modules/tm"
)

const router = "192.0.2.100:5060"

func TestLoop(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", "sip:x@192.0.2.100"))
	r.take()
	p := r.last(router, "OPTIONS")
	r.Receive(router, p.Text)
	r.expect(router + " 482")
	r.Receive(router, r.last(router, "482").Text)
	r.expect("alice 482")
	r.empty()
}

func TestSpiral(t *testing.T) {
	r := start(t, `function request_route()
  if ruri.user == "x" then ruri.user = "y" else ruri.host = "192.0.2.2" end
  t_relay()
end`)
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", "sip:x@192.0.2.100"))
	r.take()
	r.Receive(router, r.last(router, "OPTIONS").Text)
	r.expect("bob OPTIONS")
	r.Receive(bob, answer(r.seen[0], 200))
	r.expect(router + " 200")
	r.Receive(router, r.seen[0].Text)
	r.expect("alice 200")
	r.empty()
}

func TestRefusals(t *testing.T) {
	r := start(t, plain)
	for _, c := range []struct{ header, want, unsupported string }{
		{"Max-Forwards: 0", "483", ""},
		{"Proxy-Require: foo, bar", "420", "foo, bar"},
	} {
		r.Receive(alice, invite("z9hG4bKi"+c.want, c.header))
		r.expect("alice " + c.want)
		if got := strings.Join(headers(r.seen[0].Text, "Unsupported"), " "); got != c.unsupported {
			t.Fatal(r.seen[0].Text)
		}
		r.Receive(alice, request("ACK", "z9hG4bKi"+c.want, toBob))
		r.expect()
	}
	r.empty()
}

func TestRFC2543(t *testing.T) {
	r := start(t, plain)
	old := strings.Replace(invite("x"), ";branch=x", "", 1)
	r.Receive(alice, old)
	r.expect("alice 100", "bob INVITE")
	inv := r.last(bob, "INVITE")
	r.Receive(alice, old)
	r.expect("alice 100")
	r.Receive(bob, answer(inv, 180))
	r.Receive(alice, strings.Replace(cancel("x"), ";branch=x", "", 1))
	r.expect("alice 180", "alice 200", "bob CANCEL")
	r.Receive(bob, answer(inv, 487))
	r.expect("bob ACK", "alice 487")
	r.Receive(alice, strings.Replace(request("ACK", "x", toBob, "To: <sip:bob@home.example>;tag=192-0-2-2"), ";branch=x", "", 1))
	r.advance(time.Second)
	r.expect()
	other := strings.Replace(old, "CSeq: 1", "CSeq: 2", 1)
	r.Receive(alice, other)
	r.expect("alice 100", "bob INVITE")
	r.empty()
}

func TestForgedResponses(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	ok := answer(inv, 200)
	branch := strings.TrimPrefix(header(inv.Text, "Via"), "SIP/2.0/UDP 192.0.2.100;branch=")
	flip := func(i int) string {
		b := []byte(branch)
		if b[i] == '0' {
			b[i] = '1'
		} else {
			b[i] = '0'
		}
		return string(b)
	}
	for _, forged := range []string{
		strings.Replace(ok, branch, flip(len(branch)-1), 1),
		strings.Replace(ok, branch, flip(8), 1),
		strings.Replace(ok, branch, flip(17), 1),
		strings.Replace(ok, branch, branch+"0", 1),
		strings.Replace(ok, branch, strings.ToUpper(branch), 1),
		strings.Replace(ok, "1 INVITE", "1 BYE", 1),
		strings.Replace(ok, "SIP/2.0/UDP 192.0.2.100", "SIP/2.0/UDP 192.0.2.99", 1),
	} {
		r.Receive("203.0.113.9:5060", forged)
		r.expect()
	}
	r.Receive(bob, ok)
	r.expect("alice 200")
	r.empty()
}

func TestTCPDoesNotRetransmit(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_timer", 5000)`)
	const tcpBob = "sip:bob@192.0.2.2;transport=tcp"
	tcp := func(s string) string { return strings.Replace(s, "SIP/2.0/UDP", "SIP/2.0/TCP", 1) }
	r.ReceiveOn(1, alice, tcp(request("INVITE", "z9hG4bKi", tcpBob)))
	r.advance(4 * time.Second)
	r.expect("alice 100", "bob INVITE")
	inv := r.last(bob, "INVITE")
	if !strings.HasPrefix(header(inv.Text, "Via"), "SIP/2.0/TCP 192.0.2.100;") || inv.Flow.Proto() != core.TCP {
		t.Fatal(inv.Text)
	}
	r.ReceiveOn(1, bob, answer(inv, 180))
	r.ReceiveOn(1, alice, tcp(request("CANCEL", "z9hG4bKi", tcpBob)))
	r.advance(4 * time.Second)
	r.expect("alice 180", "alice 200", "bob CANCEL")
	r.ReceiveOn(1, bob, answer(inv, 487))
	r.expect("bob ACK", "alice 487")
	r.advance(4 * time.Second)
	r.expect()
	r.ReceiveOn(1, alice, tcp(request("ACK", "z9hG4bKi", tcpBob)))
	r.drained() // at once: nothing can come twice
	r.ReceiveOn(1, alice, tcp(request("OPTIONS", "z9hG4bKo", tcpBob)))
	r.take()
	r.ReceiveOn(1, bob, answer(r.last(bob, "OPTIONS"), 200))
	r.drained()
}

func TestTwins(t *testing.T) {
	r := start(t, plain)
	for i := range 200 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { r.Receive(alice, invite(fmt.Sprint("z9hG4bK", i))) })
		}
		wg.Wait()
		r.take()
		if n := r.count(bob, "INVITE"); n != 1 {
			t.Fatal(n)
		}
		inv := r.last(bob, "INVITE")
		for range 3 { // the answer and the ACK twice at once
			wg.Go(func() { r.Receive(bob, answer(inv, 486)) })
			wg.Go(func() { r.Receive(alice, request("ACK", fmt.Sprint("z9hG4bK", i), toBob)) })
			wg.Go(func() { r.Receive(alice, request("CANCEL", fmt.Sprint("z9hG4bK", i), toBob)) })
		}
		wg.Wait()
		r.take()
		if r.count(alice, "486") == 0 {
			t.Fatal(r.seen)
		}
	}
	r.empty()
}

func TestNewtranAndReply(t *testing.T) {
	r := start(t, `function request_route()
  if not t_newtran() then note("twin") return end
  t_reply(180)
  append_to_reply("X-A: b")
  t_reply("404", "Not Here")
  local ok, why = t_reply(500)
  note(why)
end`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 180", "alice 404")
	final := r.last(alice, "404")
	if header(final.Text, "X-A") != "b" || !strings.Contains(final.Line(), "Not Here") || header(r.first(alice, "180").Text, "To") != header(final.Text, "To") {
		t.Fatal(final.Text)
	}
	if got := <-r.test.notes; got != "not_sent" {
		t.Fatal(got)
	}
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	r.advance(40 * time.Second)
	r.expect()
	r.drained()
}

func TestTransactionsAreBounded(t *testing.T) {
	r := start(t, plain, `modparam("tm", "max_transactions", 2)`, `modparam("tm", "max_per_source", 2)`)
	for i := range 3 {
		r.Receive(alice, invite(fmt.Sprint("z9hG4bK", i)))
	}
	r.take()
	if header(r.last(alice, "503").Text, "Retry-After") == "" || r.count(bob, "INVITE") != 2 {
		t.Fatal(r.seen)
	}
	r.empty()
	r.take()
	r.Receive(alice, invite("z9hG4bKagain"))
	r.expect("alice 100", "bob INVITE")
	r.empty()
}

func TestSend(t *testing.T) {
	r := start(t, plain)
	var got []string
	done := func(code int, reply *sipmsg.Message) { got = append(got, fmt.Sprint(code, reply != nil)) }
	var api tm.API = r.tm
	flow := core.Flow{Socket: r.Sockets()[0], Remote: r.addr(bob)}
	req := func(method string) []byte {
		return []byte(method + " sip:bob@192.0.2.2 SIP/2.0\r\nFrom: <sip:r@192.0.2.100>;tag=1\r\nTo: <sip:bob@192.0.2.2>\r\n" +
			"Call-ID: own\r\nCSeq: 1 " + method + "\r\nContent-Length: 0\r\n\r\n")
	}
	if err := api.Send(req("OPTIONS"), flow, done); err != nil {
		t.Fatal(err)
	}
	r.expect("bob OPTIONS")
	p := r.seen[0]
	r.Receive(bob, answer(p, 100))
	r.Receive(bob, answer(p, 200))
	r.Receive(bob, answer(p, 200))
	r.advance(6 * time.Second)
	r.drained() // Timer K
	if err := api.Send(req("OPTIONS"), flow, done); err != nil {
		t.Fatal(err)
	}
	r.advance(31 * time.Second)
	r.Fail(bob, true)
	api.Send(req("OPTIONS"), flow, done)
	r.advance(20 * ms)
	r.Fail(bob, false)
	api.Send(req("INVITE"), flow, done)
	r.take()
	r.Receive(bob, answer(r.last(bob, "INVITE"), 486))
	r.expect("bob ACK")
	if want := "[200 true 408 false 503 false 486 true]"; fmt.Sprint(got) != want {
		t.Fatalf("%v, want %s", got, want)
	}
	for _, bad := range []string{"", "SIP/2.0 200 OK\r\n\r\n", string(req("ACK"))} {
		if api.Send([]byte(bad), flow, done) == nil {
			t.Fatal(bad)
		}
	}
	if api.Send(req("OPTIONS"), core.Flow{}, done) == nil {
		t.Fatal("no flow")
	}
	r.empty()
}

func TestMatchStatus(t *testing.T) {
	for _, c := range []struct {
		list, code string
		want       bool
	}{
		{"486", "486", true}, {"486|408", "408", true}, {"486|408", "487", false}, {"4xx", "404", true}, {"4XX", "404", true},
		{"5..", "503", true}, {"[45]xx", "404", true}, {"[45]xx", "503", true}, {"[45]xx", "603", false}, {"^4[0-9][0-9]$", "499", true},
		{"(486|487)", "487", true}, {"", "486", false}, {"48", "486", false}, {"4861", "486", false}, {"[^4]..", "404", false}, {"[^4]..", "503", true},
	} {
		if got := tm.MatchStatus(c.list, c.code); got != c.want {
			t.Errorf("%q %s: %v", c.list, c.code, got)
		}
	}
}
