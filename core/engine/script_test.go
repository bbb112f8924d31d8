package engine_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"sipr/core"
	"sipr/core/coretest/sim"
	"sipr/core/engine"
	"sipr/lua"
	"sipr/modules/tm"
)

const (
	alice = "192.0.2.1:5060"
	bob   = "192.0.2.2:5060"
)

// router is a simulated router with tm, whose script can be replaced.
type router struct {
	*sim.Sim
	t   *testing.T
	log *syncBuffer
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRouter(t *testing.T, script string) *router {
	r := &router{t: t, log: &syncBuffer{}}
	r.Sim = sim.New(t, sim.Config{Modules: []func() core.Module{tm.New}, Settings: `loadmodule "tm"`, Script: script,
		Log: slog.New(slog.NewTextHandler(r.log, nil))})
	return r
}

// value returns a member of what a command answers.
func (r *router) value(command, name string) any {
	r.t.Helper()
	c, err := r.Engine.Commands().Run(r.t.Context(), command, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range c.Reply[0].(*core.Struct).Members {
		if m.Name == name {
			return m.Value
		}
	}
	r.t.Fatalf("%s does not show %s", command, name)
	return nil
}

func (r *router) levels(alive, old int64) {
	r.t.Helper()
	for _, c := range []struct{ command, prefix string }{{"core.stats", "core."}, {"core.info", ""}} {
		a, o := r.value(c.command, c.prefix+"script_generations"), r.value(c.command, c.prefix+"script_old_transactions")
		if a != alive || o != old {
			r.t.Errorf("%s: %v generations and %v old transactions, want %d and %d", c.command, a, o, alive, old)
		}
	}
}

func (r *router) reload(script string) {
	r.t.Helper()
	if err := os.WriteFile(r.value("core.info", "script").(string), []byte(script), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Engine.Reload(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func invite(id string) string {
	return "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK" + id +
		"\nMax-Forwards: 70\nFrom: <sip:alice@192.0.2.1>;tag=a\nTo: <sip:bob@192.0.2.2>\nCall-ID: " + id + "\nCSeq: 1 INVITE\nContent-Length: 0\n"
}

// open begins a call and returns the INVITE that bob got.
func (r *router) open(id string) sim.Packet {
	r.t.Helper()
	r.Receive(alice, invite(id))
	for _, p := range r.Sent() {
		if p.To() == bob && strings.Contains(p.Text, "Call-ID: "+id+"\r\n") {
			return p
		}
	}
	r.t.Fatalf("bob got no INVITE %s", id)
	return sim.Packet{}
}

var copied = regexp.MustCompile(`(?m)^(Via|From|To|Call-ID|CSeq): .*\r\n`)

// reply lets bob answer, and returns what alice got.
func (r *router) reply(p sim.Packet, code int) string {
	s := fmt.Sprintf("SIP/2.0 %d Test\r\n", code)
	for _, line := range copied.FindAllString(p.Text, -1) {
		if strings.HasPrefix(line, "To:") {
			line = strings.TrimRight(line, "\r\n") + ";tag=b\r\n"
		}
		s += line
	}
	r.Receive(bob, s+"Content-Length: 0\r\n\r\n")
	got := ""
	for _, p := range r.Sent() {
		if p.To() == alice {
			got += p.Text
		}
	}
	return got
}

func generation(n int) string {
	return fmt.Sprintf(`local big = ("x"):rep(1000)
function request_route() t_on_failure("f") t_relay() end
function f() t_reply(480, "generation %d") end`, n)
}

func TestTransactionsKeepTheirScript(t *testing.T) {
	r := newRouter(t, generation(1))
	a := r.open("a")
	r.levels(1, 0)
	r.reload(generation(2))
	r.levels(2, 1)
	b := r.open("b")
	if got := r.reply(r.open("c"), 486); !strings.Contains(got, "generation 2") {
		t.Error(got)
	}
	r.reload(generation(3))
	r.levels(3, 2)
	r.reload(generation(4)) // the first has to go
	r.levels(2, 2)
	if n := r.value("core.info", "script_generation"); n != int64(4) {
		t.Errorf("generation %v", n)
	}
	if got := r.reply(a, 486); !strings.Contains(got, "generation 4") {
		t.Errorf("the oldest call did not go on with the present script: %s", got)
	}
	if got := r.reply(b, 486); !strings.Contains(got, "generation 2") {
		t.Errorf("the older call lost its script: %s", got)
	}
	if n := r.value("core.stats", "core.script_moved"); n != int64(1) {
		t.Errorf("%v moved", n)
	}
	if n := strings.Count(r.log.String(), "go on with the present script"); n != 1 {
		t.Errorf("%d log lines: %s", n, r.log)
	}
	for range 70 {
		r.Clock.Advance(time.Second)
	}
	r.levels(1, 0)
}

func TestRouteThatThePresentScriptLacks(t *testing.T) {
	r := newRouter(t, generation(1))
	a, b, c := r.open("a"), r.open("b"), r.open("c")
	for range 3 {
		r.reload(`function request_route() t_relay() end`)
	}
	for _, p := range []sim.Packet{a, b} {
		if got := r.reply(p, 486); !strings.HasPrefix(got, "SIP/2.0 486 Test") {
			t.Errorf("not the default: %s", got)
		}
	}
	if n := strings.Count(r.log.String(), "lacks a route"); n != 1 || !strings.Contains(r.log.String(), "route=f") {
		t.Errorf("%d log lines: %s", n, r.log)
	}
	r.reload(generation(5))
	if got := r.reply(c, 486); !strings.Contains(got, "generation 5") {
		t.Error(got)
	}
}

func TestRetiredScriptsAreFreed(t *testing.T) {
	r := newRouter(t, generation(0))
	var programs []weak.Pointer[lua.Program]
	var calls []sim.Packet
	const n = 40
	for i := range n {
		calls = append(calls, r.open(fmt.Sprint("call", i)))
		programs = append(programs, weak.Make(r.Engine.Program()))
		r.reload(generation(i + 1))
		r.levels(int64(min(i+1, engine.OldScripts))+1, int64(i+1))
	}
	for range 5 { // each state points to its program: one that is gone took its states along
		runtime.GC()
	}
	for i, p := range programs[:n-engine.OldScripts] {
		if p.Value() != nil {
			t.Errorf("script %d of %d is still in memory", i, n)
		}
	}
	for _, p := range programs[n-engine.OldScripts:] {
		if p.Value() == nil {
			t.Error("one of the last scripts before the present one is gone, though a call has it")
		}
	}
	for i, c := range calls {
		want := fmt.Sprint("generation ", n)
		if i >= n-engine.OldScripts {
			want = fmt.Sprint("generation ", i)
		}
		if got := r.reply(c, 486); !strings.Contains(got, want) {
			t.Errorf("call %d: %s", i, got)
		}
	}
	if moved := r.value("core.stats", "core.script_moved"); moved != int64(n-engine.OldScripts) {
		t.Errorf("%v moved", moved)
	}
	for range 70 {
		r.Clock.Advance(time.Second)
	}
	r.levels(1, 0)
	for range 5 {
		runtime.GC()
	}
	if programs[n-1].Value() != nil {
		t.Error("the older script is in memory, though nothing needs it")
	}
}

func TestReloadsUnderTraffic(t *testing.T) {
	r := newRouter(t, `function request_route() t_on_failure("f") t_on_reply("f") t_relay() end function f() end`)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 30 {
				if err := r.Engine.Reload(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 300 {
		if got := r.reply(r.open(fmt.Sprint(i)), 486); !strings.HasPrefix(got, "SIP/2.0 486") {
			t.Fatal(got)
		}
	}
	wg.Wait()
	for range 70 {
		r.Clock.Advance(time.Second)
	}
	r.levels(1, 0)
}
