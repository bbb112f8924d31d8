package test

import (
	"bufio"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// message is a SIP message as it came over the wire.
type message struct {
	raw     string
	line    string // start line
	method  string
	code    int
	headers [][2]string
	body    string
	from    string // source address
}

// parse takes a message apart; nil if it is none.
func parse(raw string) *message {
	head, body, ok := strings.Cut(raw, "\r\n\r\n")
	if !ok {
		return nil
	}
	lines := strings.Split(head, "\r\n")
	m := &message{raw: raw, line: lines[0], body: body}
	if rest, ok := strings.CutPrefix(m.line, "SIP/2.0 "); ok {
		code, _, _ := strings.Cut(rest, " ")
		m.code, _ = strconv.Atoi(code)
	} else {
		m.method, _, _ = strings.Cut(m.line, " ")
	}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		m.headers = append(m.headers, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	return m
}

// all returns the values of a header field, divided at commas for Via and the
// routes.
func (m *message) all(name string) (values []string) {
	for _, h := range m.headers {
		if !strings.EqualFold(h[0], name) {
			continue
		}
		switch name {
		case "Via", "Record-Route", "Route", "Contact":
			for v := range strings.SplitSeq(h[1], ",") {
				values = append(values, strings.TrimSpace(v))
			}
		default:
			values = append(values, h[1])
		}
	}
	return values
}

func (m *message) h(name string) string {
	if v := m.all(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (m *message) branch() string { return param(m.h("Via"), "branch") }

// ruri returns the Request-URI.
func (m *message) ruri() string {
	if f := strings.Fields(m.line); len(f) == 3 {
		return f[1]
	}
	return ""
}

// param returns a parameter of a header value.
func param(value, name string) string {
	for p := range strings.SplitSeq(value, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, name) {
			return strings.TrimRight(v, ">")
		}
	}
	return ""
}

// uri returns what is between < and >.
func uri(value string) string {
	_, rest, ok := strings.Cut(value, "<")
	if !ok {
		return value
	}
	u, _, _ := strings.Cut(rest, ">")
	return u
}

// reply makes a response to a request. The To tag is the callee's name, so
// that it stays the same.
func (m *message) reply(p *peer, code int, reason string, more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", code, reason)
	for _, h := range m.headers {
		switch h[0] {
		case "Via", "From", "Call-ID", "CSeq", "Record-Route":
			fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		case "To":
			to := h[1]
			if param(to, "tag") == "" && code > 100 {
				to += ";tag=" + p.tag
			}
			fmt.Fprintf(&b, "To: %s\r\n", to)
		}
	}
	if m.method == "INVITE" {
		fmt.Fprintf(&b, "Contact: <%s>\r\n", p.contact())
	}
	for _, l := range more {
		b.WriteString(l + "\r\n")
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	return b.String()
}

// peer is a SIP element of the tests: a socket, and what came in over it.
type peer struct {
	t     testing.TB
	proto string // UDP or TCP
	addr  string // host:port of its socket
	tag   string
	user  string

	udp net.PacketConn
	tcp net.Conn

	in      chan *message
	backlog []*message
	once    sync.Once
}

func listenUDP(t testing.TB, host string) *peer {
	t.Helper()
	c, err := net.ListenPacket("udp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	c.(*net.UDPConn).SetReadBuffer(4 << 20)
	p := &peer{t: t, proto: "UDP", addr: c.LocalAddr().String(), tag: unique("t"), user: "peer", udp: c, in: make(chan *message, 10000)}
	t.Cleanup(p.close)
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			p.take(string(buf[:n]), from.String())
		}
	}()
	return p
}

func dialTCP(t testing.TB, r *router, host string) *peer {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: patience}
	c, err := d.Dial("tcp", r.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, proto: "TCP", addr: c.LocalAddr().String(), tag: unique("t"), user: "peer", tcp: c, in: make(chan *message, 10000)}
	t.Cleanup(p.close)
	go func() {
		for b := bufio.NewReader(c); ; {
			raw, err := readStream(b)
			if err != nil {
				return
			}
			p.take(raw, c.RemoteAddr().String())
		}
	}()
	return p
}

// readStream reads one message of a stream.
func readStream(b *bufio.Reader) (string, error) {
	var head strings.Builder
	length := 0
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" && head.Len() == 0 {
			continue
		}
		head.WriteString(line)
		if name, v, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
			length, _ = strconv.Atoi(strings.TrimSpace(v))
		}
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(b, body); err != nil {
		return "", err
	}
	return head.String() + string(body), nil
}

func (p *peer) take(raw, from string) {
	if m := parse(raw); m != nil {
		m.from = from
		select {
		case p.in <- m:
		default: // nobody reads: a flood of answers that no test looks at
		}
	}
}

func (p *peer) close() {
	p.once.Do(func() {
		if p.udp != nil {
			p.udp.Close()
		} else {
			p.tcp.Close()
		}
	})
}

// contact is the peer's own URI.
func (p *peer) contact() string {
	u := "sip:" + p.user + "@" + p.addr
	if p.proto != "UDP" {
		u += ";transport=" + strings.ToLower(p.proto)
	}
	return u
}

// send sends text to the router.
func (p *peer) send(r *router, text string) {
	p.t.Helper()
	if err := p.sendRaw(r, text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) sendRaw(r *router, text string) error {
	var err error
	if p.udp != nil {
		_, err = p.udp.WriteTo([]byte(text), net.UDPAddrFromAddrPort(r.addr))
	} else {
		p.tcp.SetWriteDeadline(time.Now().Add(patience))
		_, err = io.WriteString(p.tcp, text)
	}
	return err
}

// poll returns the first message that matches, also of those that came
// earlier; nil if none does in time.
func (p *peer) poll(d time.Duration, match func(*message) bool) *message {
	for i, m := range p.backlog {
		if match(m) {
			p.backlog = slices.Delete(p.backlog, i, i+1)
			return m
		}
	}
	for end := time.After(d); ; {
		select {
		case m := <-p.in:
			if match(m) {
				return m
			}
			p.backlog = append(p.backlog, m)
		case <-end:
			return nil
		}
	}
}

// expect waits for a request.
func (p *peer) expect(method string) *message {
	p.t.Helper()
	m := p.poll(patience, func(m *message) bool { return m.method == method })
	if m == nil {
		p.t.Fatalf("%s: no %s came; there were %s", p.user, method, p.seen())
	}
	return m
}

// response waits for a response to q with a code; 0 stands for any final one.
func (p *peer) response(q *request, code int) *message {
	p.t.Helper()
	m := p.poll(patience, func(m *message) bool {
		return m.branch() == q.branch && strings.HasSuffix(m.h("CSeq"), " "+q.method) && (code == 0 && m.code >= 200 || code != 0 && m.code == code)
	})
	if m == nil {
		p.t.Fatalf("%s: no response %d to %s; there were %s", p.user, code, q.method, p.seen())
	}
	return m
}

func (p *peer) seen() string {
	var lines []string
	for _, m := range p.backlog {
		lines = append(lines, m.line)
	}
	return fmt.Sprintf("%q", lines)
}

// nothing checks that no message that matches has come up to now. A ping
// through the router makes sure that everything before it was handled.
func (p *peer) nothing(r *router, what string, match func(*message) bool) {
	p.t.Helper()
	ping(p.t, r)
	if m := p.poll(100*time.Millisecond, match); m != nil {
		p.t.Errorf("%s: came to %s:\n%s", what, p.addr, m.raw)
	}
}

func anything(*message) bool { return true }

// ping sends OPTIONS to the router and returns how long the answer took.
func ping(t testing.TB, r *router) time.Duration {
	t.Helper()
	p := listenUDP(t, phoneHost)
	defer p.close()
	return p.ping(r)
}

func (p *peer) ping(r *router) time.Duration {
	p.t.Helper()
	q := p.request("OPTIONS", "sip:"+r.addr.String(), "sip:ping@example.net", "sip:"+r.addr.String())
	begin := time.Now()
	if m := p.do(r, q); m.code != 200 {
		p.t.Fatalf("OPTIONS: %s", m.line)
	}
	return time.Since(begin)
}

// request is a request that a peer sends.
type request struct {
	method, ruri, from, to         string // from and to are URIs
	fromTag, toTag, branch, callID string
	cseq, hops                     int
	headers                        []string
	body                           string
	via                            string // parameters of Via
}

func (p *peer) request(method, ruri, from, to string, headers ...string) *request {
	return &request{
		method: method, ruri: ruri, from: from, to: to, headers: headers,
		fromTag: unique("f"), branch: "z9hG4bK" + unique("b"), callID: unique("c") + "@test", cseq: 1, hops: 70,
	}
}

// again makes q a new request of the same dialog or call.
func (q *request) again() *request {
	c := *q
	c.branch = "z9hG4bK" + unique("b")
	c.cseq++
	c.headers = slices.DeleteFunc(slices.Clone(q.headers), func(h string) bool { return strings.Contains(h, "uthorization:") })
	return &c
}

// clone returns a copy of q that may be changed.
func (q *request) clone() *request {
	c := *q
	c.headers = slices.Clone(q.headers)
	return &c
}

func (q *request) text(p *peer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=%s;rport%s\r\n", q.method, q.ruri, p.proto, p.addr, q.branch, q.via)
	fmt.Fprintf(&b, "Max-Forwards: %d\r\nFrom: <%s>;tag=%s\r\nTo: <%s>", q.hops, q.from, q.fromTag, q.to)
	if q.toTag != "" {
		b.WriteString(";tag=" + q.toTag)
	}
	fmt.Fprintf(&b, "\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", q.callID, q.cseq, q.method)
	own := false
	for _, h := range q.headers {
		own = own || strings.HasPrefix(h, "Contact:")
		b.WriteString(h + "\r\n")
	}
	if q.method == "INVITE" && !own {
		fmt.Fprintf(&b, "Contact: <%s>\r\n", p.contact())
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(q.body), q.body)
	return b.String()
}

// do sends a request and returns its final response, which it acknowledges
// if it refuses an INVITE.
func (p *peer) do(r *router, q *request) *message {
	p.t.Helper()
	var m *message
	for range 10 {
		p.send(r, q.text(p))
		wait := time.Second
		if p.udp == nil {
			wait = patience
		}
		m = p.poll(wait, func(m *message) bool {
			return m.code >= 200 && m.branch() == q.branch && strings.HasSuffix(m.h("CSeq"), " "+q.method)
		})
		if m != nil {
			break
		}
	}
	if m == nil {
		p.t.Fatalf("%s: no final response to %s %s; there were %s", p.user, q.method, q.ruri, p.seen())
	}
	p.acknowledge(r, q, m)
	return m
}

// acknowledge sends the ACK to a final response other than 2xx.
func (p *peer) acknowledge(r *router, q *request, m *message) {
	p.t.Helper()
	if q.method != "INVITE" || m.code < 300 {
		return
	}
	a := q.clone()
	a.method, a.toTag = "ACK", param(m.h("To"), "tag")
	text := a.text(p)
	p.send(r, strings.Replace(text, fmt.Sprintf("CSeq: %d INVITE", q.cseq), fmt.Sprintf("CSeq: %d ACK", q.cseq), 1))
}

// authorize answers a challenge.
func (q *request) authorize(m *message, user, password string) *request {
	name, challenge := "Authorization", m.h("WWW-Authenticate")
	if m.code == 407 {
		name, challenge = "Proxy-Authorization", m.h("Proxy-Authenticate")
	}
	c := q.again()
	c.headers = append(c.headers, name+": "+credentials(challenge, c.method, c.ruri, user, password, 1))
	return c
}

// credentials are the digest of RFC 2617 with qop=auth.
func credentials(challenge, method, uri, user, password string, nc int) string {
	realm, nonce := quoted(challenge, "realm"), quoted(challenge, "nonce")
	ha1 := hash(user + ":" + realm + ":" + password)
	ha2 := hash(method + ":" + uri)
	count := fmt.Sprintf("%08x", nc)
	response := hash(strings.Join([]string{ha1, nonce, count, "0a4f113b", "auth", ha2}, ":"))
	return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=MD5, cnonce="0a4f113b", qop=auth, nc=%s`,
		user, realm, nonce, uri, response, count)
}

func hash(s string) string { return fmt.Sprintf("%x", md5.Sum([]byte(s))) }

func quoted(challenge, name string) string {
	_, rest, ok := strings.Cut(challenge, name+`="`)
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// doAs sends a request, and once more with credentials if it is challenged.
func (p *peer) doAs(r *router, q *request, user, password string) (*request, *message) {
	p.t.Helper()
	m := p.do(r, q)
	if m.code == 401 || m.code == 407 {
		q = q.authorize(m, user, password)
		m = p.do(r, q)
	}
	return q, m
}

// register registers a user of example.com, whose password is its name.
func (p *peer) register(r *router, user string) {
	p.t.Helper()
	p.user = user
	aor := "sip:" + user + "@example.com"
	q := p.request("REGISTER", "sip:example.com", aor, aor, "Contact: <"+p.contact()+">", "Expires: 600")
	if _, m := p.doAs(r, q, user, user); m.code != 200 {
		p.t.Fatalf("REGISTER of %s: %s", user, m.line)
	}
}

// phone is a registered peer over UDP.
func phone(t testing.TB, r *router, user string) *peer {
	t.Helper()
	p := listenUDP(t, phoneHost)
	p.register(r, user)
	return p
}

// dialog is one end's view of a call.
type dialog struct {
	r      *router
	p      *peer
	q      request // its next request, but for method and branch
	invite *request
}

// ring sends an INVITE and returns when the callee rings.
func ring(r *router, caller, callee *peer, headers ...string) (invite *request, got *message) {
	caller.t.Helper()
	invite = caller.request("INVITE", "sip:"+callee.user+"@example.com", "sip:"+caller.user+"@example.com", "sip:"+callee.user+"@example.com", headers...)
	caller.send(r, invite.text(caller))
	m := caller.poll(patience, func(m *message) bool { return m.branch() == invite.branch && m.code != 0 })
	if m == nil {
		caller.t.Fatal("no answer to INVITE")
	}
	if m.code == 407 {
		caller.acknowledge(r, invite, m)
		invite = invite.authorize(m, caller.user, caller.user)
		caller.send(r, invite.text(caller))
	}
	got = callee.expect("INVITE")
	callee.sendRaw(r, got.reply(callee, 180, "Ringing"))
	caller.response(invite, 180)
	return invite, got
}

// answer answers a ringing call and returns the ends of the dialog.
func answer(r *router, caller, callee *peer, invite *request, got *message) (a, b *dialog) {
	caller.t.Helper()
	callee.sendRaw(r, got.reply(callee, 200, "OK"))
	ok := caller.response(invite, 200)
	a = callerEnd(r, caller, invite, ok)
	a.ack()
	callee.expect("ACK")
	return a, calleeEnd(r, callee, invite, got)
}

// calleeEnd is the callee's view of an INVITE that it answers.
func calleeEnd(r *router, callee *peer, invite *request, got *message) *dialog {
	b := &dialog{r: r, p: callee, q: request{
		ruri: uri(got.h("Contact")), from: invite.to, to: invite.from, fromTag: callee.tag, toTag: invite.fromTag,
		callID: invite.callID, cseq: 100, hops: 70,
	}}
	for _, rr := range got.all("Record-Route") {
		b.q.headers = append(b.q.headers, "Route: "+rr)
	}
	return b
}

// callerEnd is the caller's view after a 200.
func callerEnd(r *router, caller *peer, invite *request, ok *message) *dialog {
	a := &dialog{r: r, p: caller, invite: invite, q: request{
		ruri: uri(ok.h("Contact")), from: invite.from, to: invite.to, fromTag: invite.fromTag, toTag: param(ok.h("To"), "tag"),
		callID: invite.callID, cseq: invite.cseq, hops: 70,
	}}
	routes := ok.all("Record-Route")
	slices.Reverse(routes)
	for _, rr := range routes {
		a.q.headers = append(a.q.headers, "Route: "+rr)
	}
	return a
}

// next makes a request in the dialog; all but ACK need a new CSeq before.
func (d *dialog) next(method string) *request {
	q := d.q
	q.method, q.branch = method, "z9hG4bK"+unique("b")
	return &q
}

func (d *dialog) ack() {
	d.p.send(d.r, d.next("ACK").text(d.p))
}

// send sends a request in the dialog.
func (d *dialog) send(method string) *request {
	d.p.t.Helper()
	d.q.cseq++
	q := d.next(method)
	d.p.send(d.r, q.text(d.p))
	return q
}

// bye ends the call; other is the other end.
func (d *dialog) bye(other *peer) {
	d.p.t.Helper()
	q := d.send("BYE")
	got := other.expect("BYE")
	other.sendRaw(d.r, got.reply(other, 200, "OK"))
	d.p.response(q, 200)
}

// talk sets a call up.
func talk(r *router, caller, callee *peer, headers ...string) (a, b *dialog) {
	caller.t.Helper()
	invite, got := ring(r, caller, callee, headers...)
	return answer(r, caller, callee, invite, got)
}
