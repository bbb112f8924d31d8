package attrs

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
)

// fakeDomains knows two names of one domain.
type fakeDomains struct{ err *error }

func (fakeDomains) Describe() core.Spec { return core.Spec{Name: "domain"} }

func (f fakeDomains) Lookup(_ *core.Request, name []byte) (string, bool, error) {
	ok := string(name) == "example.com" || string(name) == "example.net"
	return "d1", ok, *f.err
}

const rows = `INSERT INTO user_attrs (uid, name, type, value, flags) VALUES ('u1', 'fwd_busy_target', 2, 'sip:vm@example.com', 33),
 ('u1', 'gw_acl', 2, 'local', 33), ('u1', 'gw_acl', 2, 'ld', 33), ('u1', 'fr_inv_timer', 0, '30000', 33),
 ('u1', 'dis', 2, 'x', 35), ('u1', 'gone', 2, 'x', 161), ('u1', 'web', 2, 'x', 32), ('u1', 'bad', 0, 'abc', 33), ('u1', 'uid', 2, 'u9', 33), ('u1', 'empty', 2, NULL, 33),
 ('U1', 'other', 2, 'x', 33);
INSERT INTO uri_attrs (username, did, name, type, value, flags) VALUES ('alice', 'd1', 'lang', 2, 'cs', 33);
INSERT INTO global_attrs (name, type, value, flags) VALUES ('gw_ip', 2, '192.0.2.10', 33), ('gw_ip', 2, '192.0.2.11', 33), ('max', 0, '7', 33), ('off', 0, '7', 35)`

func prepare(t testing.TB) (*coretest.Host, *database.DB, error) {
	t.Helper()
	h := coretest.NewHost(t)
	none := new(error)
	h.Load(fakeDomains{none}, nil)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.RequireSchema(context.Background(), Migrations()); err != nil {
		t.Fatal(err)
	}
	for _, stmt := range strings.Split(rows, ";\n") {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatal(err)
		}
	}
	return h, db, nil
}

func start(t testing.TB, params map[string]any) (*coretest.Host, *Module, *database.DB) {
	h, db, _ := prepare(t)
	return h, h.Load(New(), params).(*Module), db
}

func invite(h *coretest.Host) *core.Request {
	r := h.Request("INVITE sip:+1212@example.com SIP/2.0\nFrom: <sip:alice@example.net>;tag=1\nTo: <sip:+1212@example.com>")
	for _, f := range h.Hooks.Request {
		f(r)
	}
	return r
}

func get(t testing.TB, r *core.Request, name string) string {
	t.Helper()
	ref, err := core.ParseAttrRef(name)
	if err != nil {
		t.Fatal(err)
	}
	v, ok := r.Attrs.Get(&ref)
	if !ok {
		return "-"
	}
	return v.String()
}

func yes(t testing.TB, res core.Result) {
	t.Helper()
	if res.Err != nil || res.Value.Num != 1 {
		t.Errorf("%+v", res)
	}
}

func TestS2_057_LoadAttrs(t *testing.T) {
	h, m, _ := start(t, nil)
	r := invite(h)
	yes(t, h.Call(m, r, "load_attrs", "$fu", "u1"))
	yes(t, h.Call(m, r, "load_attrs", "$fr", "@from.uri"))
	for name, want := range map[string]string{
		"$fu.uid": "u1", "$f.uid": "u1", "$fu.fwd_busy_target": "sip:vm@example.com", "$fu.gw_acl": "ld", "$fu.gw_acl[1]": "local",
		"$f.fr_inv_timer": "30000", "$fu.dis": "-", "$fu.gone": "-", "$fu.web": "-", "$fu.bad": "-", "$fu.empty": "", "$fu.other": "-",
		"$fr.lang": "cs", "$t.lang": "-", "$t.uid": "-",
	} {
		if got := get(t, r, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if res := h.Call(m, r, "load_attrs", "$fu", "$tu.uid"); res.Why != "empty" {
		t.Errorf("without an id: %+v", res)
	}
	if got := get(t, r, "$fu.uid"); got != "-" {
		t.Errorf("attributes of another user stay: %s", got)
	}
	if res := h.Call(m, r, "load_attrs", "$tr", "sip:x@far.example"); res.Why != "foreign" {
		t.Errorf("a foreign address: %+v", res)
	}
	yes(t, h.Call(m, r, "load_attrs", "$tu", "nobody"))
	if got := get(t, r, "$tu.uid"); got != "nobody" {
		t.Errorf("a user without attributes: %s", got)
	}
	for _, g := range []string{"$fd", "$g", "$f", "fx"} {
		if checkLoadGroup(g) == nil {
			t.Errorf("%s is taken", g)
		}
	}
}

func TestS2_057_Globals(t *testing.T) {
	h, m, db := start(t, nil)
	old := invite(h)
	for name, want := range map[string]string{"$g.gw_ip": "192.0.2.11", "$gw_ip[1]": "192.0.2.10", "$t.max": "7", "$g.off": "-"} {
		if got := get(t, old, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if _, err := db.Exec("UPDATE global_attrs SET value = '8' WHERE name = 'max'"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Command(m, "global.reload"); err != nil {
		t.Fatal(err)
	}
	if a, b := get(t, old, "$g.max"), get(t, invite(h), "$g.max"); a != "7" || b != "8" {
		t.Errorf("after a reload: a request that runs sees %s, a new one %s", a, b)
	}
	c, err := h.Command(m, "global.dump")
	if err != nil || len(c.Reply) != 3 {
		t.Errorf("dump: %v %v", c.Reply, err)
	}
	if _, err := db.Exec("DROP TABLE global_attrs"); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []string{"global.reload", "reload"} {
		if _, err := h.Command(m, cmd); err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), "global_attrs") {
			t.Errorf("%s without the table: %v", cmd, err)
		}
	}
	if got := get(t, invite(h), "$g.max"); got != "8" {
		t.Errorf("a reload that failed lost the old values: %s", got)
	}
}

func TestS2_057_Attr2URI(t *testing.T) {
	h, m, _ := start(t, nil)
	for _, tt := range []struct {
		value, part, want, why string
	}{
		{"sip:x@y", "", "sip:x@y", ""}, {"sip:x@y", "uri", "sip:x@y", ""}, {"bob", "user", "sip:bob@example.com", ""}, {"bob", "username", "sip:bob@example.com", ""},
		{"iptel.org", "domain", "sip:+1212@iptel.org", ""}, {"iptel.org:5070", "domainport", "sip:+1212@iptel.org:5070", ""},
		{"bob:pw", "usernamepassword", "sip:bob:pw@example.com", ""}, {"00", "prefix", "sip:00+1212@example.com", ""},
		{"#2", "strip", "sip:212@example.com", ""}, {"1", "strip_tail", "sip:+121@example.com", ""}, {"9", "strip", "sip:+1212@example.com", "invalid"},
		{"", "", "sip:+1212@example.com", "undefined"}, {"no uri", "uri", "sip:+1212@example.com", "invalid"}, {"a b", "domain", "sip:+1212@example.com", "invalid"},
	} {
		r := invite(h)
		ref, _ := core.ParseAttrRef("$f.x")
		switch {
		case strings.HasPrefix(tt.value, "#"):
			n, _ := core.TextValue(tt.value[1:]).Int()
			r.Attrs.Set(&ref, core.IntValue(n))
		case tt.value != "":
			r.Attrs.Set(&ref, core.TextValue(tt.value))
		}
		args := []any{"$f.x", tt.part}
		if tt.part == "" {
			args = args[:1]
		}
		res := h.Call(m, r, "attr2uri", args...)
		if res.Err != nil || res.Why != tt.why || string(r.Msg.RURIText()) != tt.want {
			t.Errorf("%s as %s: %+v, %s", tt.value, tt.part, res, r.Msg.RURIText())
		}
	}
	r := invite(h)
	for value, want := range map[string]string{"192.0.2.10": "sip:192.0.2.10", "gw.example:5070": "sip:gw.example:5070", "<sip:a@b;lr>": "sip:a@b;lr", "sips:c": "sips:c"} {
		ref, _ := core.ParseAttrRef("$f.x")
		r.Attrs.Set(&ref, core.TextValue(value))
		if res := h.Call(m, r, "attr_destination", "$f.x"); res.Value.Num != 1 || string(r.Main.NextHop) != want {
			t.Errorf("attr_destination %s: %+v %s", value, res, r.Main.NextHop)
		}
	}
}

func TestChangesInARequest(t *testing.T) {
	h, m, _ := start(t, map[string]any{"avpflags": []any{"billed", "seen"}})
	r := invite(h)
	yes(t, h.Call(m, r, "load_attrs", "$fu", "u1"))
	yes(t, h.Call(m, r, "attr_equals", "$fu.gw_acl[]", "local"))
	if res := h.Call(m, r, "attr_equals", "$fu.gw_acl", "local"); res.Value.Num != 0 {
		t.Errorf("%+v", res)
	}
	yes(t, h.Call(m, r, "attr_equals", "$fu.fr_inv_timer", "30000"))
	yes(t, h.Call(m, r, "add_attr", "$fu.gw_acl", "int"))
	if got := get(t, r, "$fu.gw_acl") + get(t, r, "$fu.gw_acl[1]"); got != "intlocal" {
		t.Errorf("add_attr: %s", got)
	}
	if got := get(t, invite(h), "$fu.gw_acl"); got != "-" {
		t.Errorf("another request: %s", got)
	}
	yes(t, h.Call(m, r, "remove_attr", "$fu.gw_acl[1]"))
	if got := get(t, r, "$fu.gw_acl[1]"); got != "ld" {
		t.Errorf("remove_attr: %s", got)
	}
	yes(t, h.Call(m, r, "set_attr_flag", "$fu.gw_acl[1]", "billed"))
	yes(t, h.Call(m, r, "isavpflagset", "$fu.gw_acl[1]", "billed"))
	for _, flag := range []string{"seen", "dialog_cookie"} {
		if res := h.Call(m, r, "is_attr_flag", "$fu.gw_acl[1]", flag); res.Value.Num != 0 {
			t.Errorf("%s is set", flag)
		}
	}
	yes(t, h.Call(m, r, "reset_attr_flag", "$fu.gw_acl[]", "billed"))
	if res := h.Call(m, r, "is_attr_flag", "$fu.gw_acl[1]", "billed"); res.Value.Num != 0 {
		t.Error("the flag stays")
	}
	if res := h.Call(m, r, "set_attr_flag", "$fu.none", "billed"); res.Why != "undefined" {
		t.Errorf("%+v", res)
	}
	yes(t, h.Call(m, r, "del_attr", "$f.gw_acl"))
	if res := h.Call(m, r, "attr_exists", "$f.gw_acl"); res.Value.Num != 0 {
		t.Error("del_attr left something")
	}
	if m.checkFlag("nope") == nil || !strings.Contains(m.checkFlag("nope").Error(), "dialog_cookie, billed, seen") {
		t.Error("an unknown flag is taken")
	}
	if err := h.TryLoad(New(), map[string]any{"avpflags": []any{"a", "a"}}); err == nil {
		t.Error("a flag named twice")
	}
}

func TestCacheAndItsEnd(t *testing.T) {
	h, m, db := start(t, map[string]any{"cache_size": 32})
	value := func() string {
		r := invite(h)
		yes(t, h.Call(m, r, "load_attrs", "$fu", "u1"))
		return get(t, r, "$fu.gw_acl")
	}
	value()
	waits := h.Waits
	value()
	if h.Waits != waits {
		t.Error("attributes are not remembered")
	}
	if _, err := db.Exec("UPDATE user_attrs SET value = 'new' WHERE uid = 'u1' AND value = 'ld'"); err != nil {
		t.Fatal(err)
	}
	if got := value(); got != "ld" {
		t.Errorf("%s", got)
	}
	if _, err := h.Command(m, "flush", "u1"); err != nil || value() != "new" {
		t.Errorf("after flush: %v %s", err, value())
	}
	if _, err := db.Exec("UPDATE user_attrs SET value = 'newer' WHERE uid = 'u1' AND value = 'new'"); err != nil {
		t.Fatal(err)
	}
	h.Fake.Advance(time.Minute)
	if got := value(); got != "newer" {
		t.Errorf("after cache_expire: %s", got)
	}
	r := invite(h)
	for i := range 200 {
		yes(t, h.Call(m, r, "load_attrs", "$fu", fmt.Sprint("user", i)))
	}
	if n := m.cache.flush(); n > 32 {
		t.Errorf("%d entries in a cache of 32", n)
	}
	age := m.cache.age()
	m.cache.flush()
	m.cache.put("ux", entry{core.NewAttrSet(nil), h.Fake.Now().Add(time.Hour)}, age)
	if m.cache.get([]byte("ux"), h.Fake.Now()) != nil {
		t.Error("what was read before a flush is remembered")
	}
}

func TestCommandsWrite(t *testing.T) {
	h, m, _ := start(t, nil)
	run := func(name string, params ...any) string {
		c, err := h.Command(m, name, params...)
		if err != nil {
			return err.Error()
		}
		var parts []string
		for _, s := range c.Reply {
			for _, mem := range s.(*core.Struct).Members {
				parts = append(parts, fmt.Sprint(mem.Value))
			}
		}
		return strings.Join(parts, " ")
	}
	read := func(name string) string {
		r := invite(h)
		yes(t, h.Call(m, r, "load_attrs", "$fu", "u2"))
		yes(t, h.Call(m, r, "load_attrs", "$fr", "@from.uri"))
		return get(t, r, name)
	}
	if read("$fu.fr_timer") != "-" {
		t.Fatal("u2 has attributes")
	}
	for _, tt := range []struct {
		cmd    string
		params []any
		want   string
		attr   string
		value  string
	}{
		{"user_set", []any{"u2", "fr_timer", "5000"}, "", "$fu.fr_timer", "5000"},
		{"user_set", []any{"u2", "fr_timer", "7000"}, "", "$fu.fr_timer[1]", "7000"},
		{"user_add", []any{"u2", "fr_timer", "8000"}, "400 fr_timer has one value only: use user_set", "$fu.fr_timer", "7000"},
		{"user_set", []any{"u2", "fr_timer", "soon"}, `400 fr_timer is a number, and "soon" is none`, "$fu.fr_timer", "7000"},
		{"user_add", []any{"u2", "gw_acl", "a"}, "", "$fu.gw_acl", "a"},
		{"user_add", []any{"u2", "gw_acl", "b"}, "", "$fu.gw_acl", "b"},
		{"user_list", []any{"u2"}, "fr_timer 7000 gw_acl a gw_acl b", "$fu.gw_acl[1]", "a"},
		{"user_rm", []any{"u2", "gw_acl", "b"}, "1", "$fu.gw_acl", "a"},
		{"user_rm", []any{"u2", "gw_acl"}, "1", "$fu.gw_acl", "-"},
		{"user_set", []any{"u2", "uid", "u1"}, "400 uid is no attribute that can be set", "$fu.uid", "u2"},
		{"user_set", []any{"", "x", "y"}, "400 an empty parameter", "$fu.x", "-"},
		{"user_set", []any{"u2", "x"}, "400 3 parameters are expected", "$fu.x", "-"},
		{"user_set", []any{"u2", "a b", "c"}, `400 "a b" cannot be the name of an attribute`, "$fu.x", "-"},
		{"uri_set", []any{"d1", "alice", "lang", "de"}, "", "$fr.lang", "de"},
		{"uri_list", []any{"d1", "alice"}, "lang de", "$fr.lang[1]", "de"},
		{"global_set", []any{"max", "9"}, "", "$g.max", "9"},
		{"global_rm", []any{"max"}, "1", "$g.max", "-"},
	} {
		if got := run(tt.cmd, tt.params...); got != tt.want {
			t.Errorf("%s %v: %q, want %q", tt.cmd, tt.params, got, tt.want)
		}
		if got := read(tt.attr); got != tt.value {
			t.Errorf("after %s %v: %s is %s, want %s", tt.cmd, tt.params, tt.attr, got, tt.value)
		}
	}
}

func TestGlobalFlags(t *testing.T) {
	h, m, _ := start(t, map[string]any{"initial": 1})
	r := invite(h)
	yes(t, h.Call(m, r, "is_gflag", 0))
	yes(t, h.Call(m, r, "set_gflag", 4))
	yes(t, h.Call(m, r, "reset_gflag", 0))
	if c, err := h.Command(m, "gflags.dump"); err != nil || c.Reply[0] != int64(16) {
		t.Errorf("%v %v", c.Reply, err)
	}
	h.Command(m, "gflags.set", "31")
	yes(t, h.Call(m, r, "is_gflag", 31))
	h.Command(m, "gflags.reset", int64(31))
	if c, _ := h.Command(m, "gflags.is_set", int64(31)); c.Reply[0] != int64(0) {
		t.Errorf("%v", c.Reply)
	}
	if res := h.Call(m, r, "set_gflag", 32); res.Err == nil {
		t.Error("flag 32")
	}
	if _, err := h.Command(m, "gflags.set", "x"); err == nil {
		t.Error("flag x")
	}
}

func TestOtherTablesAndNoDatabase(t *testing.T) {
	h, db, _ := prepare(t)
	for _, stmt := range []string{
		"CREATE TABLE ua (u TEXT, n TEXT, t INT, v TEXT, f INT)",
		"INSERT INTO ua VALUES ('u1', 'x', 2, 'first', 1), ('u1', 'x', 2, 'second', 1)",
		"ALTER TABLE uri_attrs RENAME COLUMN name TO n", "ALTER TABLE uri_attrs RENAME COLUMN type TO t",
		"ALTER TABLE uri_attrs RENAME COLUMN value TO v", "ALTER TABLE uri_attrs RENAME COLUMN flags TO f",
	} {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]any{"user_attrs_table": "ua", "uid_column": "u", "name_column": "n", "type_column": "t", "value_column": "v",
		"flags_column": "f", "global_attrs_table": "", "attr_types_table": ""}
	m := h.Load(New(), names).(*Module)
	r := invite(h)
	yes(t, h.Call(m, r, "load_attrs", "$fu", "u1"))
	yes(t, h.Call(m, r, "load_attrs", "$fr", "@from.uri"))
	if got := get(t, r, "$fu.x") + get(t, r, "$fu.x[1]") + get(t, r, "$fr.lang"); got != "secondfirstcs" {
		t.Errorf("other names: %s", got)
	}
	for param, value := range map[string]any{"user_attrs_table": "nope", "uid_column": "nope", "value_column": "nope", "global_attrs_table": "nope"} {
		if err := h.TryLoad(New(), map[string]any{"uri_attrs_table": "", param: value}); err == nil || !strings.Contains(err.Error(), "nope") || !strings.Contains(err.Error(), "table") {
			t.Errorf("%s: %v", param, err)
		}
	}
	m.cache.flush()
	db.Exec("DROP TABLE ua")
	if res := h.Call(m, invite(h), "load_attrs", "$fu", "u1"); res.Err == nil || !strings.Contains(res.Err.Error(), "ua") {
		t.Errorf("without the table: %+v", res)
	}
}

func TestLoadAttrsDoesNotAllocate(t *testing.T) {
	h, m, _ := start(t, nil)
	r := invite(h)
	uid, uri := []byte("u1"), []byte("sip:alice@example.net")
	var a core.Args
	call := func(group string, id []byte) {
		a.Reset()
		a.Push(core.TextValue(group))
		a.Push(core.RawValue(id))
		if res := m.loadAttrs(r, &a); res.Value.Num != 1 {
			t.Fatal(res)
		}
	}
	call("$fu", uid)
	call("$fr", uri)
	if n := testing.AllocsPerRun(100, func() { call("$fu", uid); call("$fr", uri); m.onRequest(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
