package domain

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
)

// logTo makes the module log to a buffer from now on.
func (r *rig) logTo() *bytes.Buffer {
	b := new(bytes.Buffer)
	r.m.log = slog.New(slog.NewTextHandler(b, nil))
	r.m.store.log = r.m.log
	return b
}

func TestS2_014_Flags(t *testing.T) {
	want := map[int]bool{1: true, 33: true, 37: true, 5: true, 65: true, 0: false, 32: false, 3: false, 35: false, 129: false, 161: false, 131: false}
	for _, mode := range []int{1, 0} {
		r := setUp(t, serTables+";\nINSERT INTO domain VALUES ('d', 'd.example', 1)", map[string]any{"db_mode": mode, "load_domain_attrs": 1})
		for flags := range want {
			r.exec(fmt.Sprintf("INSERT INTO domain VALUES ('d', 'f%d.example', %d);\nINSERT INTO domain_attrs VALUES ('d', 'f%d', 2, 'x', %d)", flags, flags, flags, flags))
		}
		if err := r.m.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		q := r.request()
		r.Call(r.m, q, "lookup_domain", "$fd", "d.example")
		for flags, used := range want {
			if got := r.local(fmt.Sprintf("f%d.example", flags)); got != used {
				t.Errorf("db_mode %d: a domain with flags %d is local: %v", mode, flags, got)
			}
			if got := r.attr(q, fmt.Sprintf("$fd.f%d", flags)) == "x"; got != used {
				t.Errorf("db_mode %d: an attribute with flags %d is there: %v", mode, flags, got)
			}
		}
	}
}

func TestS2_012_S2_013_OddRowsAreLogged(t *testing.T) {
	for sql, want := range map[string][]string{
		"INSERT INTO domain VALUES (NULL, 'n.example', 1)":                {"NULL", "table=domain", "n.example"},
		"INSERT INTO domain VALUES ('x', NULL, 1)":                        {"NULL", "did=x"},
		"INSERT INTO domain VALUES ('x', 'n.example', NULL)":              {"NULL", "n.example"},
		"INSERT INTO domain VALUES ('x', 'n.example', 'many')":            {"flags", "n.example", "many"},
		"INSERT INTO domain_attrs VALUES ('iptel', NULL, 2, 'v', 1)":      {"NULL", "table=domain_attrs", "iptel"},
		"INSERT INTO domain_attrs VALUES ('iptel', 'n', NULL, 'v', 1)":    {"NULL", "name=n"},
		"INSERT INTO domain_attrs VALUES ('iptel', 'n', 2, 'v', NULL)":    {"NULL", "name=n"},
		"INSERT INTO domain_attrs VALUES ('iptel', 'n', 0, '12 pcs', 33)": {"not a number", "name=n", "12 pcs"},
		"INSERT INTO domain_attrs VALUES ('iptel', 'n', 0, NULL, 33)":     {"not a number", "name=n"},
	} {
		r := setUp(t, serTables+";\n"+example+";\n"+sql, map[string]any{"load_domain_attrs": 1})
		log := r.logTo()
		if err := r.m.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, w := range append(want, "level=ERROR") {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: there is no %q in %s", sql, w, log)
			}
		}
		if len(r.m.current.Load().names) != 5 || r.m.Attrs("iptel").Len() != 5 {
			t.Errorf("%s: other rows are lost", sql)
		}
	}
}

// TestS2_032_AttributesAreNotRead: without load_domain_attrs the table need
// not even be there.
func TestS2_032_AttributesAreNotRead(t *testing.T) {
	for _, mode := range []int{1, 0} {
		r := prepare(t, serTables+";\n"+example+";\nDROP TABLE domain_attrs")
		if err := r.TryLoad(r.m, map[string]any{"load_domain_attrs": 1, "db_mode": mode}); err == nil || !strings.Contains(err.Error(), "domain_attrs") {
			t.Errorf("db_mode %d: a start without the table: %v", mode, err)
		}
		r.Load(r.m, map[string]any{"load_domain_attrs": 0, "db_mode": mode})
		before := r.Counter("queries").Load()
		q := r.request()
		if !r.answer(r.Call(r.m, q, "lookup_domain", "$fd", "iptel.org")) || r.attr(q, "$fd.did") != "iptel" {
			t.Errorf("db_mode %d: did is not published", mode)
		}
		if n := r.Counter("queries").Load() - before; n != int64(1-mode) {
			t.Errorf("db_mode %d: %d queries", mode, n)
		}
	}
}

// TestS2_041_LoadTime: a group that is not one is an error of the script, with
// its place.
func TestS2_041_LoadTime(t *testing.T) {
	r := setUp(t, serTables, nil)
	for group, want := range map[string]string{
		"$fd": "", "$TD": "", "$ff": "Invalid parameter value: '$ff'", "$fu": "Invalid parameter value: '$fu'", "fd": "Invalid parameter value, $xy expected",
	} {
		_, err := r.script("function request_route()\n  is_local(\"@ruri.host\")\n  lookup_domain(\"" + group + "\", \"@ruri.host\")\nend")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", group, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "route.lua:3:")):
			t.Errorf("%s: %v, want route.lua:3 and %q", group, err, want)
		}
	}
}

func TestS2_083_FirstReload(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"load_domain_attrs": 1})
	dumped := func() string {
		c, err := r.Command(r.m, "dump")
		if err != nil {
			t.Fatal(err)
		}
		return kamcmd(c)
	}
	first := dumped()
	for i := range 3 {
		if _, err := r.Command(r.m, "reload"); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(first, dumped()); d != "" {
			t.Errorf("after reload %d:\n%s", i+1, d)
		}
	}
}

func TestS2_082_FailureIsLogged(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, nil)
	log := r.logTo()
	r.exec("DROP TABLE domain")
	if _, err := r.Command(r.m, "reload"); err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"level=ERROR", "old ones stay", "table domain"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("there is no %q in %s", want, log)
		}
	}
}

// serMySQL are the tables as SER's own script makes them.
const serMySQL = `CREATE TABLE version (table_name VARCHAR(32) NOT NULL, table_version INT UNSIGNED NOT NULL DEFAULT '0', UNIQUE KEY tn_key (table_name));
INSERT INTO version VALUES ('domain', 2), ('domain_attrs', 1);
CREATE TABLE domain (did VARCHAR(64) NOT NULL, domain VARCHAR(128) NOT NULL, flags INT UNSIGNED NOT NULL DEFAULT '0', UNIQUE KEY domain_idx (domain), KEY did_idx (did));
CREATE TABLE domain_attrs (did VARCHAR(64), name VARCHAR(32) NOT NULL, type INT NOT NULL DEFAULT '0', value VARCHAR(255), flags INT UNSIGNED NOT NULL DEFAULT '0', UNIQUE KEY domain_attr_idx (did, name, value), KEY domain_did (did, flags))`

// kamailioMySQL are the tables as Kamailio's script for uid_domain makes them.
const kamailioMySQL = `CREATE TABLE uid_domain (id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL, did VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL, flags INT(10) UNSIGNED DEFAULT 0 NOT NULL, CONSTRAINT domain_idx UNIQUE (domain));
CREATE INDEX did_idx ON uid_domain (did);
CREATE TABLE uid_domain_attrs (id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL, did VARCHAR(64), name VARCHAR(32) NOT NULL, type INT DEFAULT 0 NOT NULL, value VARCHAR(128), flags INT(10) UNSIGNED DEFAULT 0 NOT NULL, CONSTRAINT domain_attr_idx UNIQUE (did, name, value));
CREATE INDEX domain_did ON uid_domain_attrs (did, flags)`

// TestS2_010_S2_011_S2_013_ExistingDatabase starts on the tables of others,
// which have rows of NULLs and, SER's, no id.
func TestS2_010_S2_011_S2_013_ExistingDatabase(t *testing.T) {
	h := coretest.NewHost(t)
	h.URL = coretest.MariaDB(t)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	insert := strings.ReplaceAll(example, "INTO domain", "INTO %[1]sdomain") + `;
INSERT INTO %[1]sdomain_attrs (did, name, type, value, flags) VALUES (NULL, 'orphan', 2, 'x', 1), ('acme', 'null', 2, NULL, 1), ('iptel', 'bad', 0, 'x', 1)`
	for _, c := range []struct {
		name, prefix, tables string
		params               map[string]any
	}{
		{"ser", "", serMySQL, map[string]any{}},
		{"kamailio", "uid_", kamailioMySQL, map[string]any{"domain_table": "uid_domain", "domattr_table": "uid_domain_attrs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rig{Host: h, t: t, db: db}
			r.exec(c.tables + ";\n" + fmt.Sprintf(insert, c.prefix))
			for _, mode := range []int{1, 0} {
				r.m = New().(*Module)
				c.params["db_mode"], c.params["load_domain_attrs"] = mode, 1
				r.Load(r.m, c.params)
				q := r.request()
				for host, want := range map[string]string{"SIP.iptel.org": "iptel", "213.192.59.75": "iptel", "ACME.com": "acme", "dis.iptel.org": "-", "other.com": "-"} {
					r.Call(r.m, q, "lookup_domain", "$fd", host)
					if got := r.attr(q, "$fd.did"); got != want {
						t.Errorf("db_mode %d: %s belongs to %s, want %s", mode, host, got, want)
					}
				}
				r.Call(r.m, q, "lookup_domain", "$td", "Proxy.iptel.org")
				for name, want := range map[string]string{"$td.fr_timer": "5", "$td.gw": "two", "$td.gw[1]": "a,b:c", "$td.dis": "-", "$td.bad": "-", "$td.orphan": "-"} {
					if got := r.attr(q, name); got != want {
						t.Errorf("db_mode %d: %s = %s, want %s", mode, name, got, want)
					}
				}
				r.Call(r.m, q, "lookup_domain", "$td", "acme.com")
				if got := r.attr(q, "$td.null"); got != "" {
					t.Errorf("db_mode %d: NULL is %q", mode, got)
				}
			}
			// Nothing was added to what belongs to somebody else.
			var n int
			if err := db.Get(&n, "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'domain' AND column_name = 'id'"); err != nil || n != 0 {
				t.Errorf("table domain has %d columns id (%v)", n, err)
			}
		})
	}
}

// TestS2_072_S2_082_DatabaseStops reloads when the server is gone.
func TestS2_072_S2_082_DatabaseStops(t *testing.T) {
	h := coretest.NewHost(t)
	cached, direct := New().(*Module), New().(*Module)
	t.Run("while it runs", func(t *testing.T) {
		h.URL = coretest.MariaDB(t) // which ends with this part
		db, err := database.Open(h, h.URL)
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{Host: h, t: t, db: db}
		r.exec(serMySQL + ";\n" + example)
		h.Load(direct, map[string]any{"db_mode": 0})
		h.Load(cached, nil)
		r.exec("INSERT INTO domain VALUES ('iptel', 'new.example', 1);\nDELETE FROM domain WHERE domain = 'acme.com'")
		if !direct.IsDomainLocal([]byte("new.example")) || direct.IsDomainLocal([]byte("acme.com")) {
			t.Error("db_mode 0 does not see a change at once")
		}
		if cached.IsDomainLocal([]byte("new.example")) || !cached.IsDomainLocal([]byte("acme.com")) {
			t.Error("db_mode 1 sees a change before the reload")
		}
		if _, err := h.Command(cached, "reload"); err != nil {
			t.Error(err)
		}
		if !cached.IsDomainLocal([]byte("new.example")) || cached.IsDomainLocal([]byte("acme.com")) {
			t.Error("db_mode 1 does not see a change after the reload")
		}
	})
	if t.Failed() || cached.store == nil {
		return // or MariaDB is not there
	}
	_, err := h.Command(cached, "reload")
	if d := cmp.Diff(&core.Fault{Code: 400, Reason: "Domain Table Reload Failed"}, fault(err)); d != "" {
		t.Errorf("the reload says %v:\n%s", err, d)
	}
	if did, ok := cached.LookupDID([]byte("iptel.org")); !ok || did != "iptel" {
		t.Error("the old data is gone")
	}
	if _, ok, err := direct.Lookup(nil, []byte("iptel.org")); ok || err == nil {
		t.Errorf("db_mode 0 answers %v, %v without its database", ok, err)
	}
}

// TestS2_005_AddressForms: the ways of writing an address are equal, in the
// table as in the message.
func TestS2_005_AddressForms(t *testing.T) {
	stored := []string{"2001:db8::1", "[2001:db8::1]", "2001:DB8:0:0:0:0:0:1", "[2001:0db8::0001]", "2001:db8::0.0.0.1"}
	asked := []string{"2001:db8::1", "[2001:db8::1]", "[2001:DB8:0:0::1]", "[2001:db8::0.0.0.1]"}
	for _, s := range stored {
		r := setUp(t, serTables+";\nINSERT INTO domain VALUES ('v6', '"+s+"', 1)", nil)
		for _, a := range asked {
			if !r.local(a) {
				t.Errorf("%s is stored, %s is foreign", s, a)
			}
			q := r.options("far.example", "["+strings.Trim(a, "[]")+"]:5080")
			if !r.answer(r.Call(r.m, q, "is_local", "@ruri.host")) {
				t.Errorf("%s is stored, a Request-URI with %s is foreign", s, a)
			}
		}
		if r.local("2001:db8::2") || r.local("[2001:db8::11]") {
			t.Errorf("%s is stored, another address is local", s)
		}
	}
	// With db_mode 0 the database finds what is stored as RFC 5952 has it, or
	// as it is asked for.
	r := setUp(t, serTables+";\nINSERT INTO domain VALUES ('v6', '2001:db8::1', 1), ('v6b', '[2001:db8::2]', 1)", map[string]any{"db_mode": 0})
	for _, a := range append(asked, "2001:db8::2", "[2001:DB8::0:2]") {
		if !r.local(a) {
			t.Errorf("db_mode 0: %s is foreign", a)
		}
	}
}

// TestS2_053_OrderWithoutID: tables without a number of the row have an order
// as well.
func TestS2_053_OrderWithoutID(t *testing.T) {
	r := setUp(t, `CREATE TABLE domain (did TEXT, domain TEXT, flags INT);
CREATE TABLE domain_attrs (did TEXT, name TEXT, type INT, value TEXT, flags INT, PRIMARY KEY (did, name, value)) WITHOUT ROWID;
INSERT INTO domain VALUES ('x', 'x.example', 1);
INSERT INTO domain_attrs VALUES ('x', 'gw', 2, 'c', 1), ('x', 'gw', 2, 'a', 1), ('x', 'gw', 2, 'b', 1)`, map[string]any{"load_domain_attrs": 1})
	q := r.request()
	r.Call(r.m, q, "lookup_domain", "$fd", "x.example")
	if got := r.attr(q, "$fd.gw[1]") + r.attr(q, "$fd.gw[2]") + r.attr(q, "$fd.gw"); got != "abc" {
		t.Errorf("the values come as %s", got)
	}
}

// TestS2_080_HashSize: a module that is configured for SER starts.
func TestS2_080_HashSize(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"hash_size": 1})
	if !r.local("iptel.org") || !r.local("acme.com") {
		t.Error("hash_size has an effect")
	}
}
