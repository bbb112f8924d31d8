package gateway

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
)

func invite(h *coretest.Host, uri string) *core.Request {
	return h.Request("INVITE " + uri + " SIP/2.0\nFrom: <sip:a@example.com>;tag=1\nTo: <" + uri + ">")
}

// load starts a module that draws the first of equals.
func load(t *testing.T, params map[string]any) (*coretest.Host, *Module) {
	t.Helper()
	h := coretest.NewHost(t)
	m := New().(*Module)
	m.random = func(uint32) uint32 { return 0 }
	if _, ok := params["use_db"]; !ok {
		params["use_db"] = false
	}
	h.Load(m, params)
	return h, m
}

// tries returns the Request-URIs of all tries.
func tries(t *testing.T, h *coretest.Host, m *Module, uri string, args ...any) []string {
	t.Helper()
	r := invite(h, uri)
	res := h.Call(m, r, "gw_route", args...)
	var got []string
	for name := "gw_route"; ; name = "next_gw" {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		if res.Value.Num == 0 {
			return append(got, res.Why)
		}
		u, err := r.Msg.RURI()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got = append(got, string(u.Raw))
		res = h.Call(m, r, "next_gw")
	}
}

func TestRoute(t *testing.T) {
	h, m := load(t, map[string]any{"rule": []any{
		"target=sip:192.0.2.9",
		"prefix=+1 strip=1 prepend=00 target=sip:192.0.2.1:5070;transport=tcp",
		"prefix=+1212 target=sips:ny.example.com priority=2",
		"prefix=+1212 strip=2 target=sip:192.0.2.2 priority=1",
		"prefix=+1212 target=sip:[2001:db8::1] priority=3",
		"prefix=99 strip=2 target=sip:192.0.2.3",
		"prefix=# target=sip:192.0.2.4",
	}})
	tests := []struct {
		name, uri string
		args      []any
		want      []string
	}{
		{"every number", "sip:4930123@example.com", nil, []string{"sip:4930123@192.0.2.9", "no_more"}},
		{"strip and prepend", "sip:+1303555@example.com;user=phone", nil, []string{"sip:001303555@192.0.2.1:5070;transport=tcp", "no_more"}},
		{"longest prefix, by priority", "sip:+1212555@example.com", nil,
			[]string{"sip:212555@192.0.2.2", "sips:+1212555@ny.example.com", "sip:+1212555@[2001:db8::1]", "no_more"}},
		{"separators", "tel:+1-(212)-5.55;phone-context=x", nil,
			[]string{"sip:212555@192.0.2.2", "sips:+1212555@ny.example.com", "sip:+1212555@[2001:db8::1]", "no_more"}},
		{"parameters in the user part", "sip:+1-303;ext=1@example.com", nil, []string{"sip:001303@192.0.2.1:5070;transport=tcp", "no_more"}},
		{"escapes", "sip:%2349@example.com", nil, []string{"sip:%2349@192.0.2.4", "no_more"}},
		{"argument", "sip:bob@example.com", []any{"+1 303"}, []string{"no_number"}},
		{"argument number", "sip:bob@example.com", []any{"+1-303"}, []string{"sip:001303@192.0.2.1:5070;transport=tcp", "no_more"}},
		{"argument URI", "sip:bob@example.com", []any{"sip:+1303@x"}, []string{"sip:001303@192.0.2.1:5070;transport=tcp", "no_more"}},
		{"argument select", "sip:+1303@example.com", []any{"@ruri.user"}, []string{"sip:001303@192.0.2.1:5070;transport=tcp", "no_more"}},
		{"name", "sip:bob@example.com", nil, []string{"no_number"}},
		{"digits in a name", "sip:49x@example.com", nil, []string{"no_number"}},
		{"no user", "sip:example.com", nil, []string{"no_number"}},
		{"plus alone", "sip:+@example.com", nil, []string{"no_number"}},
		{"plus inside", "sip:49+1@example.com", nil, []string{"no_number"}},
		{"too long", "sip:" + strings.Repeat("1", 65) + "@example.com", nil, []string{"no_number"}},
		{"nothing left", "sip:99@example.com", nil, []string{"no_rule"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, tries(t, h, m, tt.uri, tt.args...)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNoRule(t *testing.T) {
	h, m := load(t, map[string]any{"rule": "prefix=+1 target=sip:192.0.2.1"})
	if d := cmp.Diff([]string{"no_rule"}, tries(t, h, m, "sip:1303@example.com")); d != "" {
		t.Error(d)
	}
	if res := h.Call(m, invite(h, "sip:+1@example.com"), "next_gw"); res.Why != "no_more" {
		t.Errorf("next_gw before gw_route: %+v", res)
	}
}

// TestOtherDestinations checks that what an earlier lookup has found does not
// take the call away from the gateway.
func TestOtherDestinations(t *testing.T) {
	h, m := load(t, map[string]any{"rule": "target=sip:192.0.2.1"})
	r := invite(h, "sip:1@example.com")
	r.Main.NextHop = []byte("sip:198.51.100.1")
	r.AddTarget(core.Target{URI: []byte("sip:198.51.100.2")})
	h.Call(m, r, "gw_route")
	if r.Main.NextHop != nil || len(r.Targets) != 0 {
		t.Errorf("still there: %v %v", r.Main, r.Targets)
	}
}

func TestWeights(t *testing.T) {
	var rules []*rule
	for _, text := range []string{
		"target=sip:a priority=1 weight=30", "target=sip:b priority=1 weight=10", "target=sip:c priority=1 weight=0",
		"target=sip:d priority=2 weight=0", "target=sip:e priority=2 weight=0",
	} {
		r, err := parseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, &r)
	}
	tests := []struct {
		draws []uint32
		want  string
	}{
		{[]uint32{0, 0, 0}, "a b c d e"},
		{[]uint32{29, 9, 1}, "a b c e d"},
		{[]uint32{30, 0, 0}, "b a c d e"},
	}
	for _, tt := range tests {
		order := append([]*rule(nil), rules...)
		shuffle(order, func(n uint32) uint32 {
			if len(tt.draws) > 0 {
				d := tt.draws[0]
				tt.draws = tt.draws[1:]
				if d >= n {
					t.Fatalf("draw %d of %d", d, n)
				}
				return d
			}
			t.Fatal("too many draws")
			return 0
		})
		var got []string
		for _, r := range order {
			got = append(got, strings.TrimPrefix(r.target, "sip:"))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s, want %s", s, tt.want)
		}
	}
}

// TestShare checks that weights are shares of the calls.
func TestShare(t *testing.T) {
	h := coretest.NewHost(t)
	m := New().(*Module)
	h.Load(m, map[string]any{"use_db": false, "rule": []any{"target=sip:192.0.2.1 weight=3", "target=sip:192.0.2.2 weight=1"}})
	first := 0
	for range 4000 {
		r := invite(h, "sip:1@example.com")
		h.Call(m, r, "gw_route")
		if string(r.Msg.RURIText()) == "sip:1@192.0.2.1" {
			first++
		}
	}
	if first < 2850 || first > 3150 {
		t.Errorf("%d of 4000 calls went to the gateway that takes three quarters", first)
	}
}

func TestIsGateway(t *testing.T) {
	h, m := load(t, map[string]any{"rule": []any{"target=sip:192.0.2.1:5080", "target=sip:[2001:db8::1]", "target=sip:gw.example.com"}})
	r := invite(h, "sip:1@example.com")
	if res := h.Call(m, r, "from_gateway"); res.Value.Num != 1 {
		t.Errorf("from 192.0.2.1: %+v", res)
	}
	r.Flow.Remote = netip.MustParseAddrPort("[::ffff:192.0.2.1]:9")
	if res := h.Call(m, r, "from_gateway"); res.Value.Num != 1 {
		t.Errorf("from the mapped address: %+v", res)
	}
	for addr, want := range map[string]string{"2001:db8::1": "", "[2001:db8::1]": "", "192.0.2.2": "not_gateway", "gw.example.com": "no_address"} {
		if res := h.Call(m, r, "is_gateway", addr); res.Why != want || (res.Value.Num == 1) != (want == "") {
			t.Errorf("%s: %+v", addr, res)
		}
	}
}

func TestBadRules(t *testing.T) {
	tests := []struct{ rule, want string }{
		{"prefix=+1", "target is missing"},
		{"+1 target=sip:192.0.2.1", "not key=value"},
		{"prefx=1 target=sip:192.0.2.1", "there is no \"prefx\""},
		{"prefix=+1-2 target=sip:192.0.2.1", "no separators"},
		{"prefix=1 prefix=2 target=sip:192.0.2.1", "given twice"},
		{"strip=x target=sip:192.0.2.1", "whole number"},
		{"strip=-1 target=sip:192.0.2.1", "out of range"},
		{"weight=70000 target=sip:192.0.2.1", "out of range"},
		{"target=192.0.2.1", "target"},
		{"target=tel:123", "sip: or sips:"},
		{"target=sip:user@192.0.2.1", "without user"},
		{"target=sip:192.0.2.1:99999", "port"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			h := coretest.NewHost(t)
			err := h.TryLoad(New(), map[string]any{"use_db": false, "rule": tt.rule})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parameter: %v", err)
			}
			h = coretest.NewHost(t)
			os.WriteFile(filepath.Join(h.Dir, "gw.txt"), []byte("# gateways\n\n"+tt.rule+"\n"), 0o600)
			err = h.TryLoad(New(), map[string]any{"use_db": false, "file": "gw.txt"})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "gw.txt:3:") {
				t.Errorf("file: %v", err)
			}
		})
	}
	if err := coretest.NewHost(t).TryLoad(New(), map[string]any{"use_db": false}); err == nil {
		t.Error("no rules at all are accepted")
	}
}

func TestDatabase(t *testing.T) {
	h, m := load(t, map[string]any{"use_db": true, "rule": "target=sip:192.0.2.9"})
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	add := func(prefix, target string, flags int) {
		t.Helper()
		if _, err := db.Exec("INSERT INTO gateway (prefix, target, flags) VALUES (?, ?, ?)", prefix, target, flags); err != nil {
			t.Fatal(err)
		}
	}
	add("+1", "sip:192.0.2.1", 1)
	add("+2", "sip:192.0.2.2", 0)   // not for SER
	add("+3", "sip:192.0.2.3", 3)   // disabled
	add("+4", "sip:192.0.2.4", 129) // deleted
	if _, err := h.Command(m, "reload"); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		"sip:+11@example.com": "sip:+11@192.0.2.1", "sip:+21@example.com": "sip:+21@192.0.2.9",
		"sip:+31@example.com": "sip:+31@192.0.2.9", "sip:+41@example.com": "sip:+41@192.0.2.9",
	} {
		if got := tries(t, h, m, uri); got[0] != want {
			t.Errorf("%s went to %s", uri, got[0])
		}
	}
	if !m.IsGateway(netip.MustParseAddr("192.0.2.1")) || m.IsGateway(netip.MustParseAddr("192.0.2.3")) {
		t.Error("wrong addresses")
	}

	add("+5", "nonsense", 1)
	_, err = h.Command(m, "reload")
	if err == nil || !strings.Contains(err.Error(), `prefix "+5"`) || !strings.Contains(err.Error(), "table gateway") {
		t.Errorf("bad row: %v", err)
	}
	if got := tries(t, h, m, "sip:+11@example.com"); got[0] != "sip:+11@192.0.2.1" {
		t.Errorf("a failed reload has changed the rules: %v", got)
	}
}

func TestReloadFile(t *testing.T) {
	h := coretest.NewHost(t)
	file := filepath.Join(h.Dir, "gw.txt")
	os.WriteFile(file, []byte("target=sip:192.0.2.1\n"), 0o600)
	m := h.Load(New(), map[string]any{"use_db": false, "file": "gw.txt"}).(*Module)
	os.WriteFile(file, []byte("prefix=7 target=sip:192.0.2.2 priority=4\n"), 0o600)
	if err := m.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	os.Remove(file)
	if err := m.Reload(context.Background()); err == nil {
		t.Error("a missing file is no error")
	}
	call, err := h.Command(m, "dump")
	if err != nil {
		t.Fatal(err)
	}
	want := []any{&core.Struct{Members: []core.Member{{Name: "prefix", Value: "7"}, {Name: "strip", Value: int64(0)},
		{Name: "prepend", Value: ""}, {Name: "target", Value: "sip:192.0.2.2"}, {Name: "priority", Value: int64(4)},
		{Name: "weight", Value: int64(1)}, {Name: "origin", Value: file + ":1"}}}}
	if d := cmp.Diff(want, call.Reply); d != "" {
		t.Error(d)
	}
	call, err = h.Command(m, "test", "7-1")
	if err != nil || len(call.Reply) != 1 || call.Reply[0].(*core.Struct).Members[0].Value != "sip:71@192.0.2.2" {
		t.Errorf("test: %v %v", call.Reply, err)
	}
	for _, number := range []string{"8", "bob"} {
		if _, err := h.Command(m, "test", number); err == nil {
			t.Errorf("test %s: no error", number)
		}
	}
}

func TestAllocations(t *testing.T) {
	h, m := load(t, map[string]any{"rule": []any{"prefix=+1 target=sip:192.0.2.1", "target=sip:192.0.2.2"}})
	r := invite(h, "sip:+13@example.com")
	var a core.Args
	a.Reset()
	n := testing.AllocsPerRun(100, func() {
		m.isGateway(r, &a)
		var tmp [maxNumber]byte
		number, _ := m.number(r, &a, tmp[:0])
		m.snap.Load().find(number)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
