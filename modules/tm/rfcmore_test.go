package tm_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/coretest/sim"
	"sipr/core/sipmsg"
)

// RFC 4320 (requests other than INVITE), RFC 5393 (Max-Breadth) and RFC 3263
// §4.3 (further addresses of a destination).

func TestRFC4320_4_1_TryingOnlyWhenItTakesLong(t *testing.T) {
	r := start(t, plain)
	for i, uri := range []string{toBob, toBob + ";transport=tcp"} {
		r.Receive(alice, request("MESSAGE", fmt.Sprint("z9hG4bK", i), uri))
		r.take()
		at := r.seen[0].At
		r.advance(10 * time.Second)
		r.take()
		if r.count(alice, "100") != 1 || r.first(alice, "100").At != at+3500*ms {
			t.Fatal(r.seen)
		}
	}
	r.empty()
	r.take()
	r.Receive(alice, request("MESSAGE", "z9hG4bKq", toBob+";transport=tcp"))
	r.take()
	r.Receive(bob, answer(r.last(bob, "MESSAGE"), 200))
	r.expect("alice 200")
	r.empty()
	r.expect()
}

func TestRFC4320_4_1_NoOtherProvisional(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.take()
	m := r.last(bob, "MESSAGE")
	r.Receive(bob, answer(m, 183))
	r.expect()
	r.Receive(bob, answer(m, 200))
	r.expect("alice 200")
	r.empty()
}

func TestRFC4320_4_2_No408(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() if t_check_status("408") then note("408") end end`)
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.take()
	m := r.last(bob, "MESSAGE")
	r.advance(31 * time.Second)
	r.take()
	if slices.ContainsFunc(r.seen, func(p sim.Packet) bool { return p.To() == alice && short(p.Line()) != "100" }) {
		t.Fatal(r.seen)
	}
	if len(r.test.notes) != 1 {
		t.Fatal("the failure route did not see 408")
	}
	if code := <-r.test.finals; code != 408 {
		t.Fatal(code)
	}
	r.Receive(bob, answer(m, 200)) // late
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toBob))
	r.expect()
	r.Receive(alice, request("MESSAGE", "z9hG4bKn", toBob))
	r.take()
	r.Receive(bob, answer(r.last(bob, "MESSAGE"), 408))
	r.expect() // nor that of somebody else
	r.empty()
}

func TestRFC5393_5_3_3_MaxBreadth(t *testing.T) {
	r := start(t, plain)
	for i, c := range []struct{ has, want string }{{"", "60"}, {"Max-Breadth: 5", "5"}, {"Max-Breadth: 100", "60"}} {
		r.Receive(alice, request("OPTIONS", fmt.Sprint("z9hG4bK", i), toBob, slices.DeleteFunc([]string{c.has}, func(s string) bool { return s == "" })...))
		r.take()
		if got := headers(r.last(bob, "OPTIONS").Text, "Max-Breadth"); len(got) != 1 || got[0] != c.want {
			t.Fatal(got)
		}
	}
	r.Receive(alice, request("OPTIONS", "z9hG4bKz", toBob, "Max-Breadth: 0"))
	r.expect("alice 440")
	r.empty()
	r = start(t, fork3)
	r.Receive(alice, invite("z9hG4bK1", "Max-Breadth: 2"))
	r.expect("alice 440")
	r.Receive(alice, invite("z9hG4bK2", "Max-Breadth: 7"))
	r.take()
	for _, to := range []string{bob, carol, dave} {
		if got := header(r.last(to, "INVITE").Text, "Max-Breadth"); got != "2" {
			t.Fatal(got)
		}
	}
	r.empty()
}

func TestRFC5393_4_2_LoopHash(t *testing.T) { TestLoop(t); TestSpiral(t) }

// names is an engine whose names lead where a test says.
type names struct {
	core.Engine
	list map[string][]string
	dead *[]string
	sock []*core.Socket
	slow func() // what a look-up waits for, if anything
}

func (n *names) ResolveAll(r *core.Request, u *sipmsg.URI, prefer *core.Socket, buf []core.Flow) ([]core.Flow, error) {
	list, ok := n.list[string(u.Host)]
	if !ok {
		return n.Engine.ResolveAll(r, u, prefer, buf)
	}
	if n.slow != nil {
		r.Wait("dns", func(context.Context) error { n.slow(); return nil })
	}
	for _, a := range list {
		sock := n.sock[0]
		if rest, tcp := strings.CutPrefix(a, "tcp:"); tcp {
			a, sock = rest, n.sock[1]
		}
		p, err := sipmsg.ParseURI([]byte("sip:" + a))
		if err != nil {
			return buf, err
		}
		f, err := n.Engine.Resolve(r, &p, sock)
		if err != nil {
			return buf, err
		}
		f.Socket = sock
		buf = append(buf, f)
	}
	return buf, nil
}

func (n *names) Unreachable(f core.Flow) { *n.dead = append(*n.dead, name(f.Remote.String())) }

// named makes a name lead to addresses, in this order.
func (r *rig) named(host string, addrs ...string) {
	r.test.hook = func(q *core.Request) {
		q.Engine = &names{Engine: q.Engine, list: map[string][]string{host: addrs}, dead: &r.dead, sock: r.Sockets()}
	}
}

const toName = "sip:bob@two.example"

func TestRFC3263_4_3_TransportError(t *testing.T) {
	r := start(t, plain)
	r.named("two.example", "192.0.2.2", "192.0.2.3")
	r.Fail(bob, true)
	r.Receive(alice, request("INVITE", "z9hG4bKi", toName))
	r.advance(20 * ms)
	r.expect("alice 100", "carol INVITE")
	c := r.last(carol, "INVITE")
	if c.Line() != "INVITE "+toName+" SIP/2.0" || header(c.Text, "Max-Breadth") != "60" || len(headers(c.Text, "Via")) != 2 || header(c.Text, "Max-Forwards") != "69" {
		t.Fatal(c.Text)
	}
	if fmt.Sprint(r.dead) != "[bob]" {
		t.Fatal(r.dead)
	}
	r.Receive(carol, answer(c, 200))
	r.expect("alice 200")
	r.empty()
}

func TestRFC3263_4_3_ServiceUnavailable(t *testing.T) {
	r := start(t, plain)
	r.named("two.example", "192.0.2.2", "192.0.2.3", "192.0.2.4")
	r.Receive(alice, request("INVITE", "z9hG4bKi", toName))
	r.take()
	b := r.last(bob, "INVITE")
	r.Receive(bob, answer(b, 100))
	r.Receive(bob, answer(b, 503))
	r.expect2("carol INVITE", "bob ACK")
	c := r.last(carol, "INVITE")
	if header(c.Text, "Via") == header(b.Text, "Via") {
		t.Fatal("the branch parameter is not new")
	}
	strip := func(p sim.Packet) string { _, rest, _ := strings.Cut(p.Text, "Record-Route"); return rest }
	if strip(b) != strip(c) {
		t.Fatalf("%s\n%s", b.Text, c.Text)
	}
	r.Receive(bob, answer(b, 503))
	r.expect("bob ACK") // its retransmissions are still acknowledged
	r.Receive(carol, answer(c, 503))
	r.take()
	r.Receive(dave, answer(r.last(dave, "INVITE"), 486))
	r.expect("dave ACK", "alice 486") // what the last one said counts alone
	r.acked()
	if got := fmt.Sprint(r.dead); got != "[bob carol]" {
		t.Fatal(got)
	}
	r.empty()
}

func TestRFC3263_4_3_Silence(t *testing.T) {
	r := start(t, plain, `modparam("tm", "failover_timer", 4000)`)
	r.named("two.example", "192.0.2.2", "192.0.2.3")
	r.Receive(alice, request("INVITE", "z9hG4bKi", toName))
	r.take()
	b := r.last(bob, "INVITE")
	r.advance(4 * time.Second)
	r.take()
	if r.first(carol, "INVITE").At != 4*time.Second {
		t.Fatal(r.seen)
	}
	r.Receive(bob, answer(b, 180))
	r.expect("bob CANCEL") // it rings after all
	r.Receive(bob, answer(r.seen[0], 200))
	r.Receive(bob, answer(b, 487))
	r.expect("bob ACK")
	r.advance(30 * time.Second)
	r.take()
	r.first(alice, "408")
	r.acked()
	r.empty()
}

func TestRFC3263_4_3_LateAnswerOfTheFirst(t *testing.T) {
	r := start(t, plain, `modparam("tm", "failover_timer", 4000)`)
	r.named("two.example", "192.0.2.2", "192.0.2.3")
	r.Receive(alice, request("INVITE", "z9hG4bKi", toName))
	r.take()
	b := r.last(bob, "INVITE")
	r.advance(5 * time.Second)
	r.take()
	c := r.last(carol, "INVITE")
	r.Receive(carol, answer(c, 180))
	r.Receive(bob, answer(b, 200))
	r.expect("alice 180", "carol CANCEL", "alice 200")
	r.Receive(carol, answer(c, 487))
	r.empty()
}

// Somebody who has answered is not left for another address.
func TestRFC3263_4_3_NotAfterAnAnswer(t *testing.T) {
	r := start(t, plain, `modparam("tm", "fr_inv_timer", 10000)`)
	r.named("two.example", "192.0.2.2", "192.0.2.3")
	r.Receive(alice, request("INVITE", "z9hG4bKi", toName))
	r.take()
	r.Receive(bob, answer(r.last(bob, "INVITE"), 180))
	r.advance(10 * time.Second)
	r.expect("alice 180", "bob CANCEL", "alice 408")
	r.acked()
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toName))
	r.take()
	r.Receive(bob, answer(r.last(bob, "MESSAGE"), 500))
	r.expect("alice 500")
	r.empty()
}

func TestRFC3263_4_3_NotAfterCancel(t *testing.T) {
	r := start(t, plain)
	r.named("two.example", "192.0.2.2", "192.0.2.3")
	r.Receive(alice, request("INVITE", "z9hG4bKi", toName))
	r.Receive(alice, cancel("z9hG4bKi"))
	r.advance(9 * time.Second)
	r.take()
	if r.count(carol, "INVITE") != 0 || r.count(alice, "487") == 0 {
		t.Fatal(r.seen)
	}
	r.acked()
	r.empty()
}

// The second address is reached by TCP: Via and Record-Route say so.
func TestRFC3263_4_3_OtherTransport(t *testing.T) {
	r := start(t, plain)
	r.named("two.example", "192.0.2.2", "tcp:192.0.2.3")
	r.Fail(bob, true)
	r.Receive(alice, request("INVITE", "z9hG4bKi", toName, "Record-Route: <sip:192.0.2.77;lr>"))
	r.advance(20 * ms)
	r.take()
	c := r.last(carol, "INVITE")
	rr := headers(c.Text, "Record-Route")
	if c.Flow.Proto() != core.TCP || !strings.HasPrefix(header(c.Text, "Via"), "SIP/2.0/TCP 192.0.2.100;") || len(rr) != 3 ||
		!strings.Contains(rr[0], "transport=tcp;r2=on") || !strings.Contains(rr[1], "192.0.2.100;r2=on") || rr[2] != "<sip:192.0.2.77;lr>" {
		t.Fatal(c.Text)
	}
	r.ReceiveOn(1, carol, answer(c, 200))
	r.expect("alice 200")
	r.empty()
}

// Failover is no forking: neither max_branches nor the failure route see it.
func TestRFC3263_4_3_NoNewBranch(t *testing.T) {
	r := start(t, `function request_route() t_on_failure("f") t_relay() end
function f() if t_check_status("503") then note("f") end end`, `modparam("tm", "max_branches", 1)`)
	r.named("two.example", "192.0.2.2", "192.0.2.3", "192.0.2.4")
	r.Receive(alice, request("MESSAGE", "z9hG4bKm", toName))
	r.take()
	for _, at := range []string{bob, carol, dave} {
		r.Receive(at, answer(r.last(at, "MESSAGE"), 503))
		r.take()
	}
	r.last(alice, "500")
	if len(r.test.notes) != 1 {
		t.Fatal(len(r.test.notes))
	}
	c, err := r.command("tm.stats")
	if err != nil || members(c.Reply[0])["failovers"] != int64(2) {
		t.Fatal(c, err)
	}
	r.empty()
}
