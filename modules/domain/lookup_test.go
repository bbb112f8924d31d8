package domain

import (
	"strings"
	"testing"

	"sipr/core"
)

func TestS2_011_S2_032_S2_041_LookupDomain(t *testing.T) {
	for _, mode := range []string{"1", "0"} {
		for _, attrs := range []string{"1", "0"} {
			t.Run("db_mode "+mode+", load_domain_attrs "+attrs, func(t *testing.T) {
				r := setUp(t, serTables+";\n"+example, map[string]any{"db_mode": mode, "load_domain_attrs": attrs})
				q := r.options("Proxy.iptel.org", "acme.com")
				if !r.answer(r.Call(r.m, q, "lookup_domain", "$Fd", "@from.uri.host")) ||
					!r.answer(r.Call(r.m, q, "lookup_domain", "$TD", "@ruri.host")) {
					t.Fatal("S2-041: not found")
				}
				want := map[string]string{
					"$f.did": "iptel", "$fd.did": "iptel", "$t.did": "acme", "$td.did": "acme",
					"$fd.realm": "iptel.org", "$fd.fr_timer": "5", "$td.realm": "-",
					"$fd.gw": "two", "$fd.gw[1]": "a,b:c", "$fd.gw[-1]": "two", // S2-053
					"$fd.hidden": "-", "$fd.dis": "-", "$fd.del": "-", // S2-014
				}
				for name, v := range want {
					if attrs == "0" && !strings.HasSuffix(name, "did") {
						v = "-" // S2-032
					}
					if got := r.attr(q, name); got != v {
						t.Errorf("S2-041 S2-011: %s = %s, want %s", name, got, v)
					}
				}
				res := r.Call(r.m, q, "lookup_domain", "$fd", "other.com")
				if r.answer(res) || res.Why != "foreign" || r.attr(q, "$f.did") != "-" || r.attr(q, "$fd.realm") != "-" {
					t.Error("S2-041: the caller's attributes stay after a lookup without success")
				}
				if r.attr(q, "$t.did") != "acme" {
					t.Error("S2-041: the other track lost its attributes")
				}
				if r.answer(r.Call(r.m, q, "lookup_domain", "$td", "$nothing")) || r.attr(q, "$t.did") != "-" {
					t.Error("S2-041: the lookup of nothing")
				}
			})
		}
	}
}

func TestS2_002_InterchangeableNames(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, nil)
	for _, name := range []string{"iptel.org", "sip.iptel.org", "213.192.59.75"} {
		if did, _ := r.m.LookupDID([]byte(name)); did != "iptel" {
			t.Errorf("S2-002: %s belongs to %q", name, did)
		}
	}
}

func TestS2_001_OpaqueDIDs(t *testing.T) {
	const tables = "CREATE TABLE domain (did, domain TEXT, flags INT);\n" +
		"INSERT INTO domain VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'u.example', 1), (42, 'n.example', 1), ('žluť ouč', 'č.example', 1), ('', 'e.example', 1)"
	r := setUp(t, tables, nil)
	for name, want := range map[string]string{
		"u.example": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "n.example": "42", "č.example": "žluť ouč", "e.example": "",
	} {
		q := r.request()
		if !r.answer(r.Call(r.m, q, "lookup_domain", "$fd", name)) || r.attr(q, "$f.did") != want {
			t.Errorf("S2-001: %s has did %q, want %q", name, r.attr(q, "$f.did"), want)
		}
	}
}

func TestS2_041_AttrGroup(t *testing.T) {
	var check func(string) error
	for _, e := range New().Describe().Exports {
		if e.Name == "lookup_domain" {
			check = e.Args[0].Check
		}
	}
	for group, want := range map[string]string{
		"$fd": "", "$td": "", "$FD": "", "$tD": "",
		"$ff":  "Invalid parameter value: '$ff'",
		"$fu":  "Invalid parameter value: '$fu'",
		"$f":   "Invalid parameter value, $xy expected",
		"fd":   "Invalid parameter value, $xy expected",
		"":     "Invalid parameter value, $xy expected",
		"$fdd": "Invalid parameter value, $xy expected",
	} {
		err := check(group)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("S2-041: %q: %v, want %q", group, err, want)
		}
	}
	r := setUp(t, serTables, nil)
	if r.Call(r.m, r.request(), "lookup_domain", "$ff", "x").Err == nil {
		t.Error("S2-041: a group that was computed is not judged")
	}
}

func TestS2_012_S2_013_OddRows(t *testing.T) {
	for _, mode := range []int{1, 0} {
		r := setUp(t, serTables+`;
INSERT INTO domain VALUES (NULL, 'a.example', 1), ('x', NULL, 1), ('x', 'b.example', NULL), ('x', 'c.example', 'many'), ('x', '', 1), ('x', 'x.example', 1);
INSERT INTO domain_attrs VALUES ('x', 'null', 2, NULL, 1), ('x', NULL, 2, 'v', 1), ('x', 'n2', NULL, 'v', 1), ('x', 'n3', 2, 'v', NULL),
 (NULL, 'n4', 2, 'v', 1), ('x', 'int', 0, '-7', 1), ('x', 'int1', 1, '8', 1), ('x', 'int3', 3, '9', 1), ('x', 'bad', 0, 'many', 1),
 ('x', 'nullint', 0, NULL, 1), ('x', 'did', 2, 'fake', 1), ('orphan', 'o', 2, 'v', 1), ('x', 'text', 2, '12', 1)`,
			map[string]any{"db_mode": mode, "load_domain_attrs": 1})
		for _, name := range []string{"a.example", "b.example", "c.example", ""} {
			if r.local(name) {
				t.Errorf("S2-013: %q is local", name)
			}
		}
		q := r.request()
		if !r.answer(r.Call(r.m, q, "lookup_domain", "$fd", "x.example")) {
			t.Fatal("S2-013: the good row is lost")
		}
		for name, want := range map[string]string{
			"$fd.null": "", "$fd.n2": "-", "$fd.n3": "-", "$fd.n4": "-", "$fd.int": "-7", "$fd.int1": "8", "$fd.int3": "9",
			"$fd.bad": "-", "$fd.nullint": "-", "$fd.did": "x", "$fd.o": "-", "$fd.text": "12",
		} {
			if got := r.attr(q, name); got != want {
				t.Errorf("S2-012 S2-013 db_mode %d: %s = %q, want %q", mode, name, got, want)
			}
		}
		ref := core.AttrRef{Class: core.DomainClass, Name: "int"}
		if v, _ := q.Attrs.Get(&ref); v.Kind != core.KindInt {
			t.Error("S2-012: type 0 is a number")
		}
		ref.Name = "text"
		if v, _ := q.Attrs.Get(&ref); v.Kind != core.KindText {
			t.Error("S2-012: type 2 is text")
		}
	}
}

func TestTwoRowsOfOneName(t *testing.T) {
	for _, mode := range []int{1, 0} {
		r := setUp(t, serTables+";\nINSERT INTO domain VALUES ('off', 'x.example', 3), ('first', 'X.example', 1), ('second', 'x.Example', 1)",
			map[string]any{"db_mode": mode})
		if did, _ := r.m.LookupDID([]byte("x.example")); did != "first" {
			t.Errorf("db_mode %d: the row of %q counts, want the first one in use", mode, did)
		}
	}
}

func TestS2_053_OrderByID(t *testing.T) {
	r := setUp(t, `CREATE TABLE domain (id INT, did TEXT, domain TEXT, flags INT);
CREATE TABLE domain_attrs (id INT, did TEXT, name TEXT, type INT, value TEXT, flags INT);
INSERT INTO domain VALUES (1, 'x', 'x.example', 1);
INSERT INTO domain_attrs VALUES (2, 'x', 'gw', 2, 'newer', 1), (1, 'x', 'gw', 2, 'older', 1)`, map[string]any{"load_domain_attrs": 1})
	q := r.request()
	r.Call(r.m, q, "lookup_domain", "$fd", "x.example")
	if r.attr(q, "$fd.gw") != "newer" || r.attr(q, "$fd.gw[1]") != "older" {
		t.Error("S2-053: the values are not in the order of id")
	}
}

// TestS2_052_Overlay checks that what one request writes stays with it.
func TestS2_052_Overlay(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"load_domain_attrs": 1})
	a, b := r.request(), r.request()
	for _, q := range []*core.Request{a, b} {
		r.Call(r.m, q, "lookup_domain", "$td", "iptel.org")
	}
	ref, _ := core.ParseAttrRef("$td.realm")
	a.Attrs.Set(&ref, core.TextValue("mine"))
	if r.attr(a, "$td.realm") != "mine" || r.attr(b, "$td.realm") != "iptel.org" {
		t.Error("S2-052: a write is seen by another request")
	}
}

// TestS2_054_PinnedSnapshot: a request keeps the attributes that it looked up.
func TestS2_054_PinnedSnapshot(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"load_domain_attrs": 1})
	q := r.request()
	r.Call(r.m, q, "lookup_domain", "$td", "iptel.org")
	r.exec("DELETE FROM domain")
	if _, err := r.Command(r.m, "reload"); err != nil {
		t.Fatal(err)
	}
	q.Route = core.FailureRoute
	if r.attr(q, "$td.fr_timer") != "5" || r.local("iptel.org") {
		t.Error("S2-054: a reload changed what a request had looked up")
	}
}

// TestS2_072_S2_084_NoCache covers what only db_mode 0 does.
func TestS2_072_S2_084_NoCache(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"db_mode": 0, "load_domain_attrs": 1})
	count := func(f func()) (int64, int) {
		queries, waits := r.Counter("queries").Load(), r.Waits
		f()
		return r.Counter("queries").Load() - queries, r.Waits - waits
	}
	if n, w := count(func() { r.local("iptel.org") }); n != 1 || w != 1 {
		t.Errorf("S2-084: is_local makes %d queries in %d waits", n, w)
	}
	q := r.request()
	if n, w := count(func() { r.Call(r.m, q, "lookup_domain", "$fd", "iptel.org") }); n != 2 || w != 1 {
		t.Errorf("S2-084: lookup_domain makes %d queries in %d waits", n, w)
	}
	r.exec("INSERT INTO domain VALUES ('new', 'new.example', 1);\nUPDATE domain SET flags = 35 WHERE domain = 'acme.com'")
	if !r.local("new.example") || r.local("acme.com") {
		t.Error("S2-072 S2-084: a change is not seen at once")
	}
	r.exec("DROP TABLE domain")
	q = r.request()
	for name, args := range map[string][]any{"is_local": {"iptel.org"}, "lookup_domain": {"$fd", "iptel.org"}} {
		err := r.Call(r.m, q, name, args...).Err
		if err == nil || !strings.Contains(err.Error(), "table domain") {
			t.Errorf("%s without its table answers, error %v", name, err)
		}
	}
	if r.m.IsDomainLocal([]byte("iptel.org")) || r.m.Attrs("iptel") != nil {
		t.Error("S2-043: a failure is not a yes")
	}
}

func TestNoAllocations(t *testing.T) {
	r := setUp(t, serTables+";\n"+example+";\nINSERT INTO domain VALUES ('v6', '2001:db8::1', 1)", map[string]any{"load_domain_attrs": 1})
	q := r.options("SIP.iptel.org", "away.example")
	for _, name := range []string{"SIP.iptel.org", "other.com", "[2001:DB8::1]"} {
		for _, raw := range []bool{true, false} {
			v := core.TextValue(name)
			if raw {
				v = core.RawValue([]byte(name))
			}
			var a core.Args
			if n := testing.AllocsPerRun(200, func() {
				a.Reset()
				a.Push(v)
				r.m.isLocal(q, &a)
			}); n != 0 {
				t.Errorf("is_local(%q): %v allocations", name, n)
			}
			if n := testing.AllocsPerRun(200, func() {
				a.Reset()
				a.Push(core.TextValue("$fd"))
				a.Push(v)
				r.m.lookupDomain(q, &a)
			}); n != 0 {
				t.Errorf("lookup_domain(%q): %v allocations", name, n)
			}
		}
	}
	var api API = r.m
	host := []byte("sip.iptel.org")
	if n := testing.AllocsPerRun(200, func() {
		api.LookupDID(host)
		api.Lookup(q, host)
		api.LookupName(q, "iptel")
		api.LookupRealm(q, host)
	}); n != 0 {
		t.Errorf("LookupDID, Lookup, LookupName, LookupRealm: %v allocations", n)
	}
	var a core.Args
	if n := testing.AllocsPerRun(200, func() {
		r.m.isFromLocal(q, &a)
		r.m.isURIHostLocal(q, &a)
	}); n != 0 {
		t.Errorf("is_from_local, is_uri_host_local: %v allocations", n)
	}
}
