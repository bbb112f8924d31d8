package tm_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/coretest/sim"
	"sipr/modules/rr"
	"sipr/modules/tm"
)

const (
	alice = "192.0.2.1:5060"
	bob   = "192.0.2.2:5060"
	carol = "192.0.2.3:5060"
	dave  = "192.0.2.4:5060"
	ms    = time.Millisecond
)

// rig is a router with tm, rr and a few exports of the tests'.
type rig struct {
	*sim.Sim
	t    *testing.T
	tm   *tm.Module
	test *testModule
	seen []sim.Packet // of the last call of take
	vias map[string]string
	dead []string // what tm has found unreachable
}

// testModule gives scripts what tests need: note, and a wait that the test ends.
type testModule struct {
	notes  chan string
	enter  chan string
	leave  chan struct{}
	finals chan int
	hook   func(*core.Request) // sees requests before the script
}

func (m *testModule) Describe() core.Spec {
	return core.Spec{Name: "test", Summary: "For tests.", Exports: []core.Export{
		core.Func("note", func(r *core.Request, a *core.Args) core.Result {
			m.notes <- string(a.Bytes(0))
			return core.True
		}, "notes a text", core.Text("text", "it")),
		core.Func("block", func(r *core.Request, a *core.Args) core.Result {
			r.Wait("test", func(context.Context) error {
				m.enter <- "block"
				<-m.leave
				return nil
			})
			return core.True
		}, "waits"),
		core.Func("nap", func(r *core.Request, a *core.Args) core.Result {
			r.Wait("test", func(context.Context) error { return nil })
			return core.True
		}, "waits shortly"),
		core.Func("ruri_q", func(r *core.Request, a *core.Args) core.Result {
			f, err := strconv.ParseFloat(a.String(0), 64)
			r.Main.Q = int(f * 1000)
			return core.Is(err == nil)
		}, "sets the preference of the Request-URI", core.String("q", "it")),
		core.Func("set_avp", func(r *core.Request, a *core.Args) core.Result {
			ref, err := core.ParseAttrRef(a.String(0))
			if err != nil {
				return core.Fail(err)
			}
			r.Attrs.Set(&ref, core.IntValue(a.Int(1, 0)))
			return core.True
		}, "sets an attribute", core.String("name", "its name"), core.Int("value", "its value")),
	}}
}

func (m *testModule) Configure(h core.Host) error {
	h.OnRequest(func(r *core.Request) bool {
		if m.hook != nil {
			m.hook(r)
		}
		return false
	})
	h.OnFinal(func(e *core.FinalEvent) {
		select {
		case m.finals <- e.Code:
		default:
		}
	})
	return nil
}

const plain = `function request_route()
  if method == "CANCEL" then return sl_reply(481) end
  local inside = loose_route()
  if not inside and method ~= "ACK" then record_route() end
  t_relay()
end`

func start(t *testing.T, script string, settings ...string) *rig {
	t.Helper()
	r := &rig{t: t, test: &testModule{notes: make(chan string, 1000), enter: make(chan string, 100), leave: make(chan struct{}), finals: make(chan int, 10000)}}
	r.vias = map[string]string{}
	r.Sim = sim.New(t, sim.Config{
		Modules: []func() core.Module{
			func() core.Module { r.tm = tm.New().(*tm.Module); return r.tm },
			rr.New,
			func() core.Module { return r.test },
		},
		Settings: "loadmodule \"tm\"\nloadmodule \"rr\"\nloadmodule \"test\"\n" + strings.Join(settings, "\n"),
		Script:   script,
		Log:      slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	return r
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// request is a request from alice to the Request-URI, with further header lines.
func request(method, branch, uri string, more ...string) string {
	s := method + " " + uri + " SIP/2.0\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=" + branch + "\n" +
		"From: <sip:alice@home.example>;tag=a1\nCall-ID: call-1\n"
	text := strings.Join(more, "\n")
	if !strings.Contains(text, "Max-Forwards:") {
		s += "Max-Forwards: 70\n"
	}
	if !strings.Contains(text, "CSeq:") {
		cseq := method
		s += "CSeq: 1 " + cseq + "\n"
	}
	if !strings.Contains(text, "To:") {
		s += "To: <sip:bob@home.example>\n"
	}
	if text != "" {
		s += text + "\n"
	}
	return s + "Content-Length: 0\n"
}

const toBob = "sip:bob@192.0.2.2"

func invite(branch string, more ...string) string { return request("INVITE", branch, toBob, more...) }

// advance moves the clock by d, waiting for what each tick began.
func (r *rig) advance(d time.Duration) {
	for d > 0 {
		step := min(d, clock.Tick)
		r.Clock.Advance(step)
		r.tm.Settled()
		d -= step
	}
}

// take returns what was sent since, and remembers it.
func (r *rig) take() []sim.Packet {
	r.seen = r.Sent()
	return r.seen
}

// expect compares what was sent with lines of "address first-line-prefix".
func (r *rig) expect(want ...string) {
	r.t.Helper()
	var got []string
	for _, p := range r.take() {
		got = append(got, name(p.To())+" "+short(p.Line()))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Fatalf("sent\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// expect2 is expect in any order.
func (r *rig) expect2(want ...string) {
	r.t.Helper()
	var got []string
	for _, p := range r.take() {
		got = append(got, name(p.To())+" "+short(p.Line()))
	}
	slices.Sort(got)
	slices.Sort(want)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Fatalf("sent\n  %s\nwant in any order\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// expectTimes compares when first lines went to somebody, in ms.
func (r *rig) expectTimes(to, line string, want ...int) {
	r.t.Helper()
	var got []int
	for _, p := range r.take() {
		if name(p.To()) == to && short(p.Line()) == line {
			got = append(got, int(p.At/ms))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("%s %s at %v, want %v", to, line, got, want)
	}
}

func name(addr string) string {
	switch addr {
	case alice:
		return "alice"
	case bob:
		return "bob"
	case carol:
		return "carol"
	case dave:
		return "dave"
	}
	return addr
}

// short is the method of a request, the code of a response.
func short(line string) string {
	if rest, ok := strings.CutPrefix(line, "SIP/2.0 "); ok {
		return rest[:3]
	}
	m, _, _ := strings.Cut(line, " ")
	return m
}

// last returns the newest packet to an address whose line begins with prefix,
// of those that were taken last.
func (r *rig) last(to, what string) sim.Packet {
	r.t.Helper()
	for i := len(r.seen) - 1; i >= 0; i-- {
		if p := r.seen[i]; p.To() == to && short(p.Line()) == what {
			return p
		}
	}
	r.t.Fatalf("no %s to %s", what, to)
	return sim.Packet{}
}

// first is last for the oldest.
func (r *rig) first(to, what string) sim.Packet {
	r.t.Helper()
	for _, p := range r.seen {
		if p.To() == to && short(p.Line()) == what {
			return p
		}
	}
	r.t.Fatalf("no %s to %s", what, to)
	return sim.Packet{}
}

// count returns how many such packets there are among those taken last.
func (r *rig) count(to, what string) (n int) {
	for _, p := range r.seen {
		if p.To() == to && short(p.Line()) == what {
			n++
		}
	}
	return n
}

var copied = regexp.MustCompile(`(?mi)^(Via|From|Call-ID|CSeq|Record-Route): .*\r\n`)

// answer makes a response to a request of the router's.
func answer(p sim.Packet, code int, more ...string) string {
	s := fmt.Sprintf("SIP/2.0 %d Test\r\n", code)
	for _, line := range copied.FindAllString(p.Text, -1) {
		s += line
	}
	to := header(p.Text, "To")
	if code > 100 && !strings.Contains(to, ";tag=") {
		to += ";tag=" + strings.ReplaceAll(p.Flow.Remote.Addr().String(), ".", "-")
	}
	s += "To: " + to + "\r\n"
	for _, m := range more {
		s += m + "\r\n"
	}
	return s + "Content-Length: 0\r\n\r\n"
}

func header(text, name string) string {
	for _, line := range strings.Split(text, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func headers(text, name string) []string {
	var all []string
	for _, line := range strings.Split(text, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			all = append(all, strings.TrimSpace(v))
		}
	}
	return all
}

func (r *rig) addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// empty waits until everything must be over, and checks that nothing is left.
func (r *rig) empty() {
	r.t.Helper()
	r.advance(70 * time.Second)
	r.drained()
}

func (r *rig) drained() {
	r.t.Helper()
	if a, timers, s, c := r.tm.Levels(); a != 0 || timers != 0 || s != 0 || c != 0 {
		r.t.Fatalf("left: %d transactions, %d timers, %d server, %d client entries", a, timers, s, c)
	}
}
