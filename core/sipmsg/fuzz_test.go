package sipmsg

import (
	"bytes"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func seed(f *testing.F) {
	for _, c := range validCases {
		f.Add([]byte(c.text))
	}
	for _, c := range invalidCases {
		if len(c.text) < 4096 {
			f.Add([]byte(c.text))
		}
	}
	f.Add([]byte(crlf(invite)))
	f.Add([]byte(crlf(plain)))
}

// sameFields compares header fields by name and value.
func sameFields(t *testing.T, what string, a, b *Message, skipA, skipB int) {
	t.Helper()
	if a.Len()-skipA != b.Len()-skipB {
		t.Fatalf("%s: %d header fields, were %d", what, b.Len()-skipB, a.Len()-skipA)
	}
	for i, j := skipA, skipB; i < a.Len(); i, j = i+1, j+1 {
		if a.HeaderID(i) == HMaxForwards && b.HeaderID(j) == HMaxForwards {
			continue
		}
		if !bytes.Equal(a.Name(i), b.Name(j)) || !bytes.Equal(a.Value(i), b.Value(j)) {
			t.Fatalf("%s: %s: %q became %s: %q", what, a.Name(i), a.Value(i), b.Name(j), b.Value(j))
		}
	}
}

func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(Message)
		if m.Parse(raw) != nil {
			return
		}
		problem := m.Check()
		facts(m)
		reply := m.AppendReply(nil, &Reply{Code: 400, Reason: "Bad Request", ToTag: []byte("x"), RecordRoute: true})
		hop := m.AppendHop(nil, "ACK", []byte("<sip:a@b>"))
		if problem != nil {
			wellFormed(t, m, reply)
			m.SetReceived([]byte("192.0.2.1"), 5060, false)
			m.AppendForward(nil, &Forward{MaxForwards: 1})
			return
		}
		head := m.buf[m.start:m.hdrEnd]
		for i, c := range head {
			if c == '\r' && head[i+1] != '\n' || c == '\n' && head[i-1] != '\r' {
				t.Fatalf("bare line break at %d in %q", i, head)
			}
		}
		missing := 0
		if m.First(HContentLength) < 0 {
			missing = 1
		}
		same := new(Message)
		if got := verdict(same, m.AppendTo(nil)); got != "" {
			t.Fatalf("after AppendTo: %s\n%q", got, same.Buffer())
		}
		if same.Len() != m.Len()+missing {
			t.Fatalf("%d header fields, were %d", same.Len(), m.Len())
		}
		before, after := facts(m), facts(same)
		delete(before, "headers")
		for name, v := range before {
			if after[name] != v {
				t.Fatalf("%s became %q, was %q", name, after[name], v)
			}
		}
		if missing == 0 && !bytes.Equal(same.Buffer(), m.Bytes()) {
			t.Fatalf("an unedited message changed:\n%q\n%q", same.Buffer(), m.Bytes())
		}
		if !m.IsRequest() {
			return
		}
		for _, out := range [][]byte{reply, hop} {
			if r := new(Message); r.Parse(out) != nil || r.Check() != nil {
				t.Fatalf("made of a good request, but bad: %v\n%q", r.Check(), out)
			}
		}
		forwarded(t, m)
	})
}

// wellFormed checks the reply to a bad request: its lines end as they must, and
// nothing stands in it twice.
func wellFormed(t *testing.T, m *Message, reply []byte) {
	if !m.IsRequest() {
		return
	}
	r := new(Message)
	if err := r.Parse(reply); err != nil || r.fault == problemBareLF || r.fault == problemBareCR || r.fault == problemTwice {
		t.Fatalf("bad reply: %v %v\n%q", err, r.fault, reply)
	}
}

// forwarded checks AppendForward: everything but the new Via, Max-Forwards,
// Content-Length and header fields in the Request-URI stays.
func forwarded(t *testing.T, m *Message) {
	out := m.AppendForward(nil, &Forward{Top: []byte("Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\n"), MaxForwards: 9})
	next := new(Message)
	if got := verdict(next, out); got != "" {
		t.Fatalf("after AppendForward: %s\n%q", got, out)
	}
	if next.MaxForwards() != 9 || !bytes.Equal(next.Body(), m.Body()) || !bytes.Equal(next.RURIText(), withoutHeaders(m.RURIText())) {
		t.Fatalf("forwarded %q", out)
	}
	full := new(Message)
	if err := full.Parse(m.AppendTo(nil)); err != nil { // with Content-Length
		t.Fatal(err)
	}
	top := 1
	if m.First(HMaxForwards) < 0 {
		top = 2
	}
	sameFields(t, "forward", full, next, 0, top)

	m.SetReceived([]byte("192.0.2.1"), 4711, false)
	if got := verdict(next, m.AppendForward(nil, &Forward{MaxForwards: 9})); got != "" {
		t.Fatalf("after SetReceived: %s\n%q", got, next.Buffer())
	}
	v, _ := next.Via()
	if string(v.Received) != "192.0.2.1" || v.HasRPort && v.RPort != 4711 {
		t.Fatalf("received %q rport %d in %q", v.Received, v.RPort, next.Get(HVia))
	}
}

// frames cuts a stream that arrives in pieces of the given sizes, in turn.
func frames(stream, sizes []byte) (out [][]byte, err error) {
	var f Framer
	var buf []byte
	for k := 0; len(stream) > 0; k++ {
		n := len(stream)
		if len(sizes) > 0 {
			n = min(n, int(sizes[k%len(sizes)])+1)
		}
		buf, stream = append(buf, stream[:n]...), stream[n:]
		for {
			n, err := f.Frame(buf)
			if err != nil {
				return out, err
			}
			if n == 0 {
				break
			}
			out, buf = append(out, buf[:n:n]), append([]byte(nil), buf[n:]...)
		}
	}
	return out, nil
}

func FuzzFramer(f *testing.F) {
	for _, c := range validCases {
		f.Add([]byte("\r\n\r\n"+c.text+c.text), []byte{0, 7, 2})
	}
	f.Add([]byte(compose(opts, "Subject: x\r\n Content-Length: 100")), []byte{3})
	f.Add([]byte(compose(opts, "-Content-Length", "Content-Length:\r\n 5", "", "12345")), []byte{1, 2})
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		want, wantErr := frames(stream, nil)
		got, gotErr := frames(stream, sizes)
		if gotErr != wantErr || len(got) != len(want) {
			t.Fatalf("%d messages and %v, in one piece %d and %v", len(got), gotErr, len(want), wantErr)
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("message %d is %q, in one piece %q", i, got[i], want[i])
			}
			m := new(Message)
			if m.Parse(want[i]) == nil && m.Check() == nil && int(m.body.end) != len(want[i]) {
				t.Fatalf("Parse ends at %d, the frame at %d: %q", m.body.end, len(want[i]), want[i])
			}
		}
	})
}

func FuzzURI(f *testing.F) {
	f.Add("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp")
	f.Add("sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:a@h;x=1;x=2")
	f.Add("sips:a:p@[2001:db8::1]:5061;lr", "sip:a@[2001:DB8:0::1]?x=1&x=2")
	f.Add("tel:+1-201-555-0123;ext=1", "tel:7042;phone-context=example.com")
	f.Add("urn:service:sos", "isbn:1")
	f.Fuzz(func(t *testing.T, x, y string) {
		a, err := ParseURI([]byte(x))
		if err != nil {
			return
		}
		if !EqualURI(&a, &a) {
			t.Fatalf("%q is not itself", x)
		}
		if bytes.ContainsAny(a.Raw, " \t\r\n<>\"\x00") {
			t.Fatalf("accepted %q", x)
		}
		copied, err := ParseURI([]byte(x))
		if err != nil || !EqualURI(&a, &copied) {
			t.Fatalf("%q parsed twice differs", x)
		}
		if n, err := ParseNameAddr([]byte("<" + x + ">;tag=1")); err != nil || string(n.URIText) != x {
			t.Fatalf("%q does not stand in angle brackets: %v", x, err)
		}
		b, err := ParseURI([]byte(y))
		if err == nil && EqualURI(&a, &b) != EqualURI(&b, &a) {
			t.Fatalf("%q and %q: not symmetric", x, y)
		}
	})
}

func FuzzNameAddr(f *testing.F) {
	for _, s := range []string{`sip:a@h;tag=1`, `"A \"<x>\", B" <sip:a@h?x=y> ;p="q;,"`, "A. B.\r\n <sip:a@h;lr>;q=0.5", `<sip:a@h>;x="\"`, `"\`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNameAddr(b)
		NextValue(b)
		Unquote(nil, b)
		if err != nil {
			return
		}
		n.Param("tag")
		n.URI()
		text := append([]byte(nil), n.Display...)
		text = append(append(append(text, " <"...), n.URIText...), '>')
		if len(n.Params) > 0 {
			text = append(append(text, ';'), n.Params...)
		}
		again, err := ParseNameAddr(text)
		if err != nil || !bytes.Equal(again.URIText, n.URIText) || !bytes.Equal(again.Display, n.Display) {
			t.Fatalf("%q became %q: %+v %v", b, text, again, err)
		}
		// One value in a list stays one value.
		if v, rest := NextValue(append(text, ",<sip:next@h>"...)); !bytes.Equal(v, Trim(text)) || string(rest) != "<sip:next@h>" {
			t.Fatalf("%q in a list is %q and %q", text, v, rest)
		}
	})
}

func FuzzVia(f *testing.F) {
	for _, s := range []string{"SIP/2.0/UDP h:5060;rport;branch=z9hG4bK1", "SIP / 2.0 / TCP [::1] : 5 ; received=2001:db8::1;rport=7", "SIP/2.0/ UDP h", "SIP/2.0/UDP h;maddr=\"x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseVia(b)
		if err != nil {
			return
		}
		v.ViaAddr()
		if len(v.Transport) == 0 || len(v.Host) == 0 || v.Branch != nil && !IsToken(v.Branch) {
			t.Fatalf("%q: %+v", b, v)
		}
		out := append([]byte("SIP/2.0/"), v.Transport...)
		out = append(append(out, ' '), v.Host...)
		if v.Port != 0 {
			out = appendUint(append(out, ':'), uint64(v.Port))
		}
		if v.Branch != nil {
			out = append(append(out, ";branch="...), v.Branch...)
		}
		w, err := ParseVia(out)
		if err != nil || !bytes.Equal(w.Host, v.Host) || w.Port != v.Port || !bytes.Equal(w.Transport, v.Transport) || !bytes.Equal(w.Branch, v.Branch) {
			t.Fatalf("%q became %q: %+v %v", b, out, w, err)
		}
	})
}

// FuzzDifferential reads what both parsers accept and compares the values that
// decide where a message belongs.
func FuzzDifferential(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(Message)
		if verdict(m, raw) != "" || bytes.Contains(raw[:m.hdrEnd], []byte("\r\n ")) || bytes.Contains(raw[:m.hdrEnd], []byte("\r\n\t")) {
			return // the other parser joins folded lines: values differ in white space
		}
		other, err := sip.NewParser().ParseSIP(raw[m.start:m.body.end])
		if err != nil {
			return
		}
		if req, ok := other.(*sip.Request); ok != m.IsRequest() {
			t.Fatalf("request: %v, there %v: %q", m.IsRequest(), ok, raw)
		} else if ok && !EqualFold(string(req.Method), m.MethodText()) { // it writes them in capitals
			t.Fatalf("method %q, there %q", m.MethodText(), req.Method)
		}
		if id := other.CallID(); id != nil && id.Value() != string(m.CallID()) {
			t.Fatalf("Call-ID %q, there %q", m.CallID(), id.Value())
		}
		if n, _, _ := m.CSeq(); other.CSeq() != nil && other.CSeq().SeqNo != n {
			t.Fatalf("CSeq %d, there %d", n, other.CSeq().SeqNo)
		}
		if from := other.From(); from != nil {
			tag, _ := from.Params.Get("tag")
			if tag != string(m.FromTag()) {
				t.Fatalf("From tag %q, there %q in %q", m.FromTag(), tag, m.Get(HFrom))
			}
		}
		if req, ok := other.(*sip.Request); ok {
			sameRURI(t, m, &req.Recipient)
		}
	})
}

// sameRURI compares the parts of the Request-URI rather than its text, which
// the other parser writes in its own order.
func sameRURI(t *testing.T, m *Message, u *sip.Uri) {
	r, _ := m.RURI()
	if r.Scheme != SIP && r.Scheme != SIPS {
		return
	}
	if u.User != string(r.User) || u.Host != string(r.HostName()) && u.Host != string(r.Host) || u.Port != int(r.Port) {
		t.Fatalf("user %q host %q port %d, there %q %q %d in %q", r.User, r.Host, r.Port, u.User, u.Host, u.Port, r.Raw)
	}
}
