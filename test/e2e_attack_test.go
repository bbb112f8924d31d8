package test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const foreign = "sip:mallory@example.net"

// TestAttack is what design and the shipped script promise against strangers,
// from the wire.
func TestAttack(t *testing.T) {
	r := start(t, setup{more: trust})
	self := r.addr.String()
	t.Run("open relay", func(t *testing.T) {
		p, victim := listenUDP(t, phoneHost), listenUDP(t, victimHost)
		for _, method := range []string{"INVITE", "MESSAGE", "SUBSCRIBE", "OPTIONS", "REFER", "BYE", "NOTIFY"} {
			for _, target := range []string{"sip:x@" + victim.addr, "sip:" + victim.addr, "sip:x@" + victim.addr + ";transport=udp;lr"} {
				if m := p.do(r, p.request(method, target, foreign, target)); m.code != 403 {
					t.Errorf("%s %s: %s", method, target, m.line)
				}
			}
		}
		victim.nothing(r, "relayed", anything)
	})
	t.Run("invented To tag and our Route", func(t *testing.T) {
		p, victim := listenUDP(t, phoneHost), listenUDP(t, victimHost)
		for _, route := range []string{"", ";lr", ";lr;mac=0123456789abcdef", ";lr;mac=", ";lr;r2=on;mac=0", ";mac=0000000000000000"} {
			for _, method := range []string{"INVITE", "BYE", "MESSAGE"} {
				q := p.request(method, "sip:x@"+victim.addr, foreign, "sip:x@"+victim.addr, "Route: <sip:"+self+route+">")
				q.toTag = "invented"
				if m := p.do(r, q); m.code != 403 {
					t.Errorf("%s with Route %q: %s", method, route, m.line)
				}
			}
			ack := p.request("ACK", "sip:x@"+victim.addr, foreign, "sip:x@"+victim.addr, "Route: <sip:"+self+route+">")
			ack.toTag = "invented"
			p.send(r, ack.text(p))
		}
		victim.nothing(r, "relayed", anything)
	})
	t.Run("Route of another dialog", func(t *testing.T) {
		alice, bob, victim := phone(t, r, "alice"), phone(t, r, "bob"), listenUDP(t, victimHost)
		a, _ := talk(r, alice, bob)
		if len(a.q.headers) == 0 || !strings.Contains(a.q.headers[0], "mac=") {
			t.Fatalf("the Record-Route has no MAC: %q", a.q.headers)
		}
		forge := func(what string, change func(*request)) {
			t.Helper()
			q := a.q
			q.method, q.ruri, q.branch = "MESSAGE", "sip:x@"+victim.addr, "z9hG4bK"+unique("b")
			q.from, q.to = foreign, "sip:x@"+victim.addr
			change(&q)
			if m := alice.do(r, &q); m.code != 403 {
				t.Errorf("%s: %s", what, m.line)
			}
		}
		forge("other Call-ID", func(q *request) { q.callID = unique("c") })
		forge("other tags", func(q *request) { q.fromTag, q.toTag = "other", "tags" })
		forge("no To tag", func(q *request) { q.toTag = "" })
		forge("cut MAC", func(q *request) {
			i := strings.Index(q.headers[0], "mac=")
			q.headers = []string{q.headers[0][:i+12] + ">"}
		})
		victim.nothing(r, "relayed", anything)
		a.bye(bob) // and the real dialog still works
	})
	t.Run("preloaded Route", func(t *testing.T) {
		p, victim := listenUDP(t, phoneHost), listenUDP(t, victimHost)
		phone(t, r, "bob")
		for _, route := range []string{"<sip:" + victim.addr + ";lr>", "<sip:" + self + ";lr>, <sip:" + victim.addr + ";lr>", "<sip:" + victim.addr + ">"} {
			q := p.request("MESSAGE", "sip:bob@example.com", foreign, "sip:bob@example.com", "Route: "+route)
			if m := p.do(r, q); m.code != 403 {
				t.Errorf("Route: %s: %s", route, m.line)
			}
		}
		victim.nothing(r, "relayed", anything)
	})
	t.Run("REGISTER without credentials", func(t *testing.T) {
		p := listenUDP(t, phoneHost)
		m := p.do(r, p.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com", "Contact: <"+p.contact()+">"))
		if m.code != 401 || m.h("WWW-Authenticate") == "" || m.h("Contact") != "" {
			t.Errorf("%s", m.raw)
		}
	})
	t.Run("registration for somebody else", func(t *testing.T) {
		p := listenUDP(t, phoneHost)
		q := p.request("REGISTER", "sip:example.com", "sip:bob@example.com", "sip:alice@example.com", "Contact: <"+p.contact()+">")
		if _, m := p.doAs(r, q, "bob", "bob"); m.code != 403 || m.h("Contact") != "" {
			t.Errorf("%s", m.raw)
		}
		q = p.request("REGISTER", "sip:example.com", "sip:bob@example.com", "sip:bob@example.com", "Contact: <"+p.contact()+">")
		if _, m := p.doAs(r, q, "bob", "wrong"); m.code == 200 {
			t.Errorf("a wrong password: %s", m.line)
		}
	})
	t.Run("From of somebody else", func(t *testing.T) {
		p := listenUDP(t, phoneHost)
		for _, method := range []string{"INVITE", "MESSAGE", "SUBSCRIBE"} {
			q := p.request(method, "sip:bob@example.com", "sip:alice@example.com", "sip:bob@example.com")
			if m := p.do(r, q.clone()); m.code != 407 {
				t.Errorf("%s without credentials: %s", method, m.line)
			}
			if _, m := p.doAs(r, q.again(), "bob", "bob"); m.code != 403 {
				t.Errorf("%s with credentials of bob: %s", method, m.line)
			}
		}
	})
	t.Run("replayed credentials", func(t *testing.T) {
		p := listenUDP(t, phoneHost)
		q := p.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com")
		q, m := p.doAs(r, q, "alice", "alice")
		if m.code != 200 {
			t.Fatalf("%s", m.line)
		}
		for range 3 {
			q = q.clone()
			q.branch, q.cseq = "z9hG4bK"+unique("b"), q.cseq+1
			q.callID = unique("c")
			if m := p.do(r, q); m.code != 401 {
				t.Errorf("replay: %s", m.line)
			}
		}
	})
	t.Run("asserted identity", func(t *testing.T) {
		bob := phone(t, r, "bob")
		assert := []string{"P-Asserted-Identity: <sip:boss@example.com>", "Remote-Party-ID: <sip:boss@example.com>", "P-Asserted-Identity: <tel:+1>"}
		for _, c := range []struct {
			host string
			from string
			kept bool
		}{{phoneHost, "sip:alice@example.com", false}, {phoneHost, foreign, false}, {trustedHost, "sip:alice@example.com", true}} {
			p := listenUDP(t, c.host)
			q := p.request("MESSAGE", "sip:bob@example.com", c.from, "sip:bob@example.com", assert...)
			go func() {
				if m := bob.poll(patience, func(m *message) bool { return m.method == "MESSAGE" }); m != nil {
					kept := m.h("P-Asserted-Identity") != "" && m.h("Remote-Party-ID") != ""
					none := m.h("P-Asserted-Identity") == "" && m.h("Remote-Party-ID") == ""
					if c.kept && !kept || !c.kept && !none {
						t.Errorf("from %s as %s:\n%s", c.host, c.from, m.raw)
					}
					if m.h("Proxy-Authorization") != "" {
						t.Errorf("credentials went on:\n%s", m.raw)
					}
					bob.sendRaw(r, m.reply(bob, 200, "OK"))
				}
			}()
			if _, m := p.doAs(r, q, "alice", "alice"); m.code != 200 {
				t.Errorf("%s", m.line)
			}
		}
	})
	t.Run("maddr", func(t *testing.T) {
		p, victim := listenUDP(t, phoneHost), listenUDP(t, victimHost)
		host, port, _ := net.SplitHostPort(victim.addr)
		for _, via := range []string{";maddr=" + host, ";maddr=" + victim.addr, ";received=" + host, ";received=" + host + ";rport=" + port} {
			q := p.request("OPTIONS", "sip:"+self, foreign, "sip:"+self)
			q.via = via
			if m := p.do(r, q); m.code != 200 && m.code != 400 {
				t.Errorf("%s: %s", via, m.line)
			}
		}
		// The same with the victim's address in sent-by, without rport.
		text := p.request("OPTIONS", "sip:"+self, foreign, "sip:"+self).text(p)
		text = strings.Replace(strings.Replace(text, p.addr, victim.addr, 1), ";rport", ";maddr="+host, 1)
		p.send(r, text)
		victim.nothing(r, "an answer", anything)
	})
	t.Run("contact at the router", func(t *testing.T) {
		p := listenUDP(t, phoneHost)
		_, port, _ := net.SplitHostPort(self)
		for _, c := range []string{"sip:x@" + self, "sip:" + self, "sip:x@example.com", "sip:x@EXAMPLE.com:" + port, "sip:x@" + self + ";transport=tcp"} {
			q := p.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com", "Contact: <"+c+">")
			if _, m := p.doAs(r, q, "alice", "alice"); m.code != 403 {
				t.Errorf("Contact: <%s>: %s", c, m.line)
			}
		}
	})
	t.Run("eleventh contact", func(t *testing.T) {
		r.sipr("user", "add", "carol@example.com", "-p", "carol")
		p := listenUDP(t, phoneHost)
		register := func(contacts ...int) *message {
			var list []string
			for _, n := range contacts {
				list = append(list, fmt.Sprintf("<sip:carol@%s:%d>", phoneHost, 20000+n))
			}
			q := p.request("REGISTER", "sip:example.com", "sip:carol@example.com", "sip:carol@example.com", "Contact: "+strings.Join(list, ", "))
			_, m := p.doAs(r, q, "carol", "carol")
			return m
		}
		if m := register(1, 2, 3, 4, 5, 6, 7, 8, 9); m.code != 200 {
			t.Fatalf("%s", m.line)
		}
		if m := register(10, 11); m.code != 403 {
			t.Errorf("the tenth and the eleventh at once: %s", m.line)
		}
		if m := register(10); m.code != 200 || len(m.all("Contact")) != 10 {
			t.Errorf("the tenth: %s", m.raw)
		}
		if m := register(11); m.code != 403 {
			t.Errorf("the eleventh: %s", m.line)
		}
		if m := register(3); m.code != 200 || len(m.all("Contact")) != 10 {
			t.Errorf("the third again: %s", m.raw)
		}
	})
	t.Run("responses with a Via stack", func(t *testing.T) {
		alice, bob, victim := phone(t, r, "alice"), phone(t, r, "bob"), listenUDP(t, victimHost)
		invite, got := ring(r, alice, bob)
		real := got.branch()
		branches := []string{"z9hG4bKsl0123456789abcdef", "z9hG4bKsl", "z9hG4bK", "", "z9hG4bK0.0.0.0", real + "0", real[:len(real)-1],
			flip(real, len(real)-1), flip(real, 10), flip(real, len(real)/2), strings.Repeat("z", 3000)}
		attacker := listenUDP(t, victimHost)
		for _, b := range branches {
			for _, code := range []int{100, 180, 200, 302, 404, 503} {
				for _, method := range []string{"INVITE", "OPTIONS"} {
					attacker.send(r, fmt.Sprintf("SIP/2.0 %d Anything\r\nVia: SIP/2.0/UDP %s;branch=%s\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKv;rport\r\n"+
						"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContent-Length: 0\r\n\r\n", code, self, b, victim.addr, invite.callID, invite.cseq, method))
				}
			}
		}
		victim.nothing(r, "a response", anything)
		alice.nothing(r, "a forged response", func(m *message) bool { return m.code > 100 })
		answerAndHangUp(r, alice, bob, invite, got)
	})
	t.Run("unknown and unregistered users", func(t *testing.T) {
		// Addresses of its own: the router counts by source.
		r.sipr("user", "add", "dave@example.com", "-p", "dave")
		p := listenUDP(t, "127.0.32.130")
		try := func(user string) *message {
			return p.do(r, p.request("INVITE", "sip:"+user+"@example.com", foreign, "sip:"+user+"@example.com"))
		}
		if m := try("dave"); m.code != 480 {
			t.Errorf("unregistered: %s", m.line)
		}
		if m := try("nobody"); m.code != 404 {
			t.Errorf("unknown: %s", m.line)
		}
		for i := range 25 {
			try(fmt.Sprintf("guess%d", i))
		}
		unknown, offline := try("nobody"), try("dave")
		shape := func(m *message) (lines []string) {
			lines = append(lines, m.line)
			for _, h := range m.headers {
				if h[0] != "Via" && h[0] != "To" && h[0] != "From" && h[0] != "Call-ID" {
					lines = append(lines, h[0]+": "+h[1])
				}
			}
			return lines
		}
		if a, b := fmt.Sprint(shape(unknown)), fmt.Sprint(shape(offline)); a != b || unknown.code != 480 {
			t.Errorf("they can be told apart:\n%s\n%s", unknown.raw, offline.raw)
		}
		if m := listenOne(t).do(r, p.request("MESSAGE", "sip:nobody@example.com", foreign, "sip:nobody@example.com")); m.code != 404 {
			t.Errorf("another source: %s", m.line)
		}
	})
	t.Run("no transaction for strangers", func(t *testing.T) {
		p := listenUDP(t, phoneHost)
		before := r.number("tm.stats", "total")
		for range 50 {
			for _, q := range []*request{
				p.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com", "Contact: <"+p.contact()+">"),
				p.request("INVITE", "sip:bob@example.com", "sip:alice@example.com", "sip:bob@example.com"),
				p.request("INVITE", "sip:x@192.0.2.1", foreign, "sip:x@192.0.2.1"),
				p.request("MESSAGE", "sip:bob@example.com", "sip:alice@example.com", "sip:bob@example.com", `Proxy-Authorization: Digest username="alice", realm="example.com", nonce="x", uri="sip:bob@example.com", response="0123456789abcdef0123456789abcdef"`),
				p.request("OPTIONS", "sip:"+self, foreign, "sip:"+self),
			} {
				p.do(r, q)
			}
		}
		if after := r.number("tm.stats", "total"); after != before {
			t.Errorf("%d transactions for strangers", after-before)
		}
	})
	t.Run("ACK", func(t *testing.T) {
		p := listenUDP(t, phoneHost)
		for _, target := range []string{"sip:" + self, "sip:bob@example.com", "sip:nobody@example.com", "sip:x@192.0.2.1", "foo:bar", "sip:", "tel:+1"} {
			for _, headers := range [][]string{nil, {"Route: <sip:192.0.2.1;lr>"}, {"Route: <sip:" + self + ";lr;mac=0>"}, {"Proxy-Require: nothing"}, {"Route: <<<"}, {"Contact: \""}} {
				for _, hops := range []int{70, 0, -1} {
					q := p.request("ACK", target, foreign, target, headers...)
					q.hops, q.toTag = hops, "x"
					text := q.text(p)
					p.send(r, text)
					p.send(r, strings.Replace(text, "CSeq: 1 ACK", "CSeq: 1 INVITE", 1))
					p.send(r, strings.Replace(text, "Call-ID", "Nothing", 1))
					p.send(r, strings.Replace(text, "SIP/2.0\r\n", "SIP/7.0\r\n", 1))
				}
			}
		}
		p.nothing(r, "an answer to ACK", anything)
	})
	t.Run("modes of files", func(t *testing.T) {
		for _, name := range []string{"sipr.sock", "sipr.secret", "sipr.db"} {
			info, err := os.Stat(r.path(name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %s", name, info.Mode())
			}
		}
	})
	t.Run("a call to the router's address", func(t *testing.T) {
		alice := phone(t, r, "alice")
		before := r.number("tm.stats", "total")
		q := alice.request("INVITE", "sip:bob@"+self, "sip:alice@example.com", "sip:bob@"+self)
		if _, m := alice.doAs(r, q, "alice", "alice"); m.code < 400 {
			t.Errorf("%s", m.line)
		}
		if n := r.number("tm.stats", "total") - before; n > 12 {
			t.Errorf("%d transactions for one call", n)
		}
	})
}

func listenOne(t *testing.T) *peer { return listenUDP(t, "127.0.32.131") }

func answerAndHangUp(r *router, caller, callee *peer, invite *request, got *message) {
	caller.t.Helper()
	a, _ := answer(r, caller, callee, invite, got)
	a.bye(callee)
}

// flip changes one character.
func flip(s string, i int) string {
	c := byte('a')
	if s[i] == c {
		c = 'b'
	}
	return s[:i] + string(c) + s[i+1:]
}

// TestLoop has a script that relays to the router itself whatever comes.
func TestLoop(t *testing.T) {
	r := install(t, setup{route: `
function request_route()
  if not maxfwd(10) then return sl_reply(483, "Too Many Hops") end
  if method == "OPTIONS" then return sl_reply(200, "Keepalive") end
  if method == "ACK" then return drop() end
  if method == "MESSAGE" then ruri.user = "x" .. ruri.user end -- a spiral that never closes
  record_route()
  t_relay()
end
`})
	r.start()
	p := listenUDP(t, phoneHost)
	for _, method := range []string{"INVITE", "SUBSCRIBE", "MESSAGE"} {
		want := 482
		if method == "MESSAGE" {
			want = 483
		}
		q := p.request(method, "sip:x@"+r.addr.String(), foreign, "sip:x@"+r.addr.String())
		q.hops = 12
		begin := time.Now()
		if m := p.do(r, q); m.code != want {
			t.Errorf("%s: %s, %d is expected", method, m.line, want)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%s took %s", method, d)
		}
	}
	if n := r.number("tm.stats", "total"); n > 2+2+13 {
		t.Errorf("%d transactions for three requests", n)
	}
}
