package domain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipr/core"
	"sipr/lua"
)

// script compiles a routing script that may call the module's functions.
func (r *rig) script(text string) (*lua.Program, error) {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "route.lua")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	b := lua.NewBinding()
	if err := b.Add("domain", r.m.exports()); err != nil {
		r.t.Fatal(err)
	}
	return lua.Compile(file, b, lua.Options{})
}

// perRun is how often a script of benchmarks calls a function, so that the
// start of the script counts for little.
const perRun = 200

func (r *rig) repeated(call string) *lua.Program {
	r.t.Helper()
	p, err := r.script("function request_route()\n" + strings.Repeat(call+"\n", perRun) + "end")
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// fourAttrs is a virtual domain with four attributes.
const fourAttrs = serTables + `;
INSERT INTO domain VALUES ('bench', 'sip.bench.example', 33);
INSERT INTO domain_attrs VALUES ('bench', 'fr_timer', 0, '5', 33), ('bench', 'digest_realm', 2, 'bench.example', 33),
 ('bench', 'gw_ip', 2, '192.0.2.1', 33), ('bench', 'gw_ip', 2, '192.0.2.2', 33)`

const (
	callIsLocal = `is_local("@ruri.host")`
	callLookup  = `lookup_domain("$td", "@ruri.host")`
)

func (r *rig) bench() *core.Request { return r.options("far.example", "sip.bench.example") }

// TestScriptCallsDoNotAllocate calls from Lua what every request calls.
func TestScriptCallsDoNotAllocate(t *testing.T) {
	r := setUp(t, fourAttrs, map[string]any{"load_domain_attrs": 1})
	for _, call := range []string{callIsLocal, callLookup} {
		p, q := r.repeated(call), r.bench()
		if err := p.Run(q, "request_route"); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { p.Run(q, "request_route") }); n != 0 {
			t.Errorf("%s: %v allocations in %d calls", call, n, perRun)
		}
	}
}

func benchmarkScript(b *testing.B, call string) {
	r := setUp(b, fourAttrs, map[string]any{"load_domain_attrs": 1})
	p, q := r.repeated(call), r.bench()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := p.Run(q, "request_route"); err != nil {
			b.Fatal(err)
		}
		n += perRun
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/call")
}

func BenchmarkIsLocal(b *testing.B)      { benchmarkScript(b, callIsLocal) }
func BenchmarkLookupDomain(b *testing.B) { benchmarkScript(b, callLookup) }
