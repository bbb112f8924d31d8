package registrar

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sipr/core"
)

func TestLookupOrder(t *testing.T) {
	p := start(t, map[string]any{"db_mode": 0, "max_branches": 3})
	p.register("Contact: <sip:old@192.0.2.1>;q=0.5, <sip:last@192.0.2.2>;q=0.1", "200 OK|<sip:old@192.0.2.1>;expires=3600;q=0.5|<sip:last@192.0.2.2>;expires=3600;q=0.1")
	p.h.Fake.Advance(time.Second)
	p.do(p.request("Contact: <sip:new@192.0.2.3>;q=0.5, <sip:first@192.0.2.4>;q=0.9;expires=60"))
	got, r := p.lookup("sip:alice@example.net")
	if want := "sip:first@192.0.2.4 sip:new@192.0.2.3 sip:old@192.0.2.1"; got != want {
		t.Error(got)
	}
	if r.Main.Q != 900 || r.Main.URI != nil || r.Targets[0].Q != 500 {
		t.Errorf("%+v %+v", r.Main, r.Targets)
	}
	p.h.Fake.Advance(time.Minute)
	if got, _ = p.lookup("sip:staff@example.com"); got != "sip:new@192.0.2.3 sip:old@192.0.2.1 sip:last@192.0.2.2" {
		t.Error("by alias, after one has expired:", got)
	}
	p.h.Fake.Advance(time.Hour)
	if got, _ = p.lookup("sip:alice@example.com"); got != "offline" {
		t.Error(got)
	}
}

func TestLookupWithAFailingUserList(t *testing.T) {
	p := memoryOnly(t)
	p.m.users = &fakeUsers{err: errors.New("down")}
	if got, _ := p.lookup("sip:bob@example.com"); got != "error" {
		t.Error(got)
	}
}

func TestRegisteredAndUnregister(t *testing.T) {
	for _, mode := range []int{0, 1} {
		p := start(t, map[string]any{"db_mode": mode})
		p.do(p.request("Contact: " + a1 + ", " + a2))
		inv := func() *core.Request {
			return p.h.Request("INVITE sip:alice@example.com SIP/2.0\nFrom: <sip:idle@example.com>;tag=1\nTo: <sip:x@example.com>")
		}
		if res := p.h.Call(p.m, inv(), "registered"); res.Value.Num != 1 {
			t.Errorf("%+v", res)
		}
		if res := p.h.Call(p.m, inv(), "registered", "@from.uri"); res.Why != "offline" {
			t.Errorf("%+v", res)
		}
		if res := p.h.Call(p.m, inv(), "unregister", "@ruri", "sip:alice@192.0.2.11:5060"); res.Value.Num != 1 {
			t.Errorf("%+v", res)
		}
		if got, _ := p.lookup("sip:alice@example.com"); got != "sip:alice@192.0.2.12;transport=tcp" {
			t.Error(got)
		}
		if res := p.h.Call(p.m, inv(), "unregister", "sip:alice@example.com"); res.Value.Num != 1 {
			t.Errorf("%+v", res)
		}
		if res := p.h.Call(p.m, inv(), "unregister", "sip:alice@example.com"); res.Why != "offline" {
			t.Errorf("%+v", res)
		}
	}
}

func TestCommands(t *testing.T) {
	p := memoryOnly(t)
	for i := range 30 {
		if _, err := p.h.Command(p.m, "add", fmt.Sprintf("u%d@example.com", i), "sip:u@192.0.2.9", int64(100)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[any]bool{}
	for offset := 0; ; offset += 7 {
		c, err := p.h.Command(p.m, "dump", int64(7), int64(offset))
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Reply) == 0 {
			break
		}
		for _, v := range c.Reply {
			seen[v.(*core.Struct).Members[1].Value] = true
		}
	}
	if len(seen) != 30 {
		t.Errorf("dump listed %d of 30", len(seen))
	}
	if c, err := p.h.Command(p.m, "lookup", "sip:u7@example.net"); err != nil || len(c.Reply) != 1 {
		t.Error(err)
	}
	if _, err := p.h.Command(p.m, "rm", "u7@example.com", "sip:u@192.0.2.9"); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]any{{"lookup", "u7@example.com"}, {"rm", "u7@example.com"}, {"lookup"}, {"lookup", "x@foreign.org"},
		{"add", "u7@example.com", "nonsense"}, {"add", "u7@example.com", "sip:a@b", int64(0)}, {"dump", int64(100000)}} {
		var fault *core.Fault
		if _, err := p.h.Command(p.m, bad[0].(string), bad[1:]...); !errors.As(err, &fault) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	c, _ := p.h.Command(p.m, "stats")
	if s := c.Reply[0].(*core.Struct); s.Members[0].Value != int64(29) {
		t.Errorf("%+v", s)
	}
}

func TestAPI(t *testing.T) {
	p := memoryOnly(t)
	var told []string
	p.m.Watch(func(did, user string, n int) { told = append(told, fmt.Sprint(did, user, n)) })
	p.do(p.request("Contact: " + a1 + ";expires=60, " + a2 + ";q=0.1"))
	if list := p.m.Contacts(nil, "d1", []byte("alice")); len(list) != 2 || string(list[1].URI) != "sip:alice@192.0.2.12;transport=tcp" {
		t.Errorf("%+v", list)
	}
	p.h.Fake.Advance(time.Minute)
	for range shards {
		p.h.Tick()
	}
	if p.m.mem.contacts.Load() != 1 {
		t.Error("the sweep left an expired contact")
	}
	p.do(p.request("Contact: *\nExpires: 0"))
	if got := strings.Join(told, " "); got != "d1alice2 d1alice1 d1alice0" {
		t.Error(got)
	}
}

func TestLookupAllocations(t *testing.T) {
	p := memoryOnly(t)
	p.do(p.request("Contact: " + a1 + ", " + a2))
	r := p.h.Request("INVITE sip:alice@example.com SIP/2.0\nFrom: <sip:b@example.com>;tag=1\nTo: <sip:a@b>")
	var a core.Args
	a.Reset()
	a.Push(core.TextValue("location"))
	a.Push(core.TextValue("sip:alice@example.com"))
	fresh := *r.Msg
	if n := testing.AllocsPerRun(200, func() {
		*r.Msg = fresh
		if res := p.m.lookup(r, &a); res.Value.Num != 1 {
			t.Fatal(res)
		}
	}); n > 1 { // the message's own room for a Request-URI
		t.Errorf("lookup: %v allocations", n)
	}
}

func TestRefreshAllocatesOneList(t *testing.T) {
	p := memoryOnly(t)
	r := p.exact("z", 1, "Contact: "+a1+", "+a2)
	g := p.m.getRegistration(r)
	if ref := g.parse(r); ref != nil {
		t.Fatal(ref)
	}
	if n := testing.AllocsPerRun(200, func() {
		g.cseq++
		if err := p.m.apply(r, g); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
