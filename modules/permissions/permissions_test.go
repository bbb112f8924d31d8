package permissions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
)

type rig struct {
	*coretest.Host
	t  testing.TB
	db *database.DB
	m  *Module
}

func prepare(t testing.TB, statements ...string) *rig {
	t.Helper()
	h := coretest.NewHost(t)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{h, t, db, New().(*Module)}
	r.exec(statements...)
	return r
}

func (r *rig) exec(statements ...string) {
	r.t.Helper()
	for _, s := range statements {
		if _, err := r.db.ExecContext(context.Background(), s); err != nil {
			r.t.Fatal(err)
		}
	}
}

// allow calls allow_source_address for a request from addr.
func (r *rig) allow(addr string, proto core.Proto, group ...any) bool {
	r.t.Helper()
	q := r.Request("OPTIONS sip:x@a.example SIP/2.0\nFrom: <sip:joe@b.example>;tag=1\nTo: <sip:x@a.example>")
	socket := *q.Flow.Socket
	socket.Proto = proto
	q.Flow = core.Flow{Socket: &socket, Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), 5060)}
	res := r.Call(r.m, q, "allow_source_address", group...)
	ok := res.Value.Num == 1
	if res.Err != nil || ok != q.Trusted || ok == (res.Why != "") {
		r.t.Errorf("%s: %+v, Trusted is %v", addr, res, q.Trusted)
	}
	return ok
}

const table = "CREATE TABLE trusted (id INTEGER, source TEXT, proto TEXT, tag TEXT, flags INT)"

func TestAllowSourceAddress(t *testing.T) {
	r := prepare(t, table, `INSERT INTO trusted VALUES
		(1, '198.51.100.7', 'any', 'carrier', 33), (2, '10.1.2.3/8', NULL, '', 1), (3, '203.0.113.1', 'tcp', 'carrier', 1),
		(4, '2001:DB8::/32', '', NULL, 1), (5, '192.0.2.1', 'udp', 'site', 3), (6, '192.0.2.2', 'any', '', 32),
		(7, '192.0.2.3', 'any', '', 129), (8, '::ffff:192.0.2.4', 'any', '', 1), (9, '203.0.113.1', 'udp', 'site', 1),
		(10, '::ffff:172.16.0.0/108', 'any', '', 1)`)
	r.Load(r.m, map[string]any{"trusted": []any{"192.0.2.128/25", "127.0.0.1", "[::1]"}})
	for _, c := range []struct {
		addr  string
		proto core.Proto
		group []any
		want  bool
	}{
		{"198.51.100.7", core.UDP, nil, true},
		{"198.51.100.8", core.UDP, nil, false},
		{"::ffff:198.51.100.7", core.UDP, nil, true},
		{"10.255.0.1", core.TCP, nil, true},
		{"11.0.0.1", core.TCP, nil, false},
		{"2001:db8:ffff::1", core.UDP, nil, true},
		{"2001:db9::1", core.UDP, nil, false},
		{"192.0.2.1", core.UDP, nil, false},
		{"192.0.2.2", core.UDP, nil, false},
		{"192.0.2.3", core.UDP, nil, false},
		{"192.0.2.4", core.UDP, nil, true},
		{"172.31.255.255", core.UDP, nil, true},
		{"172.32.0.0", core.UDP, nil, false},
		{"192.0.2.200", core.UDP, nil, true},
		{"192.0.2.127", core.UDP, nil, false},
		{"127.0.0.1", core.UDP, nil, true},
		{"::1", core.UDP, nil, true},
		{"::1%eth0", core.UDP, nil, true},
		{"203.0.113.1", core.TCP, nil, true},
		{"203.0.113.1", core.TLS, nil, false},
		{"203.0.113.1", core.TCP, []any{"carrier"}, true},
		{"203.0.113.1", core.TCP, []any{"site"}, false},
		{"203.0.113.1", core.UDP, []any{"site"}, true},
		{"198.51.100.7", core.UDP, []any{"carrier"}, true},
		{"127.0.0.1", core.UDP, []any{"carrier"}, false},
		{"127.0.0.1", core.UDP, []any{"$none"}, false},
		{"127.0.0.1", core.UDP, []any{""}, false},
	} {
		if got := r.allow(c.addr, c.proto, c.group...); got != c.want {
			t.Errorf("allow_source_address(%v) from %s over %s = %v", c.group, c.addr, c.proto, got)
		}
	}
	api, err := core.Bind[API](r.Host, "permissions")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"198.51.100.7": true, "::ffff:10.0.0.1": true, "203.0.113.1": false, "192.0.2.1": false} {
		if api.Trusted(netip.MustParseAddr(addr)) != want {
			t.Errorf("Trusted(%s) = %v", addr, !want)
		}
	}
	if api.Trusted(netip.Addr{}) {
		t.Error("no address is trusted")
	}
}

func TestSources(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", " 10.0.0.1 ": "10.0.0.1", "10.0.0.1/8": "10.0.0.0/8", "10.0.0.1/32": "10.0.0.1", "0.0.0.0/0": "0.0.0.0/0",
		"[2001:DB8::1]": "2001:db8::1", "2001:db8::1/64": "2001:db8::/64", "::ffff:10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1/104": "10.0.0.0/8",
		"": "", "loopback": "", "10.0.0.1/33": "", "10.0.0": "", "10.0.0.1:5060": "", "example.org": "", "fe80::1%eth0": "", "::ffff:0:0/90": "",
		"10.0.0.0/255.0.0.0": "",
	} {
		p, err := parseSource(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken as %s", in, p)
			}
			continue
		}
		if err != nil || source(p) != want {
			t.Errorf("%q is %s, want %s (%v)", in, p, want, err)
		}
	}
	if err := coretest.NewHost(t).TryLoad(New(), map[string]any{"trusted": "loopback"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("a parameter that is no address: %v", err)
	}
}

func TestWithoutDatabase(t *testing.T) {
	for what, params := range map[string]map[string]any{
		"none configured": {"trusted": "192.0.2.1"}, "not wanted": {"trusted": "192.0.2.1", "use_db": 0, "db_url": "sqlite:none.db"},
	} {
		r := &rig{Host: coretest.NewHost(t), t: t, m: New().(*Module)}
		r.URL = ""
		r.Load(r.m, params)
		if _, err := r.Command(r.m, "reload"); err != nil || !r.allow("192.0.2.1", core.UDP) || r.allow("192.0.2.2", core.UDP) {
			t.Errorf("%s: the parameter alone does not work (%v)", what, err)
		}
	}
}

func TestFreshDatabase(t *testing.T) {
	r := prepare(t)
	r.Load(r.m, nil)
	if r.allow("192.0.2.1", core.UDP) {
		t.Error("an empty list trusts somebody")
	}
	r.exec("INSERT INTO trusted (source) VALUES ('192.0.2.1')")
	if err := r.m.Reload(t.Context()); err != nil || !r.allow("192.0.2.1", core.UDP) {
		t.Errorf("a new row is not used: %v", err)
	}
}

func TestNames(t *testing.T) {
	const other = "CREATE TABLE others (src_ip TEXT, p TEXT, t TEXT, f INT)"
	params := map[string]any{"trusted_table": "others", "source_col": "src_ip", "proto_col": "p", "tag_col": "t", "flags_col": "f"}
	r := prepare(t, other, "INSERT INTO others VALUES ('192.0.2.1', 'any', 't', 1)")
	r.Load(r.m, params)
	if !r.allow("192.0.2.1", core.UDP, "t") {
		t.Error("renamed columns do not work")
	}
	for param := range params {
		wrong := map[string]any{}
		for k, v := range params {
			wrong[k] = v
		}
		wrong[param] = "wrong"
		r := prepare(t, other)
		err := r.TryLoad(r.m, wrong)
		if err == nil || !strings.Contains(err.Error(), "wrong") || !strings.Contains(err.Error(), param) ||
			param != "trusted_table" && !strings.Contains(err.Error(), "table others") {
			t.Errorf("%s: the start says %v", param, err)
		}
	}
}

func TestBadRows(t *testing.T) {
	r := prepare(t, table, `INSERT INTO trusted VALUES (41, 'nonsense', 'any', '', 1), (42, NULL, 'any', '', 1),
		(43, '192.0.2.3', 'sctp', '', 1), (44, '192.0.2.4', 'any', '', NULL), (45, '192.0.2.5', 'any', '', 1)`)
	var log bytes.Buffer
	s, err := openStore(t.Context(), r.db, r.m.columns, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.load(t.Context())
	if err != nil || len(entries) != 1 || entries[0].row != "45" {
		t.Errorf("%v, %v", entries, err)
	}
	for _, want := range []string{"id=41 source=nonsense", `id=42 source=""`, "id=43 proto=sctp", `id=44 flags=""`} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log does not say %s once:\n%s", want, log.String())
		}
	}
}

func TestDump(t *testing.T) {
	r := prepare(t, table, "INSERT INTO trusted VALUES (2, '10.0.0.0/8', 'any', 'b', 1), (1, '192.0.2.1', 'tcp', NULL, 1)")
	r.Load(r.m, map[string]any{"trusted": "::1"})
	for _, name := range []string{"dump", "addressDump"} {
		c, err := r.Command(r.m, name)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, s := range c.Reply {
			for _, m := range s.(*core.Struct).Members {
				fmt.Fprintf(&text, "%s=%v ", m.Name, m.Value)
			}
			text.WriteByte('\n')
		}
		const want = "source=::1 proto=any tag= \nid=1 source=192.0.2.1 proto=TCP tag= \nid=2 source=10.0.0.0/8 proto=any tag=b \n"
		if d := cmp.Diff(want, text.String()); d != "" {
			t.Error(d)
		}
		got, _ := json.Marshal(c.Data)
		const wantJSON = `{"trusted":[{"source":"::1","proto":"any","tag":""},{"id":"1","source":"192.0.2.1","proto":"TCP","tag":""},` +
			`{"id":"2","source":"10.0.0.0/8","proto":"any","tag":"b"}]}`
		if d := cmp.Diff(wantJSON, string(got)); d != "" {
			t.Error(d)
		}
	}
}

func TestReload(t *testing.T) {
	for _, name := range []string{"reload", "addressReload"} {
		r := prepare(t, table, "INSERT INTO trusted VALUES (1, '192.0.2.1', 'any', '', 1)")
		r.Load(r.m, map[string]any{"trusted": "192.0.2.9"})
		r.exec("INSERT INTO trusted VALUES (2, '192.0.2.2', 'any', '', 1)", "DELETE FROM trusted WHERE id = 1")
		if !r.allow("192.0.2.1", core.UDP) || r.allow("192.0.2.2", core.UDP) {
			t.Error("a change is seen before the reload")
		}
		if _, err := r.Command(r.m, name); err != nil {
			t.Fatal(err)
		}
		if r.allow("192.0.2.1", core.UDP) || !r.allow("192.0.2.2", core.UDP) || !r.allow("192.0.2.9", core.UDP) {
			t.Error("the reload did not bring the change")
		}
		r.exec("ALTER TABLE trusted RENAME COLUMN flags TO f")
		var f *core.Fault
		if _, err := r.Command(r.m, name); !errors.As(err, &f) || f.Code != 500 || !r.allow("192.0.2.2", core.UDP) {
			t.Errorf("a reload that fails: %v", err)
		}
	}
}

func TestReloadRace(t *testing.T) {
	r := prepare(t, table, "INSERT INTO trusted VALUES (1, '192.0.2.1', 'any', '', 1)")
	r.Load(r.m, map[string]any{"trusted": "10.0.0.0/8"})
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !done.Load() {
				if !r.m.Trusted(netip.MustParseAddr("192.0.2.1")) || !r.m.Trusted(netip.MustParseAddr("10.1.1.1")) ||
					r.m.Trusted(netip.MustParseAddr("192.0.2.2")) {
					t.Error("a wrong answer during a reload")
					return
				}
			}
		})
	}
	for range 200 {
		if err := r.m.Reload(t.Context()); err != nil {
			t.Error(err)
			break
		}
	}
	done.Store(true)
	wg.Wait()
}

func TestManyEntries(t *testing.T) {
	entries := make([]entry, 0, 100_000)
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)})
		entries = append(entries, entry{prefix: netip.PrefixFrom(a, 32-i%3).Masked()})
	}
	m := New().(*Module)
	m.current.Store(newList(entries))
	r := coretest.NewHost(t).Request("OPTIONS sip:x@a.example SIP/2.0\nFrom: <sip:joe@b.example>;tag=1\nTo: <sip:x@a.example>")
	for addr, want := range map[string]bool{"20.0.1.2": true, "21.0.0.0": false, "2001:db8::1": false} {
		r.Flow.Remote = netip.AddrPortFrom(netip.MustParseAddr(addr), 5060)
		var a core.Args
		if n := testing.AllocsPerRun(100, func() {
			if (m.allowSourceAddress(r, &a).Value.Num == 1) != want {
				t.Fatalf("%s: want %v", addr, want)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", addr, n)
		}
	}
}
