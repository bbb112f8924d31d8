package sipmsg

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

const plain = `INVITE sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP a.example.net;branch=z9hG4bK1, SIP/2.0/TCP b.example.net , SIP/2.0/TCP c.example.net
Route: <sip:r1.example.net;lr>, <sip:r2.example.net;lr>
Max-Forwards: 70
From: <sip:alice@example.com>;tag=a1
To: Bob <sip:bob@example.com>
Call-ID: 1@a
CSeq: 1 INVITE
Subject:
X-Empty:
Route: "a, b" <sip:r3.example.net;lr>
Content-Length: 4

body`

// field is a header line of the naive model; id is the index that the message
// gave it.
type field struct {
	id          int
	name, value string
}

// model is what a message with edits should be, kept as plain text.
type model struct {
	uri, body string
	fields    []field
	front     int // how many were inserted before all others
}

func (m model) clone() model {
	m.fields = append([]field(nil), m.fields...)
	return m
}

func newModel(m *Message) model {
	mod := model{uri: string(m.RURIText()), body: string(m.Body())}
	for i := 0; i < m.Len(); i++ {
		mod.fields = append(mod.fields, field{id: i, name: string(m.Name(i)), value: string(m.Value(i))})
	}
	return mod
}

func (m *model) index(id int) int {
	for i, f := range m.fields {
		if f.id == id {
			return i
		}
	}
	return -1
}

func (m *model) first(name string) int {
	for i, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			return i
		}
	}
	return -1
}

func (m *model) remove(i int) {
	if i < m.front {
		m.front--
	}
	m.fields = append(m.fields[:i], m.fields[i+1:]...)
}

func (m *model) add(at int, f field) {
	m.fields = append(m.fields[:at], append([]field{f}, m.fields[at:]...)...)
}

// compare writes the message, reads it again and compares it to the model.
func (m *model) compare(msg *Message) error {
	var again Message
	out := msg.AppendTo(nil)
	if err := again.Parse(out); err != nil {
		return fmt.Errorf("%w in\n%s", err, out)
	}
	want := m.clone()
	if i := want.first("Content-Length"); i >= 0 {
		want.fields[i].value = fmt.Sprint(len(m.body))
	} else {
		want.fields = append(want.fields, field{name: "Content-Length", value: fmt.Sprint(len(m.body))})
	}
	got := newModel(&again)
	if got.uri != want.uri || got.body != want.body || len(got.fields) != len(want.fields) {
		return fmt.Errorf("%q %q %d fields, want %q %q %d in\n%s", got.uri, got.body, len(got.fields), want.uri, want.body, len(want.fields), out)
	}
	for i, f := range want.fields {
		if got.fields[i].name != f.name || got.fields[i].value != f.value {
			return fmt.Errorf("field %d is %s: %s, want %s: %s in\n%s", i, got.fields[i].name, got.fields[i].value, f.name, f.value, out)
		}
	}
	for _, id := range []HeaderID{HVia, HRoute, HSubject, HContact} {
		seen := ""
		for i := msg.First(id); i >= 0; i = msg.Next(i) {
			seen += string(msg.Value(i)) + "\n"
		}
		expect := ""
		for _, f := range m.fields {
			if LookupHeader(f.name) == id {
				expect += f.value + "\n"
			}
		}
		if seen != expect {
			return fmt.Errorf("%v values are\n%swant\n%s", id, seen, expect)
		}
	}
	return m.compareForward(msg, want)
}

func (m *model) compareForward(msg *Message, want model) error {
	var again Message
	out := msg.AppendForward(nil, &Forward{MaxForwards: 33})
	if err := again.Parse(out); err != nil {
		return fmt.Errorf("%w in\n%s", err, out)
	}
	if i := want.first("Max-Forwards"); i >= 0 {
		want.fields[i].value = "33"
	} else {
		want.add(0, field{name: "Max-Forwards", value: "33"})
	}
	if got, expect := fmt.Sprint(lines(newModel(&again))), fmt.Sprint(lines(want)); got != expect {
		return fmt.Errorf("forwarded\n%s\nwant\n%s", got, expect)
	}
	return nil
}

func lines(m model) (out []string) {
	for _, f := range m.fields {
		out = append(out, f.name+": "+f.value)
	}
	return append(out, m.uri, m.body)
}

// step does one random edit on both.
func step(r *rand.Rand, m *Message, mod *model) string {
	names := []string{"Route", "X-A", "Via", "Subject", "Contact", "Max-Forwards"}
	values := []string{"", "1", "<sip:x@example.net>", "one, two,three", strings.Repeat("long", 20)}
	name, value := names[r.Intn(len(names))], values[r.Intn(len(values))]
	if name == "Max-Forwards" && mod.first(name) >= 0 {
		name = "X-B"
	}
	id := r.Intn(m.Len())
	at := mod.index(id)
	switch op := r.Intn(7); op {
	case 0:
		mod.fields = append(mod.fields, field{id: m.Len(), name: name, value: value})
		m.Append([]byte(name), []byte(value))
		return "append " + name + ": " + value
	case 1:
		mod.add(mod.front, field{id: m.Len(), name: name, value: value})
		mod.front++
		m.Insert([]byte(name), []byte(value))
		return "insert " + name + ": " + value
	case 2:
		m.Remove(id)
		if at >= 0 {
			mod.remove(at)
		}
		return fmt.Sprint("remove ", id)
	case 3:
		m.Replace(id, []byte(value))
		if at >= 0 {
			mod.fields[at].value = value
		}
		return fmt.Sprint("replace ", id, " ", value)
	case 4:
		here := m.RemoveTopValue(id)
		if at >= 0 {
			_, rest := NextValue([]byte(mod.fields[at].value))
			if mod.fields[at].value = string(Trim(rest)); !here {
				mod.remove(at)
			}
		}
		return fmt.Sprint("remove top value of ", id)
	case 5:
		mod.body = values[r.Intn(len(values))]
		m.SetBody(nil, []byte(mod.body))
		return "set body " + mod.body
	default:
		mod.uri = fmt.Sprintf("sip:u%d@example.org", r.Intn(1000))
		m.SetRURI([]byte(mod.uri))
		return "set uri"
	}
}

func TestEditsAgainstModel(t *testing.T) {
	for seed := int64(1); seed <= 3000; seed++ {
		r := rand.New(rand.NewSource(seed))
		text := crlf(plain)
		if seed%3 == 0 {
			text = strings.Replace(text, "Content-Length: 4\r\n", "", 1)
		}
		m := parse(t, text)
		mod := newModel(m)
		var mark Mark
		var marked model
		haveMark := false
		var log []string
		for n := r.Intn(14) + 1; n > 0; n-- {
			switch k := r.Intn(12); {
			case k == 0:
				m.Mark(&mark)
				marked, haveMark = mod.clone(), true
				log = append(log, "mark")
			case k == 1 && haveMark:
				m.Restore(&mark)
				mod = marked.clone()
				log = append(log, "restore")
			default:
				log = append(log, step(r, m, &mod))
			}
			if err := mod.compare(m); err != nil {
				t.Fatalf("seed %d, after\n%s\n%v", seed, strings.Join(log, "\n"), err)
			}
		}
	}
}

func TestReplyFromAnEditedRequest(t *testing.T) {
	m := parse(t, crlf(plain))
	m.SetReceived([]byte("192.0.2.9"), 5071, false)
	want := string(m.AppendReply(nil, &Reply{Code: 404, Reason: "Not Found", ToTag: []byte("t")}))
	if !strings.Contains(want, "branch=z9hG4bK1;received=192.0.2.9, SIP") || !strings.Contains(want, "To: Bob <sip:bob@example.com>;tag=t\r\n") {
		t.Fatalf("reply\n%s", want)
	}
	m.Replace(m.First(HTo), []byte("<sip:x@example.com>"))
	m.Replace(m.First(HCallID), []byte("changed"))
	m.Remove(m.First(HFrom))
	m.Insert([]byte("Via"), []byte("SIP/2.0/UDP never.example.net"))
	m.SetBody([]byte("text/plain"), []byte("never"))
	if got := string(m.AppendReply(nil, &Reply{Code: 404, Reason: "Not Found", ToTag: []byte("t")})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m = parse(t, crlf(plain))
	m.Replace(m.First(HVia), []byte("SIP/2.0/UDP changed.example.net"))
	got := string(m.AppendReply(nil, &Reply{Code: 404, Reason: "Not Found"}))
	if !strings.Contains(got, "\r\nVia: SIP/2.0/UDP a.example.net;branch=z9hG4bK1, SIP/2.0/TCP b") {
		t.Errorf("a replaced Via in\n%s", got)
	}
	m = parse(t, crlf(strings.Replace(plain, "To: Bob <sip:bob@example.com>", "To: Bob <sip:bob@example.com>;tag=had", 1)))
	m.Remove(m.First(HTo))
	if got := string(m.AppendReply(nil, &Reply{Code: 404, Reason: "Not Found", ToTag: []byte("t")})); !strings.Contains(got, ";tag=had\r\n") {
		t.Errorf("the tag of a removed To changed in\n%s", got)
	}
}

func TestHopFromAnEditedRequest(t *testing.T) {
	m := parse(t, crlf(plain))
	m.RemoveAll(HRoute)
	m.Append([]byte("Route"), []byte("<sip:new.example.net;lr>"))
	m.Replace(m.First(HFrom), []byte("<sip:changed@example.com>;tag=c"))
	got := string(m.AppendHop(nil, "CANCEL", nil))
	want := crlf(`CANCEL sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP a.example.net;branch=z9hG4bK1
Max-Forwards: 70
From: <sip:changed@example.com>;tag=c
To: Bob <sip:bob@example.com>
Call-ID: 1@a
Route: <sip:new.example.net;lr>
CSeq: 1 CANCEL
Content-Length: 0

`)
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestSetReceived(t *testing.T) {
	const ip, port = "192.0.2.9", 5071
	for _, c := range []struct {
		via, want string
		same      bool
	}{
		{"SIP/2.0/UDP h;branch=z9hG4bK1", "SIP/2.0/UDP h;branch=z9hG4bK1;received=192.0.2.9", false},
		{"SIP/2.0/UDP h;branch=z9hG4bK1", "SIP/2.0/UDP h;branch=z9hG4bK1", true},
		{"SIP/2.0/UDP h;rport", "SIP/2.0/UDP h;rport=5071;received=192.0.2.9", true},
		{"SIP/2.0/UDP h ; rport ;x, SIP/2.0/UDP i;rport", "SIP/2.0/UDP h ; rport=5071 ;x;received=192.0.2.9, SIP/2.0/UDP i;rport", false},
		{"SIP/2.0/UDP h;received=198.51.100.66;branch=z9hG4bK1", "SIP/2.0/UDP h;received=192.0.2.9;branch=z9hG4bK1", true},
		{"SIP/2.0/UDP h;rport=9;received=198.51.100.66", "SIP/2.0/UDP h;rport=5071;received=192.0.2.9", false},
		{"SIP/2.0/UDP h;received=198.51.100.66;rport", "SIP/2.0/UDP h;received=192.0.2.9;rport=5071", false},
	} {
		m := parse(t, compose(opts, "Via: "+c.via))
		m.SetReceived([]byte(ip), port, c.same)
		m.SetReceived([]byte(ip), port, c.same)
		again := parse(t, string(m.AppendTo(nil)))
		if got := string(again.Get(HVia)); got != c.want {
			t.Errorf("%s: %s, want %s", c.via, got, c.want)
		}
		v, err := m.Via()
		w, _ := again.Via()
		if err != nil || string(v.Received) != string(w.Received) || v.RPort != w.RPort {
			t.Errorf("%s: %q %d, on the wire %q %d", c.via, v.Received, v.RPort, w.Received, w.RPort)
		}
	}
}

func TestEditsBeyondTheRoom(t *testing.T) {
	m := parse(t, crlf(plain))
	big := []byte(strings.Repeat("x", 40000))
	m.SetBody(nil, big)
	before := string(m.AppendTo(nil))
	m.SetBody(nil, big)
	m.SetRURI(big)
	m.Append([]byte("X"), big)
	m.Replace(m.First(HTo), big)
	if got := string(m.AppendTo(nil)); got != before {
		t.Error("an edit without room changed the message")
	}
	m = parse(t, crlf(plain))
	m.Append([]byte("X-"+strings.Repeat("n", 30000)), []byte("v"))
	i := m.Len() - 1
	before = string(m.AppendTo(nil))
	m.Replace(i, make([]byte, 20000))
	if got := string(m.AppendTo(nil)); got != before {
		t.Error("a replacement without room changed the message")
	}
}
