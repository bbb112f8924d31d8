package registrar

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sipr/core"
)

const (
	a1 = "<sip:alice@192.0.2.11:5060>"
	a2 = "<sip:alice@192.0.2.12;transport=tcp>"
)

func TestBindingsComeAndGo(t *testing.T) {
	for _, mode := range []int{0, 1} {
		t.Run(fmt.Sprint("db_mode ", mode), func(t *testing.T) {
			p := start(t, map[string]any{"db_mode": mode})
			p.register("", "200 OK")
			p.register("Contact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
			p.register("Contact: "+a2+";q=0.25;expires=600", "200 OK|"+a1+";expires=3600;q=1|"+a2+";expires=600;q=0.25")
			p.h.Fake.Advance(599500 * time.Millisecond)
			if got := p.bindings(); got != "200 OK|"+a1+";expires=3001;q=1|"+a2+";expires=1;q=0.25" {
				t.Error(got)
			}
			p.h.Fake.Advance(500 * time.Millisecond)
			if got := p.bindings(); got != "200 OK|"+a1+";expires=3000;q=1" {
				t.Error("expired contact:", got)
			}
			p.register("Contact: <sip:%61lice@192.0.2.11:5060;x=y>\nExpires: 120", "200 OK|<sip:%61lice@192.0.2.11:5060;x=y>;expires=120;q=1")
			p.register("Contact: "+a1+";expires=0, "+a2, "200 OK|"+a2+";expires=3600;q=1")
			p.register("Contact: "+a1+"\nm: <sip:third@192.0.2.13>", "200 OK|"+a2+";expires=3600;q=1|"+a1+";expires=3600;q=1|<sip:third@192.0.2.13>;expires=3600;q=1")
			p.register("Contact: *\nExpires: 0", "200 OK")
			p.register("Contact: *\nExpires: 0", "200 OK")
			if p.m.mem.contacts.Load() != 0 || p.m.mem.aors.Load() != 0 {
				t.Error("counts", p.m.mem.contacts.Load(), p.m.mem.aors.Load())
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 520)
	for _, tc := range []struct{ lines, want string }{
		{"Contact: *", "400 Contact * Needs Expires: 0 And Stands Alone"},
		{"Contact: *\nExpires: 10", "400 Contact * Needs Expires: 0 And Stands Alone"},
		{"Contact: *\nExpires: zero", "400 Contact * Needs Expires: 0 And Stands Alone"},
		{"Contact: *, " + a1 + "\nExpires: 0", "400 Contact * Needs Expires: 0 And Stands Alone"},
		{"Contact: " + a1 + "\nContact: *\nExpires: 0", "400 Contact * Needs Expires: 0 And Stands Alone"},
		{"Contact: <sip:alice@", "400 Bad Contact"},
		{"Contact: <sip:a@[bad]>", "400 Bad Contact"},
		{"Contact: <mailto:a@example.com>", "400 Contact Scheme Not Supported"},
		{"Contact: " + a1 + ";q=1.1", "400 Bad q In Contact"},
		{"Contact: " + a1 + ";q=0.1234", "400 Bad q In Contact"},
		{"Contact: " + a1 + ";q=-1", "400 Bad q In Contact"},
		{"Contact: " + a1 + ";q", "400 Bad q In Contact"},
		{"Contact: " + a1 + ";reg-id=0", "400 Bad Contact"},
		{"Contact: " + a1 + ";expires=59", "423 Interval Too Brief|Min-Expires: 60"},
		{"Contact: " + a1 + "\nExpires: 1", "423 Interval Too Brief|Min-Expires: 60"},
		{"Contact: <sip:" + long + "@192.0.2.1>", "400 Contact Too Long"},
		{"Contact: " + a1 + `;+sip.instance="` + long + `"`, "400 Contact Too Long"},
		{"Contact: <sip:a@192.0.2.100>", "403 Contact Points To This Server"},
		{"Contact: <sip:a@192.0.2.1;maddr=192.0.2.100>", "403 Contact Points To This Server"},
		{"Contact: <sip:+1555@203.0.113.9>", "403 Contact Points To A Gateway"},
		{"To: <sip:alice@foreign.org>\nContact: " + a1, "404 Not Found"},
		{"To: <tel:+1212>\nContact: " + a1, "404 Not Found"},
		{"To: <sip:example.com>\nContact: " + a1, "400 Bad Address Of Record"},
		{"To: <sip:%FF@example.com>\nContact: " + a1, "400 Bad Address Of Record"},
		{"To: <sip:a%00b@example.com>\nContact: " + a1, "400 Bad Address Of Record"},
		{"To: <sip:" + long + "@example.com>\nContact: " + a1, "400 Bad Address Of Record"},
		{"Require: path, gruu\nContact: " + a1, "420 Bad Extension|Unsupported: path, gruu"},
	} {
		p := memoryOnly(t)
		got, res := p.do(p.request(tc.lines))
		if got != tc.want || res.Err != nil || res.Value.Num != 0 || res.Why == "" {
			t.Errorf("%s\n got %s %+v\nwant %s", tc.lines, got, res, tc.want)
		}
		if p.m.mem.contacts.Load() != 0 {
			t.Errorf("%s: something was bound", tc.lines)
		}
	}
	p := memoryOnly(t)
	if _, res := p.do(p.exact(strings.Repeat("i", 256), 1, "Contact: "+a1)); res.Why != "callid" {
		t.Errorf("long Call-ID: %+v", res)
	}
	r := p.h.Request("OPTIONS sip:example.com SIP/2.0\nFrom: <sip:a@b.c>;tag=1\nTo: <sip:a@b.c>")
	if got, res := p.do(r); res.Why != "method" || got != "" {
		t.Errorf("save of OPTIONS: %s %+v", got, res)
	}
}

func TestARefusedRequestChangesNothing(t *testing.T) {
	p := memoryOnly(t)
	p.register("Contact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
	p.register("Contact: "+a1+";expires=0, "+a2+";q=7", "400 Bad q In Contact")
	if got := p.bindings(); got != "200 OK|"+a1+";expires=3600;q=1" {
		t.Error(got)
	}
}

func TestLifetimes(t *testing.T) {
	for _, tc := range []struct {
		lines string
		want  int
	}{
		{"Contact: " + a1 + ";expires=7200", 3600},
		{"Contact: " + a1 + ";expires=99999999999999", 3600},
		{"Contact: " + a1 + ";expires=soon", 3600},
		{"Contact: " + a1 + ";expires=300\nExpires: 100", 300},
		{"Contact: " + a1 + "\nExpires: 100", 100},
		{"Contact: " + a1 + "\nExpires: -5", 3600},
		{"Contact: " + a1, 1800},
	} {
		p := start(t, map[string]any{"db_mode": 0, "default_expires": 1800})
		p.register(tc.lines, fmt.Sprintf("200 OK|%s;expires=%d;q=1", a1, tc.want))
	}
}

func TestOrderOfRequests(t *testing.T) {
	p := memoryOnly(t)
	one := "200 OK|" + a1 + ";expires=3600;q=1"
	step := func(id string, cseq int, lines, want string) {
		t.Helper()
		if got, res := p.do(p.exact(id, cseq, lines)); got != want {
			t.Errorf("%s %d %q: %s %+v, want %s", id, cseq, lines, got, res, want)
		}
	}
	step("x", 10, "Contact: "+a1, one)
	step("x", 10, "Contact: "+a1, one)                               // a retransmission
	step("x", 10, "Contact: "+a1+", "+a2, "500 CSeq Out Of Order")   // not the same request
	step("x", 9, "Contact: "+a1, "500 CSeq Out Of Order")            // an old one
	step("x", 9, "Contact: "+a2+", "+a1, "500 CSeq Out Of Order")    // nothing of it is done
	step("x", 10, "Contact: *\nExpires: 0", "500 CSeq Out Of Order") //
	step("x", 9, "Contact: "+a2+";expires=0", one)                   // touches no binding
	step("y", 1, "Contact: "+a1, one)                                // another Call-ID counts anew
	step("x", 1, "Contact: "+a1+";expires=0", "200 OK")              //
	step("x", 1, "Contact: "+a1+";expires=0", "200 OK")              // a retransmission
	step("x", 1, "Contact: "+a1+";expires=0, "+a1, one)              // the last word counts
	step("x", 11, "Contact: *\nExpires: 0", "200 OK")                //
	step("x", 1, "Contact: "+a1+", "+a1+";q=0.5", strings.Replace(one, "q=1", "q=0.5", 1))
}

func TestTooManyContacts(t *testing.T) {
	p := start(t, map[string]any{"db_mode": 0, "max_contacts": 2})
	p.register("Contact: "+a1+", "+a2, "200 OK|"+a1+";expires=3600;q=1|"+a2+";expires=3600;q=1")
	p.register("Contact: <sip:c@192.0.2.3>", "403 Too Many Contacts")
	p.register("Contact: <sip:c@192.0.2.3>, "+a1+";expires=0", "200 OK|"+a2+";expires=3600;q=1|<sip:c@192.0.2.3>;expires=3600;q=1")
	p.register("Contact: "+a1+", <sip:c@192.0.2.3>, "+a2, "403 Too Many Contacts")
	p.h.Fake.Advance(time.Hour)
	p.register("Contact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
}

func TestFlags(t *testing.T) {
	p := memoryOnly(t)
	p.register("Contact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
	if got, res := p.do(p.request("Contact: "+a2), 4); got != "200 OK|"+a2+";expires=3600;q=1" {
		t.Errorf("single: %s %+v", got, res)
	}
	r := p.request("Contact: " + a2 + ";expires=100")
	if got, res := p.do(r, 2); got != "" || res.Value.Num != 1 || r.Decided() || string(r.ReplyHeaders) != "Contact: "+a2+";expires=100;q=1\r\n" {
		t.Errorf("no reply: %s %+v %s", got, res, r.ReplyHeaders)
	}
	if got, res := p.do(p.request("Contact: *"), 2); got != "" || res.Why != "contact" {
		t.Errorf("refusal without reply: %s %+v", got, res)
	}
}

func TestAoRs(t *testing.T) {
	p := memoryOnly(t)
	p.register("To: <sip:b%6fb@example.net;x=1>\nContact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
	for uri, want := range map[string]string{
		"sip:bob@example.com": "sip:alice@192.0.2.11:5060", "sip:Bob@example.com": "unknown", "sip:bob@foreign.org": "unknown",
		"sip:idle@example.com": "offline", "sip:example.com": "unknown", "tel:+1212": "unknown",
	} {
		if got, _ := p.lookup(uri); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
	p = start(t, map[string]any{"db_mode": 0, "case_sensitive": 0})
	p.register("Contact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
	if got, _ := p.lookup("sip:ALICE@example.com"); got != "sip:alice@192.0.2.11:5060" {
		t.Error("case_sensitive 0:", got)
	}
}

func TestPath(t *testing.T) {
	p := start(t, map[string]any{"db_mode": 0, "use_path": 1})
	p.register("Path: <sip:edge@192.0.2.50;lr>\nContact: "+a1, "420 Bad Extension|Unsupported: path")
	p.register("Supported: path\nPath: edge\nContact: "+a1, "400 Bad Path")
	p.register("Supported: path\nPath: <sip:e1@192.0.2.50;lr>\nPath: <sip:e2@192.0.2.51;lr>\nContact: "+a1,
		"200 OK|"+a1+";expires=3600;q=1|Path: <sip:e1@192.0.2.50;lr>, <sip:e2@192.0.2.51;lr>")
	if _, r := p.lookup("sip:alice@example.com"); string(r.Main.Path) != "<sip:e1@192.0.2.50;lr>, <sip:e2@192.0.2.51;lr>" {
		t.Errorf("path is %q", r.Main.Path)
	}
	p = memoryOnly(t)
	p.register("Supported: path\nPath: <sip:e1@192.0.2.50;lr>\nContact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
	if _, r := p.lookup("sip:alice@example.com"); r.Main.Path != nil {
		t.Errorf("path without use_path: %q", r.Main.Path)
	}
}

func TestWhereRequestsGo(t *testing.T) {
	src := netip.MustParseAddrPort("198.51.100.7:40000")
	for _, tc := range []struct {
		nat   bool
		proto core.Proto
		want  core.Flow
	}{
		{false, core.UDP, core.Flow{}},
		{true, core.UDP, core.Flow{Remote: src}},
		{false, core.TCP, core.Flow{Remote: src, Conn: 7}},
	} {
		p := start(t, map[string]any{"db_mode": 0, "nat": tc.nat})
		r := p.request("Contact: " + a1)
		sock := *r.Flow.Socket
		sock.Proto = tc.proto
		r.Flow = core.Flow{Socket: &sock, Remote: src, Conn: tc.want.Conn}
		p.do(r)
		_, inv := p.lookup("sip:alice@example.com")
		got := inv.Main.Flow
		if got.Remote != tc.want.Remote || got.Conn != tc.want.Conn {
			t.Errorf("%+v: %+v", tc, got)
		}
	}
	p := start(t, map[string]any{"db_mode": 0, "nat": true})
	p.register("Contact: <sip:alice@192.0.2.1>", "200 OK|<sip:alice@192.0.2.1>;expires=3600;q=1")
	if _, inv := p.lookup("sip:alice@example.com"); inv.Main.Flow.Valid() {
		t.Error("a contact at its own address needs no flow")
	}
}

func TestQ(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "1": 1000, "0.": 0, "0.5": 500, "0.05": 50, "0.005": 5, "0.123": 123, "1.000": 1000, "0.30": 300} {
		q, ok := parseQ([]byte(text))
		if !ok || int(q) != want {
			t.Errorf("%s: %d %v", text, q, ok)
		}
		if back, ok := parseQ(appendQ(nil, q)); !ok || back != q {
			t.Errorf("%s is written as %s", text, appendQ(nil, q))
		}
	}
	for _, text := range []string{"", "2", "1.001", "0.1234", ".5", "0,5", "00.5", "0.5x", "1.0000"} {
		if q, ok := parseQ([]byte(text)); ok {
			t.Errorf("%q is %d", text, q)
		}
	}
}
