package domain

import (
	"context"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
)

func TestS2_005_S2_040_S2_042_IsLocal(t *testing.T) {
	for _, mode := range []string{"1", "0"} {
		t.Run("db_mode "+mode, func(t *testing.T) {
			r := setUp(t, serTables+";\n"+example+`;
				INSERT INTO domain VALUES ('v6', '[2001:DB8::1]', 1), ('v6', 'Dot.Example.', 1), ('deleted', 'del.example', 129)`,
				map[string]any{"db_mode": mode})
			for _, c := range []struct {
				id, name string
				want     bool
			}{
				{"S2-040", "iptel.org", true},
				{"S2-042 case", "SIP.IPTEL.ORG", true},
				{"S2-042 stored case", "proxy.iptel.org", true},
				{"S2-042 subdomain", "a.iptel.org", false},
				{"S2-042 port", "iptel.org:5060", false},
				{"S2-005 IPv4", "213.192.59.75", true},
				{"S2-005 IPv6", "[2001:db8::1]", true},
				{"S2-005 IPv6 bare", "2001:db8::1", true},
				{"S2-005 IPv6 long", "[2001:0DB8:0::0:1]", true},
				{"S2-005 IPv6 foreign", "[2001:db8::2]", false},
				{"S2-014 flags 33", "acme.com", true},
				{"S2-014 flags 35", "dis.iptel.org", false},
				{"S2-014 flags 32", "web.iptel.org", false},
				{"S2-014 flags 37", "Proxy.iptel.org", true},
				{"S2-014 flags 129", "del.example", false},
				{"S2-014 flags 161", "gone.iptel.org", false},
				{"trailing dot", "iptel.org.", true},
				{"trailing dot in the table", "dot.example", true},
				{"unknown", "other.com", false},
				{"empty", "", false},
				{"dot", ".", false},
				{"brackets", "[]", false},
				{"one bracket", "[", false},
				{"longest", strings.Repeat("a", 256), false},
				{"too long", strings.Repeat("a", 257), false},
				{"SQL", "x' OR '1'='1", false},
				{"LIKE", "%", false},
				{"not UTF-8", "\xff\xfe", false},
			} {
				t.Run(c.id, func(t *testing.T) {
					q := r.request()
					got := r.Call(r.m, q, "is_local", c.name)
					if r.answer(got) != c.want {
						t.Errorf("is_local(%q) = %v", c.name, !c.want)
					}
					if !c.want && got.Why == "" {
						t.Error("false without a reason")
					}
					if r.attr(q, "$f.did") != "-" || r.attr(q, "$t.did") != "-" {
						t.Error("S2-040: attributes changed")
					}
				})
			}
		})
	}
}

func TestLongNameIsLocal(t *testing.T) {
	name := strings.Repeat("a", 252) + ".org" // 256 bytes
	r := setUp(t, serTables+";\nINSERT INTO domain VALUES ('long', '"+name+"', 1), ('longer', 'b"+name+"', 1)", nil)
	if !r.local(name) || r.local("b"+name) {
		t.Error("256 bytes are the limit")
	}
}

func TestS2_040_Arguments(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, nil)
	q := r.options("iptel.org", "away.example")
	q.Attrs.Set(&core.AttrRef{Class: core.AnyClass, Name: "my_domain"}, core.TextValue("acme.com"))
	for _, c := range []struct {
		name string
		args []any
		want bool
	}{
		{"is_local", []any{"@from.uri.host"}, true},
		{"is_local", []any{"@ruri.host"}, false},
		{"is_local", []any{"$my_domain"}, true},
		{"is_local", []any{"$none"}, false},
		{"is_domain_local", []any{"acme.com"}, true},
		{"is_from_local", nil, true},
		{"is_uri_host_local", nil, false},
	} {
		if got := r.answer(r.Call(r.m, q, c.name, c.args...)); got != c.want {
			t.Errorf("S2-040 %s(%v) = %v", c.name, c.args, got)
		}
	}
	if !r.answer(r.Call(r.m, r.options("a.example", "SIP.iptel.org:5070"), "is_uri_host_local")) {
		t.Error("is_uri_host_local: the port does not count")
	}
	tel := r.Request("OPTIONS tel:+123 SIP/2.0\nFrom: <tel:+456>;tag=1\nTo: <tel:+123>")
	if r.answer(r.Call(r.m, tel, "is_uri_host_local")) || r.answer(r.Call(r.m, tel, "is_from_local")) {
		t.Error("a tel URI has no host")
	}
}

func TestS2_040_S2_041_Routes(t *testing.T) {
	want := map[string]core.RouteKind{
		"is_local":      core.RequestRoute | core.FailureRoute | core.BranchRoute,
		"lookup_domain": core.RequestRoute | core.FailureRoute,
	}
	for _, e := range New().Describe().Exports {
		if k, ok := want[e.Name]; ok && e.Routes != k {
			t.Errorf("S2-040 S2-041: %s may be called from %b", e.Name, e.Routes)
		}
	}
}

func TestS2_020_S2_021_S2_032_S2_080_Defaults(t *testing.T) {
	want := map[string]string{
		"db_url": "", "db_mode": "1", "domain_table": "domain", "did_col": "did", "domain_col": "domain",
		"flags_col": "flags", "domattr_table": "domain_attrs", "domattr_did": "did", "domattr_name": "name",
		"domattr_type": "type", "domattr_value": "value", "domattr_flags": "flags", "load_domain_attrs": "0",
		"hash_size": "128", "register_myself": "true",
	}
	for _, p := range New().Describe().Params {
		if d, ok := want[p.Name]; !ok || d != p.Default {
			t.Errorf("S2-020…S2-032: %s is %q by default, want %q", p.Name, p.Default, d)
		}
		delete(want, p.Name)
	}
	if len(want) > 0 {
		t.Errorf("parameters are missing: %v", want)
	}
	m := New().(*Module)
	for _, p := range m.params() {
		if p.Name == "db_mode" && p.Set(int64(2)) == nil {
			t.Error("S2-021: db_mode 2 is accepted")
		}
		if p.Name == "db_url" && (p.Set("mysql://u:secret@h/d") != nil || strings.Contains(p.Get(), "secret")) {
			t.Error("S2-020: the password is shown")
		}
	}
}

func TestS2_020_DatabaseURL(t *testing.T) {
	r := prepare(t, serTables+";\n"+example)
	url := r.URL
	r.URL = "" // core has none
	if err := r.TryLoad(New(), map[string]any{"db_url": url}); err != nil {
		t.Errorf("S2-020: %v", err)
	}
	err := r.TryLoad(New(), nil)
	if err == nil || !strings.Contains(err.Error(), "localhost") || strings.Contains(err.Error(), "47serro11") {
		t.Errorf("S2-020: without any URL the start says %v", err)
	}
}

func TestS2_010_S2_011_FreshDatabase(t *testing.T) {
	h := coretest.NewHost(t)
	m := h.Load(New(), map[string]any{"load_domain_attrs": 1}).(*Module)
	ctx := context.Background()
	for _, stmt := range []string{
		"INSERT INTO domain (did, domain, flags) VALUES ('a', 'A.example', 33)",
		"INSERT INTO domain_attrs (did, name, type, value, flags) VALUES ('a', 'n', 2, 'v', 33)",
	} {
		if _, err := m.store.db.ExecContext(ctx, stmt); err != nil {
			t.Fatal("S2-010 S2-011: ", err)
		}
	}
	if _, err := m.store.db.ExecContext(ctx, "INSERT INTO domain (did, domain, flags) VALUES ('b', 'a.EXAMPLE', 33)"); err == nil {
		t.Error("S2-010: a name may stand twice")
	}
	if err := m.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if did, ok := m.LookupDID([]byte("a.example")); !ok || did != "a" {
		t.Error("S2-010: a new row is not found")
	}
	if len(m.Attrs("a").All()) != 2 {
		t.Error("S2-011: a new attribute is not found")
	}
	if err := h.TryLoad(New(), nil); err != nil {
		t.Errorf("the second start on the same database: %v", err)
	}
}

// TestForeignTablesStay starts on tables that were there before: no migration
// may touch them.
func TestForeignTablesStay(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, nil)
	var n int
	err := r.db.GetContext(context.Background(), &n, "SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'domain\\_%' ESCAPE '\\'")
	if err != nil || n != 1 {
		t.Errorf("the database has %d tables and indexes of the name domain_*, want domain_attrs alone (%v)", n, err)
	}
}

func TestS2_043_Myself(t *testing.T) {
	myself := func(params map[string]any) (bool, int) {
		r := setUp(t, serTables+";\n"+example, params)
		return r.IsMyself([]byte("SIP.iptel.org"), 0), len(r.Hooks.Myself)
	}
	if ok, _ := myself(nil); !ok {
		t.Error("S2-043: a local name is not the router's own")
	}
	if ok, n := myself(map[string]any{"register_myself": 0}); ok || n != 0 {
		t.Error("S2-043: register_myself 0 has no effect")
	}
	if _, n := myself(map[string]any{"db_mode": 0}); n != 0 {
		t.Error("S2-043: myself would ask the database for every message")
	}
}

func TestS2_043_API(t *testing.T) {
	for _, mode := range []int{0, 1} {
		r := setUp(t, serTables+";\n"+example, map[string]any{"db_mode": mode, "load_domain_attrs": 1})
		api, err := core.Bind[API](r.Host, "domain")
		if err != nil {
			t.Fatal(err)
		}
		if did, ok := api.LookupDID([]byte("PROXY.iptel.org")); !ok || did != "iptel" {
			t.Errorf("S2-043 db_mode %d: LookupDID = %q, %v", mode, did, ok)
		}
		if !api.IsDomainLocal([]byte("acme.com")) || api.IsDomainLocal([]byte("other.com")) {
			t.Errorf("S2-043 db_mode %d: IsDomainLocal", mode)
		}
		if name, ok := api.DomainName("iptel"); !ok || name != "proxy.iptel.org" || api.Realm("iptel") != name {
			t.Errorf("S2-014 db_mode %d: the canonical name is %q, the realm %q", mode, name, api.Realm("iptel"))
		}
		if name, ok := api.DomainName("acme"); !ok || name != "acme.com" {
			t.Errorf("S2-014 db_mode %d: without a canonical name, the first is not taken but %q", mode, name)
		}
		if name, ok := api.DomainName("Iptel"); ok || api.Realm("none") != "none" {
			t.Errorf("S2-042 db_mode %d: Iptel has the name %q, none the realm %q", mode, name, api.Realm("none"))
		}
		q := r.request()
		for _, host := range []string{"213.192.59.75", "SIP.iptel.org"} {
			if realm, ok, err := api.LookupRealm(q, []byte(host)); err != nil || !ok || realm != "proxy.iptel.org" {
				t.Errorf("db_mode %d: realm of %s is %q, %v, %v", mode, host, realm, ok, err)
			}
		}
		if _, ok, err := api.LookupRealm(q, []byte("other.com")); ok || err != nil {
			t.Errorf("db_mode %d: realm of a foreign name: %v, %v", mode, ok, err)
		}
		if n := len(api.Attrs("iptel").All()); n != 5 {
			t.Errorf("S2-043 db_mode %d: %d attributes", mode, n)
		}
		if api.Attrs("Iptel") != nil || api.Attrs("none") != nil {
			t.Errorf("S2-042 db_mode %d: a DID is case-sensitive", mode)
		}
	}
}

// TestAPIWithoutDatabase tells a domain that is foreign from one of which
// nothing is known.
func TestAPIWithoutDatabase(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"db_mode": 0})
	q := r.request()
	waits := r.Waits
	if did, ok, err := r.m.Lookup(q, []byte("acme.com")); did != "acme" || !ok || err != nil || r.Waits != waits+1 {
		t.Errorf("Lookup = %q, %v, %v in %d waits", did, ok, err, r.Waits-waits)
	}
	if _, ok, err := r.m.Lookup(q, []byte("other.com")); ok || err != nil {
		t.Errorf("foreign: %v, %v", ok, err)
	}
	if name, ok, err := r.m.LookupName(q, "acme"); name != "acme.com" || !ok || err != nil || r.Waits != waits+3 {
		t.Errorf("LookupName = %q, %v, %v", name, ok, err)
	}
	r.exec("DROP TABLE domain")
	for _, req := range []*core.Request{q, nil} {
		_, did, err1 := r.m.Lookup(req, []byte("acme.com"))
		_, name, err2 := r.m.LookupName(req, "acme")
		_, realm, err3 := r.m.LookupRealm(req, []byte("acme.com"))
		if did || name || realm || err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("%v %v, %v %v, %v %v", did, err1, name, err2, realm, err3)
		}
	}
}

// TestS2_010_S2_042_MySQL runs what depends on how a database compares.
func TestS2_010_S2_042_MySQL(t *testing.T) {
	h := coretest.NewHost(t)
	h.URL = coretest.MariaDB(t)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := database.Migrate(t.Context(), db, Migrations()); err != nil {
		t.Fatal(err)
	}
	for _, stmt := range []string{
		"INSERT INTO domain (did, domain, flags) VALUES ('d', 'Lower.example', 1), ('D', 'upper.example', 1)",
		"INSERT INTO domain_attrs (did, name, type, value, flags) VALUES ('d', 'a', 2, 'x', 1), ('D', 'a', 2, 'X', 1), ('D', 'A', 2, 'x', 1)",
	} {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatal("S2-042: ", err)
		}
	}
	if _, err := db.Exec("INSERT INTO domain (did, domain, flags) VALUES ('e', 'UPPER.example', 1)"); !database.IsDuplicate(err) {
		t.Errorf("S2-010: a name may stand twice: %v", err)
	}
	for _, mode := range []int{0, 1} {
		m := h.Load(New(), map[string]any{"db_mode": mode, "load_domain_attrs": 1}).(*Module)
		for host, want := range map[string]string{"LOWER.example": "d", "Upper.example": "D"} {
			did, ok := m.LookupDID([]byte(host))
			name, _ := m.DomainName(did)
			if !ok || did != want || name != strings.ToLower(host) {
				t.Errorf("S2-042 db_mode %d: %s is %q %q", mode, host, did, name)
			}
		}
		if d, e := len(m.Attrs("d").All()), len(m.Attrs("D").All()); d != 2 || e != 3 {
			t.Errorf("S2-042 db_mode %d: %d and %d attributes", mode, d, e)
		}
	}
}
