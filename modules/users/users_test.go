package users

import (
	"context"
	"errors"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
)

// fakeDomains knows two names of one domain, a second domain, and a third one
// whose name is an address.
type fakeDomains struct{ err *error }

func (fakeDomains) Describe() core.Spec { return core.Spec{Name: "domain"} }

func (f fakeDomains) Lookup(_ *core.Request, name []byte) (string, bool, error) {
	switch string(name) {
	case "example.com", "example.net":
		return "d1", true, *f.err
	case "other.org":
		return "d2", true, *f.err
	}
	return "", false, *f.err
}

func (f fakeDomains) LookupName(_ *core.Request, did string) (string, bool, error) {
	switch did {
	case "d1":
		return "example.com", true, *f.err
	case "d3":
		return "2001:db8::1", true, *f.err
	}
	return "", false, *f.err
}

func start(t *testing.T, params map[string]any) (*coretest.Host, *Module, *database.DB) {
	t.Helper()
	h := coretest.NewHost(t)
	h.Load(fakeDomains{new(error)}, nil)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	m := h.Load(New(), params).(*Module)
	for _, row := range [][]any{
		{"u1", "d1", "alice", 1 | 4 | 8 | 16}, {"u1", "d1", "staff", 1 | 8}, {"u1", "d2", "alice", 1},
		{"u2", "d1", "off", 1 | 2}, {"u3", "d1", "gone", 1 | 128}, {"u4", "d1", "other-program", 8},
		{"u5", "d1", "lonely", 1}, {"u7", "d3", "zoe", 1 | 4}, {"u7", "d1", "zoe", 1}, {"u8", "d4", "max", 1 | 4}, {"u8", "d1", "max", 1}, {"u6", "d1", "a b", 1 | 4}, {"u6", "d1", "ab", 1},
	} {
		if _, err := db.Exec("INSERT INTO uri (uid, did, username, flags) VALUES (?, ?, ?, ?)", row...); err != nil {
			t.Fatal(err)
		}
	}
	return h, m, db
}

func invite(h *coretest.Host, uri string) *core.Request {
	return h.Request("INVITE " + uri + " SIP/2.0\nFrom: <sip:alice@example.com>;tag=1\nTo: <" + uri + ">")
}

func TestWhoExists(t *testing.T) {
	h, m, _ := start(t, nil)
	for _, tc := range []struct {
		uri string
		ok  bool
	}{
		{"sip:alice@example.com", true}, {"sip:alice@example.net", true}, {"sip:%61lice@example.com", true},
		{"sip:Alice@example.com", false}, {"sip:staff@example.com", true}, {"sip:staff@other.org", false},
		{"sip:off@example.com", false}, {"sip:gone@example.com", false}, {"sip:other-program@example.com", false},
		{"sip:alice@foreign.org", false}, {"sip:example.com", false}, {"tel:+1212", false},
	} {
		if res := h.Call(m, invite(h, tc.uri), "does_uri_exist"); res.Err != nil || (res.Value.Num == 1) != tc.ok {
			t.Errorf("does_uri_exist of %s: %+v", tc.uri, res)
		}
	}
	if res := h.Call(m, invite(h, "sip:x@example.com"), "does_uri_exist", "@from.uri"); res.Value.Num != 1 {
		t.Errorf("with an argument: %+v", res)
	}
}

func TestS2_057_LookupUserPublishesUID(t *testing.T) {
	h, m, _ := start(t, nil)
	r := invite(h, "sip:staff@example.com")
	if res := h.Call(m, r, "lookup_user", "$tu", "@ruri"); res.Value.Num != 1 {
		t.Fatalf("%+v", res)
	}
	ref, _ := core.ParseAttrRef("$tu.uid")
	if v, ok := r.Attrs.Get(&ref); !ok || v.Str != "u1" {
		t.Errorf("$tu.uid is %v %v", v, ok)
	}
	if r.Attrs.HasFlag(^uint32(0)) {
		t.Error("the flags of a row have become those of an attribute")
	}
	if res := h.Call(m, r, "lookup_user", "$fu", "@ruri"); res.Why != "unknown" {
		t.Errorf("an address without IS_FROM may not be in From: %+v", res)
	}
	if res := h.Call(m, r, "lookup_user", "$tu", "sip:nobody@example.com"); res.Why != "unknown" {
		t.Errorf("nobody: %+v", res)
	}
	if _, ok := r.Attrs.Get(&ref); ok {
		t.Error("the attribute of another user stays")
	}
	if checkGroup("$fd") == nil || checkGroup("$tu") != nil {
		t.Error("check of the group")
	}
}

func TestAliasLookup(t *testing.T) {
	h, m, _ := start(t, nil)
	for _, tc := range []struct{ uri, want, why string }{
		{"sip:staff@example.net", "sip:alice@example.net", ""},
		{"sips:staff@example.net;x=1", "sips:alice@example.net", ""},
		{"sip:alice@other.org", "sip:alice@example.com", ""},
		{"sip:zoe@example.com", "sip:zoe@[2001:db8::1]", ""},
		{"sip:max@example.com", "sip:max@example.com", "domain"},
		{"sip:ab@example.com", "sip:a%20b@example.com", ""},
		{"sip:alice@example.com", "sip:alice@example.com", "same"},
		{"sip:lonely@example.com", "sip:lonely@example.com", "same"},
		{"sip:nobody@example.com", "sip:nobody@example.com", "unknown"},
	} {
		r := invite(h, tc.uri)
		res := h.Call(m, r, "alias_lookup")
		if res.Why != tc.why || string(r.Msg.RURIText()) != tc.want || res.Err != nil {
			t.Errorf("%s: %+v, %s", tc.uri, res, r.Msg.RURIText())
		}
	}
}

func TestCache(t *testing.T) {
	h, m, db := start(t, map[string]any{"cache_size": 32})
	look := func(user string) bool {
		u, ok, err := m.Lookup(invite(h, "sip:x@example.com"), "d1", []byte(user))
		if err != nil || ok != (u != nil) {
			t.Fatal(err)
		}
		return ok
	}
	look("alice")
	look("alice")
	if h.Waits != 1 {
		t.Errorf("%d queries for one address", h.Waits)
	}
	if look("new") {
		t.Error("new exists")
	}
	db.Exec("INSERT INTO uri (uid, did, username) VALUES ('u9', 'd1', 'new')")
	if look("new") {
		t.Error("that nobody is new is not remembered")
	}
	h.Fake.Advance(time.Second)
	if !look("new") {
		t.Error("that nobody is new is remembered too long")
	}
	db.Exec("DELETE FROM uri WHERE username IN ('alice', 'new')")
	if !look("alice") {
		t.Error("alice was not remembered")
	}
	if c, err := h.Command(m, "flush"); err != nil || c.Reply[0].(*core.Struct).Members[0].Value != int64(2) {
		t.Errorf("flush: %v %v", c.Reply, err)
	}
	if look("alice") {
		t.Error("alice exists after flush")
	}
	for i := range 200 {
		look(string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	if n := m.cache.flush(); n > 32 {
		t.Errorf("%d addresses in a cache of 32", n)
	}
}

func TestDatabaseFails(t *testing.T) {
	h, m, db := start(t, nil)
	db.Exec("DROP TABLE uri")
	for _, name := range []string{"does_uri_exist", "alias_lookup"} {
		if res := h.Call(m, invite(h, "sip:alice@example.com"), name); res.Err == nil {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if res := h.Call(m, invite(h, "sip:alice@example.com"), "lookup_user", "$fu", "@from.uri"); res.Err == nil {
		t.Errorf("lookup_user: %+v", res)
	}
	if _, _, err := m.Owner(invite(h, "sip:x@example.com"), "d1", []byte("x")); err == nil {
		t.Error("Owner has an answer")
	}
}

func TestReloadForgetsAndHitsDoNotAllocate(t *testing.T) {
	h, m, _ := start(t, nil)
	r := invite(h, "sip:alice@example.com")
	m.Lookup(r, "d1", []byte("alice"))
	user := []byte("alice")
	if n := testing.AllocsPerRun(100, func() { m.Lookup(r, "d1", user) }); n != 0 {
		t.Errorf("%v allocations for a hit", n)
	}
	m.Reload(context.Background())
	if m.cache.flush() != 0 {
		t.Error("something is remembered after a reload")
	}
}

// TestDomainsFail sees to it that nobody is called unknown because of a
// database that does not answer.
func TestDomainsFail(t *testing.T) {
	h, m, _ := start(t, nil)
	for _, uri := range []string{"sip:alice@example.com", "sip:alice@foreign.org"} {
		*m.domains.(fakeDomains).err = errors.New("down")
		for name, args := range map[string][]any{"does_uri_exist": nil, "alias_lookup": nil, "lookup_user": {"$tu", "@ruri"}} {
			if res := h.Call(m, invite(h, uri), name, args...); res.Err == nil {
				t.Errorf("%s of %s: %+v", name, uri, res)
			}
		}
	}
}

func TestLookupUserDoesNotAllocate(t *testing.T) {
	h, m, _ := start(t, nil)
	r := invite(h, "sip:alice@example.com")
	var a core.Args
	uri := []byte("sip:alice@example.com")
	if n := testing.AllocsPerRun(100, func() {
		a.Reset()
		a.Push(core.TextValue("$tu"))
		a.Push(core.RawValue(uri))
		if res := m.lookupUser(r, &a); res.Value.Num != 1 {
			t.Fatal(res)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
