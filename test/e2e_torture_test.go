package test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// relaying starts a router that relays everything to a peer, and that peer.
func relaying(t *testing.T, call string) (*router, *peer) {
	t.Helper()
	far := listenUDP(t, victimHost)
	r := install(t, setup{level: "error", more: `modparam("core", "tcp_message_timeout", 1)
modparam("tm", "retr_timer1", 5000)
`, route: `
function request_route()
  if ruri.user == nil and is_myself() then return sl_reply(200, "Keepalive") end
  if not maxfwd(255) then return sl_reply(483, "Too Many Hops") end
  return ` + call + `("sip:` + far.addr + `;transport=udp")
end
`})
	r.start()
	return r, far
}

// TestTorture has every rule of RFC 4475 and RFC 5118 on the wire, over UDP and
// byte by byte over TCP, with and without a transaction, and with the shipped
// script.
func TestTorture(t *testing.T) {
	t.Run("relayed", func(t *testing.T) {
		r, far := relaying(t, "t_relay")
		udp, tcp := listenUDP(t, phoneHost), dialTCP(t, r, phoneHost)
		for _, c := range append(append([]rule(nil), valid...), invalid...) {
			t.Run(c.name, func(t *testing.T) { c.check(t, r, udp, far, compose(c.start, c.lines, udp.addr)) })
			t.Run(c.name+" over TCP", func(t *testing.T) {
				text := compose(c.start, c.lines, tcp.addr)
				if len(text) > 5000 {
					t.Skip("long messages come in pieces as it is")
				}
				p := tcp
				if strings.Contains(strings.Join(c.lines, "\n"), "ength: ") { // such a stream ends there
					p = dialTCP(t, r, phoneHost)
				}
				c.check(t, r, p, far, text)
			})
		}
	})
	t.Run("forwarded without a transaction", func(t *testing.T) {
		r, far := relaying(t, "forward")
		udp := listenUDP(t, phoneHost)
		for _, c := range valid {
			t.Run(c.name, func(t *testing.T) { c.check(t, r, udp, far, compose(c.start, c.lines, udp.addr)) })
		}
	})
	t.Run("shipped script", func(t *testing.T) {
		r := start(t, setup{})
		udp := listenUDP(t, phoneHost)
		for _, c := range append(append([]rule(nil), valid...), invalid...) {
			switch { // whoever is no user of ours
			case strings.HasPrefix(c.start, "REGISTER") && c.code == 0:
				c.code = 401
			case c.code == 0, c.code == 420:
				c.code = 403
			}
			t.Run(c.name, func(t *testing.T) { c.check(t, r, udp, nil, compose(c.start, c.lines, udp.addr)) })
		}
	})
}

// check sends text and looks at what becomes of it.
func (c rule) check(t *testing.T, r *router, p, far *peer, text string) {
	t.Helper()
	p.t = t
	p.trickle(r, text)
	if c.code != 0 {
		if c.code == dropped {
			p.nothing(r, "answered", anything)
			if far != nil {
				far.t = t
				far.nothing(r, "sent on", anything)
			}
			return
		}
		m := p.final(t)
		if m.code != c.code {
			t.Fatalf("%s, want %d", m.line, c.code)
		}
		answers(t, text, m)
		if c.code == 420 && fmt.Sprint(m.all("Unsupported")) != "[baz, qux]" {
			t.Errorf("Unsupported: %q", m.all("Unsupported"))
		}
		return
	}
	got := far.poll(patience, anything)
	if got == nil {
		t.Fatalf("not sent on; %s", p.seen())
	}
	intact(t, text, c.sent, got.raw)
	far.sendRaw(r, echo(got.raw, "200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe", "Subject: once", "Subject: twice"))
	m := p.final(t)
	if m.line != "SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe" || len(m.all("Subject")) != 2 {
		t.Errorf("the response came as %s", m.raw)
	}
	answers(t, text, m)
}

// trickle sends text, over a stream byte by byte.
func (p *peer) trickle(r *router, text string) {
	p.t.Helper()
	if p.udp != nil {
		p.send(r, text)
		return
	}
	for i := range len(text) {
		if p.sendRaw(r, text[i:i+1]) != nil {
			return // refused already
		}
	}
}

// final waits for a final response; whoever answers first, there is but one.
func (p *peer) final(t *testing.T) *message {
	t.Helper()
	m := p.poll(patience, func(m *message) bool { return m.code >= 200 })
	if m == nil {
		t.Fatalf("no final response; there were %s", p.seen())
	}
	p.backlog = nil
	return m
}

// unfolded returns the header fields of a message, each on one line with its
// name as on the wire.
func unfolded(raw string) []string {
	head, _, _ := strings.Cut(strings.TrimLeft(raw, "\r\n"), "\r\n\r\n")
	return strings.Split(fold.ReplaceAllString(head, " "), "\r\n")[1:]
}

var (
	fold     = regexp.MustCompile(`\r\n[ \t]+`)
	added    = regexp.MustCompile(`;received=[^;,\r\n]*|(;\s*rport *)=\d+`)
	hops     = regexp.MustCompile(`(?i)(\r\nmax-forwards[ \t]*:[ \t]*)(\d+)`)
	breadth  = regexp.MustCompile(`(?m)^Max-Breadth: \d+\r\n`)
	anyLWS   = regexp.MustCompile(`\s+`)
	nameText = map[string]string{"v": "via", "f": "from", "t": "to", "i": "call-id"}
)

// values returns the values of a header field, without white space.
func values(raw, name string) (all []string) {
	for _, l := range unfolded(raw) {
		n, v, _ := strings.Cut(l, ":")
		n = strings.ToLower(strings.TrimSpace(n))
		if full := nameText[n]; full != "" {
			n = full
		}
		if n == name {
			all = append(all, anyLWS.ReplaceAllString(v, ""))
		}
	}
	return all
}

// first is all without what follows the first.
func first(all []string) []string { return all[:min(1, len(all))] }

// answers checks that a response is well formed and belongs to a request.
func answers(t *testing.T, sent string, m *message) {
	t.Helper()
	if got, want := values(m.raw, "via"), values(sent, "via"); added.ReplaceAllString(strings.Join(got, ","), "$1") != added.ReplaceAllString(strings.Join(want, ","), "$1") {
		t.Errorf("Via %q of the request %q", got, want)
	}
	clean := strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n", "\r", " ").Replace(sent)
	for _, name := range []string{"from", "call-id", "cseq"} {
		if got, want := values(m.raw, name), first(values(clean, name)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s %q of the request %q", name, got, want)
		}
	}
	for i, want := range first(values(clean, "to")) {
		got := values(m.raw, "to")
		if len(got) != 1 || !strings.HasPrefix(got[i], want) || strings.Count(got[i], "tag=") != 1 {
			t.Errorf("To %q of the request %q", got, want)
		}
	}
	head, _, _ := strings.Cut(m.raw, "\r\n\r\n")
	if bare := strings.ReplaceAll(head, "\r\n", ""); strings.ContainsAny(bare, "\r\n") || len(values(m.raw, "content-length")) != 1 {
		t.Errorf("malformed response:\n%q", m.raw)
	}
}

// intact checks that got is sent as a proxy has to send it on, byte for byte:
// with one Via before all, one hop less, and the start line that is due.
func intact(t *testing.T, sent, start, got string) {
	t.Helper()
	sent = strings.TrimLeft(sent, "\r\n")
	head, body, _ := strings.Cut(sent, "\r\n\r\n")
	line, head, _ := strings.Cut(head, "\r\n")
	if start == "" {
		start = line
	}
	if n := first(append(values(sent, "content-length"), values(sent, "l")...)); len(n) == 1 {
		size, _ := strconv.Atoi(n[0])
		body = body[:min(size, len(body))]
	} else {
		head += fmt.Sprintf("\r\nContent-Length: %d", len(body))
	}
	head = "\r\n" + head
	if hops.MatchString(head) {
		head = hops.ReplaceAllStringFunc(head, func(s string) string {
			part := hops.FindStringSubmatch(s)
			n, _ := strconv.Atoi(part[2])
			return fmt.Sprint(part[1], n-1)
		})
	} else {
		head = "\r\nMax-Forwards: 70" + head
	}
	top, rest, _ := strings.Cut(strings.TrimPrefix(got, start+"\r\n"), "\r\n")
	if !strings.HasPrefix(got, start+"\r\nVia: SIP/2.0/") || !strings.HasPrefix(param(top, "branch"), "z9hG4bK") {
		t.Errorf("begins with %.300q, want the start line %q and Via", got, start)
	}
	if len(values(sent, "max-breadth")) == 0 {
		rest = breadth.ReplaceAllString(rest, "") // RFC 5393 §5.3.3
	}
	want := added.ReplaceAllString(head+"\r\n\r\n"+body, "$1")
	if have := added.ReplaceAllString("\r\n"+rest, "$1"); have != want {
		t.Errorf("changed on its way:\n%.3000q\nwant\n%.3000q", have, want)
	}
}

// echo makes a response to a request, however that is written.
func echo(raw, status string, more ...string) string {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + status + "\r\n")
	for _, l := range unfolded(raw) {
		n, v, _ := strings.Cut(l, ":")
		n = strings.ToLower(strings.TrimSpace(n))
		if full := nameText[n]; full != "" {
			n = full
		}
		switch n {
		case "to":
			if !strings.Contains(v, "tag") {
				l += ";tag=far"
			}
			fallthrough
		case "via", "from", "call-id", "cseq":
			b.WriteString(l + "\r\n")
		}
	}
	for _, l := range more {
		b.WriteString(l + "\r\n")
	}
	return b.String() + "Content-Length: 0\r\n\r\n"
}

// TestTortureFraming has what a datagram allows and a stream does not, and the
// other way round (RFC 3261 §18.3).
func TestTortureFraming(t *testing.T) {
	r, far := relaying(t, "t_relay")
	udp := listenUDP(t, phoneHost)
	rule{name: "length beyond the datagram", code: 400}.check(t, r, udp, far, compose(invite, lines("Content-Length: 9999", "", "short"), udp.addr))
	rule{name: "no length"}.check(t, r, udp, far, compose(invite, lines("-Content-Length", "", "v=0"), udp.addr))
	rule{name: "two messages"}.check(t, r, udp, far, compose(invite, nil, udp.addr)+compose(opts, nil, udp.addr))
	udp.nothing(r, "answer to a second message of a datagram", anything)
	far.nothing(r, "second message of a datagram", anything)

	evil := compose("MESSAGE sip:evil@example.org SIP/2.0", nil, "192.0.2.1")
	for _, c := range []struct {
		name   string
		lines  []string
		status string // the last response, before the connection is closed
	}{
		{"no length", lines("-Content-Length", "", evil), "400"},
		{"two lengths", lines("Content-Length: 0", "l: 9999", "", evil), "400"},
		{"two lengths that agree", lines("Content-Length: 0", "Content-Length: 0", "", evil), "400"},
		{"signed length", lines("Content-Length: +0", "", evil), "400"},
		{"hexadecimal length", lines("Content-Length: 0x0", "", evil), "400"},
		{"list of lengths", lines("Content-Length: 0,0", "", evil), "400"},
		{"folded length", lines("Content-Length: 0\r\n 0", "", evil), "400"},
		{"length in a folded line", lines("-Content-Length", "Subject: x\r\n Content-Length: 0", "", evil), "400"},
		{"huge length", lines("Content-Length: 4294967296", "", evil), "400"},
		{"length above what fits", lines("Content-Length: 70000", "", evil), "400"},
		{"end of the header section without CR", lines("X: a\n\nMESSAGE sip:evil@example.org SIP/2.0", "", evil), "400"},
		{"message that never ends", lines("Content-Length: 20", "", "x"), ""},
		{"bytes that are no message", lines("", "\x16\x03\x01 \x00\r\n\r\n"+evil), "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", r.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if c.status == "200" { // an answer of the router's own, at once
				c.lines = append(lines("To: <sip:"+r.addr.String()+">"), c.lines...)
				io.WriteString(conn, compose("OPTIONS sip:"+r.addr.String()+" SIP/2.0", c.lines, conn.LocalAddr().String()))
			} else {
				io.WriteString(conn, compose(opts, c.lines, conn.LocalAddr().String()))
			}
			ping(t, r) // others are served meanwhile
			conn.SetReadDeadline(time.Now().Add(patience))
			all, err := io.ReadAll(conn)
			if err != nil {
				t.Fatalf("the connection stays: %v; it sent %q", err, all)
			}
			status := ""
			if bytes.HasPrefix(all, []byte("SIP/2.0 ")) {
				status = string(all[8:11])
			}
			if status != c.status || bytes.Count(all, []byte("SIP/2.0 ")) > 1 {
				t.Errorf("answered with %q, want %q", all, c.status)
			}
			far.t = t
			far.nothing(r, "hidden message", func(m *message) bool { return m.method == "MESSAGE" })
		})
	}
}

// TestTortureAmplification checks that who sends under the address of another
// does not get that one more than he sends himself, but for the header fields of
// one response.
func TestTortureAmplification(t *testing.T) {
	r := start(t, setup{})
	p := listenUDP(t, victimHost)
	all := append(append([]rule(nil), valid...), invalid...)
	for _, start := range []string{"INVITE sip:alice@example.com SIP/2.0", "INVITE sip:nobody@example.com SIP/2.0", "CANCEL sip:alice@example.com SIP/2.0",
		"BYE sip:alice@example.com SIP/2.0", "REGISTER sip:example.com SIP/2.0", "ACK sip:alice@example.com SIP/2.0"} {
		all = append(all, rule{start: start, lines: lines("From: <sip:bob@example.com>;tag=1")}, rule{start: start, lines: lines("Supported: " + strings.Repeat(",", 9000))})
	}
	for _, c := range all {
		text := compose(c.start, c.lines, p.addr)
		p.send(r, text)
		p.send(r, text) // a copy is not answered more often than it comes
		time.Sleep(time.Millisecond)
		ping(t, r)
		size, count, id := 0, 0, values(text, "call-id")
		for p.poll(5*time.Millisecond, func(m *message) bool {
			if fmt.Sprint(values(m.raw, "call-id")) != fmt.Sprint(id) {
				return false // an earlier INVITE's, which is repeated until its ACK
			}
			size, count = size+len(m.raw), count+1
			return true
		}) != nil {
		}
		p.backlog = nil
		if count > 3 || size > 2*(len(text)+400) { // 100 to the first INVITE, and a final one to each
			t.Errorf("%s: %d responses of %d bytes in all to two of %d bytes", c.name+c.start, count, size, len(text))
		}
	}
}

// TestTortureOriginals sends the messages of the RFCs themselves, where they are
// at hand: what has to be sent on goes on as it is, what is malformed is refused.
func TestTortureOriginals(t *testing.T) {
	dir := os.Getenv("SIPR_TORTURE")
	if dir == "" {
		t.Skip("SIPR_TORTURE does not name the folder of the RFCs' messages")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "rfc*", "*.dat"))
	if len(files) == 0 {
		t.Fatalf("there are no messages below %s", dir)
	}
	codes := map[string]int{"badvers": 505, "unkscm": 416, "novelsc": 416, "bext01": 420, "zeromf": 483,
		"unreason": dropped, "noreason": dropped, "scalarlg": dropped, "bigcode": dropped, "bcast": dropped}
	for _, name := range strings.Fields("badinv01 clerr ncl scalar02 quotbal ltgtruri lwsruri lwsstart trws badaspec baddn mismatch01 mismatch02 insuf multi01 mcl01 ipv6-bad") {
		codes[name] = 400
	}
	r, far := relaying(t, "t_relay")
	at := regexp.MustCompile(`(?i)((?:^|\r\n)(?:via|v)\s*:\s*SIP\s*/\s*[27].0\s*/\s*(?:UDP|TCP|TLS)\s+)([^;\s]+)`)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".dat")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := listenUDP(t, phoneHost)
			text := string(raw)
			if loc := at.FindStringSubmatchIndex(text); loc != nil { // responses come to the peer's port
				text = text[:loc[4]] + p.addr + text[loc[5]:]
			}
			c := rule{name: name, code: codes[name]}
			if name == "escruri" {
				c.sent = "INVITE sip:user@example.com SIP/2.0"
			}
			if c.code == 420 {
				p.send(r, text)
				if m := p.final(t); m.code != 420 || len(m.all("Unsupported")) != 1 {
					t.Errorf("%s", m.raw)
				}
				return
			}
			c.check(t, r, p, far, text)
		})
	}
}
