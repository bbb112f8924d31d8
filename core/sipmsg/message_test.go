package sipmsg

import (
	"strings"
	"testing"
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const invite = `INVITE sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bKabc
Via: SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKdef, SIP/2.0/UDP last.example.net
Max-Forwards: 70
Record-Route: <sip:p1.example.net;lr>
f: "Alice \"A\" <x>" <sip:alice@example.com>;tag=a1
t: Bob <sip:bob@example.com>
i: 843817637684230@998sdasdh09
CSeq: 1 INVITE
m: <sip:alice@192.0.2.1:5062>
Subject: lunch
 at noon
X-Thing: untouched   spacing
l: 4
c: text/plain

body`

func parse(t testing.TB, text string) *Message {
	t.Helper()
	m := new(Message)
	if err := m.Parse([]byte(text)); err != nil {
		t.Fatalf("parse: %v", err)
	}
	return m
}

func TestIndex(t *testing.T) {
	m := parse(t, crlf(invite))
	if p := m.Check(); p != nil {
		t.Fatal(p)
	}
	if m.Method != INVITE || string(m.RURIText()) != "sip:bob@example.com" || string(m.Body()) != "body" {
		t.Errorf("method %v uri %q body %q", m.Method, m.RURIText(), m.Body())
	}
	if string(m.FromTag()) != "a1" || m.ToTag() != nil || string(m.CallID()) != "843817637684230@998sdasdh09" {
		t.Errorf("tags %q %q call-id %q", m.FromTag(), m.ToTag(), m.CallID())
	}
	v, err := m.Via()
	if err != nil || string(v.Branch) != "z9hG4bKabc" || !v.HasRPort || v.Port != 5062 {
		t.Errorf("via %+v %v", v, err)
	}
	n := 0
	for it := m.Values(HVia); it.Next(); n++ {
	}
	if n != 3 {
		t.Errorf("%d Via values, want 3", n)
	}
	if s := m.Get(HSubject); string(s) != "lunch\r\n at noon" {
		t.Errorf("folded value %q", s)
	}
	if i := m.Find("x-thing", 0); i < 0 || string(m.Value(i)) != "untouched   spacing" {
		t.Error("header not found by name")
	}
	if m.MaxForwards() != 70 {
		t.Errorf("Max-Forwards %d", m.MaxForwards())
	}
}

func TestForwardLeavesTheRestAlone(t *testing.T) {
	m := parse(t, crlf(invite))
	m.SetReceived([]byte("192.0.2.99"), 4711, false)
	m.SetRURI([]byte("sip:bob@192.0.2.4"))
	m.Append([]byte("P-Hint"), []byte("outbound"))
	m.Remove(m.Find("Subject", 0))
	out := string(m.AppendForward(nil, &Forward{Top: []byte("Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\n"), MaxForwards: 69}))
	want := crlf(invite)
	want = strings.Replace(want, "INVITE sip:bob@example.com SIP/2.0\r\n", "INVITE sip:bob@192.0.2.4 SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bKx\r\n", 1)
	want = strings.Replace(want, ";rport;branch=z9hG4bKabc", ";rport=4711;branch=z9hG4bKabc;received=192.0.2.99", 1)
	want = strings.Replace(want, "Max-Forwards: 70", "Max-Forwards: 69", 1)
	want = strings.Replace(want, "Subject: lunch\r\n at noon\r\n", "", 1)
	want = strings.Replace(want, "c: text/plain\r\n", "c: text/plain\r\nP-Hint: outbound\r\n", 1)
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestReplyCopiesWhatItMust(t *testing.T) {
	m := parse(t, crlf(invite))
	m.SetReceived([]byte("192.0.2.99"), 4711, false)
	m.Insert([]byte("X-First"), []byte("never in a reply"))
	m.Replace(m.First(HTo), []byte("<sip:changed@example.com>"))
	out := string(m.AppendReply(nil, &Reply{Code: 180, Reason: "Ringing", ToTag: []byte("b2"), RecordRoute: true}))
	want := crlf(`SIP/2.0 180 Ringing
Via: SIP/2.0/UDP 192.0.2.1:5062;rport=4711;branch=z9hG4bKabc;received=192.0.2.99
Via: SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKdef, SIP/2.0/UDP last.example.net
Record-Route: <sip:p1.example.net;lr>
f: "Alice \"A\" <x>" <sip:alice@example.com>;tag=a1
t: Bob <sip:bob@example.com>;tag=b2
i: 843817637684230@998sdasdh09
CSeq: 1 INVITE
Content-Length: 0

`)
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestEditsComposeAndRestore(t *testing.T) {
	m := parse(t, crlf(invite))
	before := string(m.AppendTo(nil))
	if before != crlf(invite) {
		t.Fatalf("an unedited message changed:\n%s", before)
	}
	var k Mark
	m.Mark(&k)
	m.Append([]byte("X-A"), []byte("1"))
	m.Replace(m.Find("X-A", 0), []byte("2"))
	m.Replace(m.Find("X-Thing", 0), []byte("new"))
	m.Replace(m.Find("X-Thing", 0), []byte("newer"))
	m.SetBody([]byte("text/html"), []byte("longer body"))
	m.RemoveAll(HRecordRoute)
	out := string(m.AppendTo(nil))
	for _, want := range []string{"X-A: 2\r\n", "X-Thing: newer\r\n", "l: 11\r\n", "c: text/html\r\n", "\r\n\r\nlonger body"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "Record-Route") || strings.Contains(out, "X-A: 1") {
		t.Errorf("removed text is still in\n%s", out)
	}
	if i := m.Find("X-A", 0); i < 0 || string(m.Value(i)) != "2" {
		t.Error("an added header is not found")
	}
	m.Remove(m.Find("X-Thing", 0))
	if out := string(m.AppendTo(nil)); strings.Contains(out, "newer") || strings.Contains(out, "X-Thing") {
		t.Errorf("a replaced header was not removed:\n%s", out)
	}
	m.Restore(&k)
	if out := string(m.AppendTo(nil)); out != before {
		t.Errorf("restored message differs:\n%s", out)
	}
}

func TestRemoveVia(t *testing.T) {
	m := parse(t, crlf("SIP/2.0 200 OK\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\nVia: SIP/2.0/UDP b;branch=z9hG4bK2 , SIP/2.0/UDP c:7;branch=z9hG4bK3\nContent-Length: 0\n\n"))
	next, ok := m.RemoveVia()
	if !ok || string(next.Host) != "b" {
		t.Fatalf("next via %+v %v", next, ok)
	}
	if next, ok = m.RemoveVia(); !ok || string(next.Host) != "c" || next.Port != 7 {
		t.Fatalf("next via %+v %v", next, ok)
	}
	want := crlf("SIP/2.0 200 OK\nVia: SIP/2.0/UDP c:7;branch=z9hG4bK3\nContent-Length: 0\n\n")
	if out := string(m.AppendTo(nil)); out != want {
		t.Errorf("got\n%s", out)
	}
	if _, ok = m.RemoveVia(); ok {
		t.Error("there is no third Via")
	}
}

func TestCompactKeepsTheIndex(t *testing.T) {
	m := parse(t, crlf(invite))
	m.SetReceived([]byte("192.0.2.99"), 4711, false)
	m.Append([]byte("X-A"), []byte("1"))
	want := string(m.AppendTo(nil))
	big := m.Buffer()
	m.Compact(make([]byte, 0, m.Size()))
	for i := range big {
		big[i] = 'x'
	}
	if got := string(m.AppendTo(nil)); got != want {
		t.Errorf("got\n%s", got)
	}
	v, _ := m.Via()
	if string(v.Received) != "192.0.2.99" || v.RPort != 4711 {
		t.Errorf("received %q rport %d", v.Received, v.RPort)
	}
}

func TestFramerAnySegmentation(t *testing.T) {
	one := crlf(invite)
	stream := one + crlf("OPTIONS sip:a SIP/2.0\nContent-Length : 0\n\n") + one
	for step := 1; step < len(one)+3; step++ {
		var f Framer
		var buf []byte
		var got []string
		for i := 0; i < len(stream); i += step {
			buf = append(buf, stream[i:min(i+step, len(stream))]...)
			for {
				n, err := f.Frame(buf)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				got = append(got, string(buf[:n]))
				buf = buf[n:]
			}
		}
		if len(got) != 3 || strings.Join(got, "") != stream {
			t.Fatalf("step %d: %d messages", step, len(got))
		}
	}
	for _, bad := range []string{"Content-Length: 1\nl: 1\n", "Content-Length: -1\n", "Content-Length:\n", ""} {
		var f Framer
		if _, err := f.Frame([]byte(crlf("OPTIONS sip:a SIP/2.0\n" + bad + "\n"))); err != ErrLength {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestForwardDoesNotAllocate(t *testing.T) {
	raw := []byte(crlf(invite))
	m := new(Message)
	dst := make([]byte, 0, 4096)
	f := &Forward{Top: []byte("Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\n"), MaxForwards: 69}
	v4 := []byte("192.0.2.99")
	if n := testing.AllocsPerRun(100, func() {
		if m.Parse(raw) != nil {
			t.Fatal("parse")
		}
		m.SetReceived(v4, 4711, false)
		dst = m.AppendForward(dst[:0], f)
	}); n != 0 {
		t.Errorf("%v allocations for parse and forward", n)
	}
}

func BenchmarkParseForward(b *testing.B) {
	raw := []byte(crlf(invite))
	m := new(Message)
	dst := make([]byte, 0, 4096)
	f := &Forward{Top: []byte("Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\n"), MaxForwards: 69}
	b.ReportAllocs()
	for b.Loop() {
		m.Parse(raw)
		dst = m.AppendForward(dst[:0], f)
	}
}

func BenchmarkParseCheck(b *testing.B) {
	raw := []byte(strings.Replace(crlf(invite), "[2001:db8::1]", "p.example.net", 1))
	m := new(Message)
	b.ReportAllocs()
	for b.Loop() {
		m.Parse(raw)
		if m.Check() != nil {
			b.Fatal()
		}
	}
}
