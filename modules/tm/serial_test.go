package tm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sipr/core"
)

// qs has bob at the q of his binding, carol and dave at theirs.
func qs(carol, dave string) string {
	return fmt.Sprintf(`function request_route()
  append_branch("sip:carol@192.0.2.3", %q)
  append_branch("sip:dave@192.0.2.4", %q)
  t_on_failure("f")
  t_relay()
end
function f() note("f") end`, carol, dave)
}

const serial = `modparam("tm", "serial_forking", 1)`

func TestRFC3261_16_6_SerialForking(t *testing.T) {
	r := start(t, qs("0.5", "0.5"), serial)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE")
	b := r.last(bob, "INVITE")
	if header(b.Text, "Max-Breadth") != "60" { // what comes later does not count now
		t.Fatal(b.Text)
	}
	r.Receive(bob, answer(b, 486))
	r.expect("bob ACK", "carol INVITE", "dave INVITE")
	c, d := r.last(carol, "INVITE"), r.last(dave, "INVITE")
	if c.Line() != "INVITE sip:carol@192.0.2.3 SIP/2.0" || header(c.Text, "Max-Breadth") != "30" {
		t.Fatal(c.Text)
	}
	r.Receive(carol, answer(c, 404))
	r.expect("carol ACK")
	r.Receive(dave, answer(d, 480))
	r.expect("dave ACK", "alice 486") // the first of the best class, of all groups
	if len(r.test.notes) != 1 {
		t.Fatal("the failure route runs once, in the end")
	}
	r.acked()
	r.empty()
}

func TestSerialForkingAfterATimeout(t *testing.T) {
	r := start(t, qs("0.5", "0.2"), serial, `modparam("tm", "fr_inv_timer_next", 20000)`, `modparam("tm", "fr_timer", 5000)`)
	b := r.call()
	r.Receive(bob, answer(b, 180))
	r.take()
	r.advance(20 * time.Second) // bob rings
	r.expect("bob CANCEL", "carol INVITE")
	r.Receive(bob, answer(b, 487))
	r.expect("bob ACK")
	r.advance(5 * time.Second) // carol is silent
	r.take()
	d := r.last(dave, "INVITE")
	r.Receive(dave, answer(d, 180))
	r.expect("alice 180")
	r.advance(119 * time.Second) // nobody waits for a turn any more
	r.expect()
	r.Receive(dave, answer(d, 200))
	r.expect("alice 200")
	r.empty()
}

func TestSerialForkingTheBestIsTheAppended(t *testing.T) {
	r := start(t, `function request_route()
  ruri_q("0.3")
  append_branch("sip:carol@192.0.2.3", "0.9")
  t_relay()
end`, serial)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "carol INVITE")
	r.Receive(carol, answer(r.last(carol, "INVITE"), 486))
	r.expect("carol ACK", "bob INVITE")
	if got := r.last(bob, "INVITE").Line(); got != "INVITE "+toBob+" SIP/2.0" {
		t.Fatal(got)
	}
	r.Receive(bob, answer(r.last(bob, "INVITE"), 200))
	r.expect("alice 200")
	r.empty()
}

func TestSerialForkingEndsWithCancelOr6xx(t *testing.T) {
	r := start(t, qs("0.5", "0.2"), serial)
	b := r.call()
	r.Receive(bob, answer(b, 603))
	r.expect("bob ACK", "alice 603")
	r.acked()
	r.Receive(alice, invite("z9hG4bKj"))
	r.take()
	b = r.last(bob, "INVITE")
	r.Receive(bob, answer(b, 180))
	r.Receive(alice, cancel("z9hG4bKj"))
	r.Receive(bob, answer(b, 487))
	r.expect("alice 180", "alice 200", "bob CANCEL", "bob ACK", "alice 487")
	r.empty()
}

// A group larger than Max-Breadth is tried in parts.
func TestSerialForkingInSmallGroups(t *testing.T) {
	r := start(t, qs("0.5", "0.5"), serial)
	b := r.call("Max-Breadth: 1")
	r.Receive(bob, answer(b, 486))
	r.expect("bob ACK", "carol INVITE")
	r.Receive(carol, answer(r.last(carol, "INVITE"), 486))
	r.expect("carol ACK", "dave INVITE")
	r.Receive(dave, answer(r.last(dave, "INVITE"), 200))
	r.expect("alice 200")
	r.empty()
}

// A destination that cannot be reached at all does not hold up those after it.
func TestSerialForkingPastTheUnreachable(t *testing.T) {
	r := start(t, `function request_route()
  append_branch("sip:carol@no.such.name.invalid", "0.5")
  append_branch("sip:dave@192.0.2.4", "0.2")
  t_relay()
end`, serial)
	r.named("no.such.name.invalid")
	b := r.call()
	r.Receive(bob, answer(b, 486))
	r.expect("bob ACK", "dave INVITE")
	r.Receive(dave, answer(r.last(dave, "INVITE"), 404))
	r.expect("dave ACK", "alice 486")
	r.acked()
	r.empty()
}

// A branch route runs for each branch of each group.
func TestSerialForkingWithABranchRoute(t *testing.T) {
	r := start(t, `function request_route()
  append_branch("sip:carol@192.0.2.3", "0.5")
  t_on_branch("b")
  t_relay()
end
function b() nap() append_hf("X-For: " .. ruri.user) end`, serial)
	b := r.call()
	r.Receive(bob, answer(b, 486))
	r.take()
	c := r.last(carol, "INVITE")
	if header(b.Text, "X-For") != "bob" || header(c.Text, "X-For") != "carol" {
		t.Fatal(c.Text)
	}
	r.Receive(carol, answer(c, 200))
	r.expect("alice 200")
	r.empty()
}

func TestLoadContacts(t *testing.T) {
	r := start(t, `function request_route()
  append_branch("sip:carol@192.0.2.3", "0.5")
  append_branch("sip:dave@192.0.2.4", "0.5")
  t_load_contacts()
  t_next_contacts()
  t_on_failure("f")
  t_relay()
end
function f()
  if t_next_contacts() then
    note(ruri.user)
    t_on_failure("f")
    t_relay()
  end
end`, `modparam("tm", "fr_inv_timer_next", 10000)`)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE")
	b := r.last(bob, "INVITE")
	r.Receive(bob, answer(b, 180))
	r.advance(10 * time.Second)
	r.expect("alice 180", "bob CANCEL", "carol INVITE", "dave INVITE")
	if got := <-r.test.notes; got != "carol" {
		t.Fatal(got)
	}
	c, d := r.last(carol, "INVITE"), r.last(dave, "INVITE")
	r.Receive(bob, answer(b, 487))
	r.Receive(carol, answer(c, 404))
	r.Receive(dave, answer(d, 486))
	r.take()
	r.last(alice, "404")
	r.acked()
	r.empty()
}

func TestRecursion(t *testing.T) {
	r := start(t, `function request_route() t_recurse() t_on_failure("f") t_relay() end
function f() note("f") end`)
	b := r.call()
	r.Receive(bob, answer(b, 302, "Contact: <sip:carol@192.0.2.3>;q=0.3, <sip:dave@192.0.2.4>;q=0.7"))
	r.expect("bob ACK", "dave INVITE", "carol INVITE")
	c, d := r.last(carol, "INVITE"), r.last(dave, "INVITE")
	if header(c.Text, "Max-Breadth") != "30" { // bob's is shared
		t.Fatal(c.Text)
	}
	r.Receive(carol, answer(c, 486))
	r.Receive(dave, answer(d, 404))
	r.expect("carol ACK", "dave ACK", "alice 404")
	if len(r.test.notes) != 1 {
		t.Fatal("the failure route runs once, in the end")
	}
	r.acked()
	r.empty()
}

func TestRecursionIsBounded(t *testing.T) {
	r := start(t, plain, `modparam("tm", "recurse", 1)`)
	p := r.call()
	for i := range 11 {
		r.Receive(p.To(), answer(p, 302, fmt.Sprintf("Contact: <sip:carol%d@192.0.2.3>", i)))
		r.take()
		p = r.last(carol, "INVITE")
	}
	r.Receive(p.To(), answer(p, 302, "Contact: <sip:carol12@192.0.2.3>"))
	r.expect("carol ACK", "alice 302")
	if got := header(r.last(alice, "302").Text, "Contact"); got != "<sip:carol12@192.0.2.3>" {
		t.Fatal(got)
	}
	r.acked()
	r.empty()
}

func TestRecursionLeavesWhatIsNotItsOwn(t *testing.T) {
	for _, c := range []struct {
		uri, contact string
		code         int
	}{
		{toBob, "<sip:bob@192.0.2.2>", 302},                                // tried
		{toBob, "<mailto:bob@home.example>", 302},                          // not SIP
		{toBob, "<sip:carol@192.0.2.3?Subject=x>", 302},                    // asks for more than a Request-URI can
		{toBob, "<sip:carol@192.0.2.3>", 305},                              // use proxy
		{toBob, "<sip:carol@192.0.2.3>", 380},                              // alternative service
		{"sips:bob@192.0.2.2;transport=tcp", "<sip:carol@192.0.2.3>", 302}, // less safe than asked for
		{toBob, "<sip:192.0.2.3", 302},
	} {
		r := start(t, `function request_route() ruri.host = "192.0.2.2" t_relay("sip:192.0.2.2") end`, `modparam("tm", "recurse", 1)`)
		r.Receive(alice, request("INVITE", "z9hG4bKi", c.uri))
		r.take()
		r.Receive(bob, answer(r.last(bob, "INVITE"), c.code, "Contact: "+c.contact))
		r.expect("bob ACK", fmt.Sprint("alice ", c.code))
		if got := header(r.last(alice, fmt.Sprint(c.code)).Text, "Contact"); got != c.contact {
			t.Fatal(got)
		}
		r.acked()
		r.empty()
	}
}

func TestRecursionCanBeRefusedByTheScript(t *testing.T) {
	r := start(t, `function request_route() t_recurse(false) t_relay() end`, `modparam("tm", "recurse", 1)`)
	b := r.call()
	r.Receive(bob, answer(b, 302, "Contact: <sip:carol@192.0.2.3>"))
	r.expect("bob ACK", "alice 302")
	r.acked()
	r.empty()
}

// With serial forking, the contacts of a redirection wait for their turn.
func TestRecursionInOrder(t *testing.T) {
	r := start(t, qs("0.5", "0.1"), serial, `modparam("tm", "recurse", 1)`)
	b := r.call()
	r.Receive(bob, answer(b, 302, "Contact: <sip:eve@192.0.2.3>;q=0.7, <sip:frank@192.0.2.4>;q=0.3"))
	var got []string
	for range 4 {
		p := r.take()[1]
		user, _, _ := strings.Cut(strings.TrimPrefix(p.Line(), "INVITE sip:"), "@")
		got = append(got, user)
		r.Receive(p.To(), answer(p, 480))
	}
	if strings.Join(got, " ") != "eve carol frank dave" {
		t.Fatal(got)
	}
	r.take()
	r.last(alice, "480")
	r.acked()
	r.empty()
}
func TestSerialForkingIsOffByItself(t *testing.T) {
	r := start(t, qs("0.5", "0.7"))
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE", "carol INVITE", "dave INVITE")
	r.empty()
}

func TestSerialForkingOfEquals(t *testing.T) {
	r := start(t, qs("1", "1.0"), serial)
	r.Receive(alice, invite("z9hG4bKi"))
	r.expect("alice 100", "bob INVITE", "carol INVITE", "dave INVITE")
	r.empty()
}

// slowly makes look-ups of two.example wait for the test.
func (r *rig) slowly() {
	r.named("two.example", "192.0.2.3")
	hook := r.test.hook
	r.test.hook = func(q *core.Request) {
		hook(q)
		q.Engine.(*names).slow = func() { r.test.enter <- "dns"; <-r.test.leave }
	}
}

const toSlow = `function request_route()
  append_branch("sip:carol@two.example", "0.5")
  t_relay()
end`

// A look-up for the next group holds up no other message, and a CANCEL that
// comes meanwhile ends the search.
func TestCancelWhileTheNextGroupIsLookedUp(t *testing.T) {
	r := start(t, toSlow, serial)
	r.slowly()
	b := r.call()
	done := make(chan bool)
	go func() { r.Receive(bob, answer(b, 486)); close(done) }()
	<-r.test.enter
	r.Receive(alice, cancel("z9hG4bKi"))
	r.expect("bob ACK", "alice 200")
	r.test.leave <- struct{}{}
	<-done
	r.expect("alice 487")
	r.acked()
	r.empty()
	r.expect()
}

func TestNextGroupAfterATimeoutIsLookedUpApart(t *testing.T) {
	r := start(t, toSlow, serial, `modparam("tm", "fr_timer", 1000)`)
	r.slowly()
	r.call()
	r.Clock.Advance(1100 * ms) // returns although the look-up waits
	<-r.test.enter
	r.take()
	r.test.leave <- struct{}{}
	r.tm.Settled()
	r.expect("carol INVITE")
	r.Receive(carol, answer(r.last(carol, "INVITE"), 200))
	r.expect("alice 200")
	r.empty()
}

// A redirection whose contacts have to be looked up is as good after the wait.
func TestRecursionThatWaits(t *testing.T) {
	r := start(t, plain, `modparam("tm", "recurse", 1)`)
	r.slowly()
	b := r.call()
	done := make(chan bool)
	go func() {
		r.Receive(bob, answer(b, 302, "Contact: <sip:carol@two.example>, <tel:+431>"))
		close(done)
	}()
	<-r.test.enter
	r.Receive(bob, answer(b, 302))
	r.test.leave <- struct{}{}
	<-done
	r.expect("bob ACK", "carol INVITE", "bob ACK")
	r.Receive(carol, answer(r.last(carol, "INVITE"), 404))
	r.take()
	if got := header(r.last(alice, "302").Text, "Contact"); got != "<tel:+431>" {
		t.Fatal(got)
	}
	r.acked()
	r.empty()
}

// Nobody can be reached where a redirection leads.
func TestRecursionLeadsNowhere(t *testing.T) {
	for want, settings := range map[string]string{"302": "", "480": serial} {
		r := start(t, plain, `modparam("tm", "recurse", 1)`, settings)
		r.named("two.example")
		b := r.call()
		r.Receive(bob, answer(b, 302, "Contact: <sip:carol@two.example>"))
		r.expect("bob ACK", "alice "+want)
		r.acked()
		r.empty()
	}
}
