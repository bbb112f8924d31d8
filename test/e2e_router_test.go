package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sipr/core/control"
)

// Addresses of the tests. Requests from trusted need no credentials where the
// settings of trust are in use.
const (
	routerHost  = "127.0.32.1"
	phoneHost   = "127.0.32.100"
	victimHost  = "127.0.32.110"
	trustedHost = "127.0.32.120"

	drainTime = `modparam("core", "drain_time", 1)` + "\n"

	trust = `modparam("permissions", "trusted", "` + trustedHost + `")` + "\n"
)

// patience bounds every wait that has no bound of its own.
const patience = 10 * time.Second

// setup is what a router of a test differs in from the shipped settings.
type setup struct {
	db    string // URL of the database
	route string // the script, instead of the shipped one
	more  string // further settings
	level string // of the log
}

// router is a running sipr with a folder of its own, which holds a copy of
// the shipped settings and script.
type router struct {
	t    testing.TB
	dir  string
	addr netip.AddrPort
	log  *logBuffer
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// logBuffer keeps what the process writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// install makes the folder of a router.
func install(t testing.TB, s setup) *router {
	t.Helper()
	// Not t.TempDir, whose names may be too long for a unix socket.
	dir, err := os.MkdirTemp("", "sipr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &router{t: t, dir: dir, addr: freeAddr(t), log: new(logBuffer)}
	settings := read(t, filepath.Join("..", "etc", "sipr.lua"))
	lines := strings.Count(settings, "127.0.0.1:5060")
	if lines != 2 {
		t.Fatalf("etc/sipr.lua has %d listen addresses, 2 are expected", lines)
	}
	settings = strings.ReplaceAll(settings, "127.0.0.1:5060", r.addr.String())
	route := `route "route.lua"`
	if !strings.Contains(settings, route) {
		t.Fatalf("etc/sipr.lua has no %s", route)
	}
	if s.db != "" {
		s.more += fmt.Sprintf("modparam(\"core\", \"db_url\", %q)\n", s.db)
	}
	settings = strings.Replace(settings, route, drainTime+s.more+route, 1)
	if s.route == "" {
		s.route = read(t, filepath.Join("..", "etc", "route.lua"))
	}
	r.write("sipr.lua", settings)
	r.write("route.lua", s.route)
	if s.level != "" {
		r.args = append(r.args, "--log-level", s.level)
	}
	t.Cleanup(func() {
		r.shutdown()
		if t.Failed() {
			text := r.log.String()
			if n := len(text); n > 20000 {
				text = text[:10000] + "\n[…]\n" + text[n-10000:]
			}
			t.Logf("log of the router:\n%s", text)
		}
	})
	return r
}

// start installs and starts a router with the domain example.com and the
// users alice and bob, whose passwords are their names.
func start(t testing.TB, s setup) *router {
	t.Helper()
	r := install(t, s)
	r.start()
	r.provision()
	return r
}

func (r *router) provision() {
	r.t.Helper()
	r.sipr("domain", "add", "example.com")
	r.sipr("user", "add", "alice@example.com", "-p", "alice")
	r.sipr("user", "add", "bob@example.com", "-p", "bob")
	r.sipr("ctl", "domain.reload")
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write writes a file beside the settings.
func (r *router) write(name, text string) {
	r.t.Helper()
	file := filepath.Join(r.dir, "etc", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// path returns the path of a file beside the settings.
func (r *router) path(name string) string { return filepath.Join(r.dir, "etc", name) }

// freeAddr returns an address on which neither UDP nor TCP is in use. Its port
// has four digits, since sipsak cuts longer ones off.
func freeAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	for range 1000 {
		addr := netip.AddrPortFrom(netip.MustParseAddr(routerHost), uint16(2000+rand.IntN(8000)))
		l, err := net.Listen("tcp", addr.String())
		if err != nil {
			continue
		}
		c, err := net.ListenPacket("udp", addr.String())
		l.Close()
		if err == nil {
			c.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

// start starts the process and returns when it answers.
func (r *router) start() {
	r.t.Helper()
	r.launch()
	p := listenUDP(r.t, phoneHost)
	defer p.close()
	for end := time.Now().Add(patience); ; {
		q := p.request("OPTIONS", "sip:"+r.addr.String(), "sip:ping@example.net", "sip:"+r.addr.String())
		p.send(r, q.text(p))
		if m := p.poll(100*time.Millisecond, func(m *message) bool { return m.code != 0 && m.branch() == q.branch }); m != nil {
			if m.code != 200 {
				r.t.Fatalf("OPTIONS: %s", m.line)
			}
			return
		}
		select {
		case <-r.done:
			r.t.Fatalf("sipr run ended: %v", r.cmd.ProcessState)
		default:
		}
		if time.Now().After(end) {
			r.t.Fatalf("no answer from %s", r.addr)
		}
	}
}

// launch starts the process.
func (r *router) launch() {
	r.t.Helper()
	r.cmd = exec.Command(binary, append([]string{"run"}, r.args...)...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = r.dir, r.log, r.log
	r.cmd.Env, r.cmd.SysProcAttr = environment(), leash()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		cmd.Wait()
		close(done)
	}(r.cmd, r.done)
}

// environment is ours without what would move the router's files.
func environment() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "STATE_DIRECTORY=") {
			env = append(env, v)
		}
	}
	return env
}

func (r *router) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatalf("%s: %v", s, err)
	}
}

// ended waits for the end of the process and returns its exit code.
func (r *router) ended(d time.Duration) int {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(d):
		list, errs, _ := r.try("ctl", "tm.list")
		r.t.Fatalf("sipr run has not ended after %s; transactions in progress:\n%s%s", d, list, errs)
	}
	return r.cmd.ProcessState.ExitCode()
}

// stop stops the router as an operator does.
func (r *router) stop() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	if code := r.ended(patience); code != 0 {
		r.t.Fatalf("exit code %d after SIGTERM", code)
	}
}

// kill kills the process without a warning.
func (r *router) kill() {
	r.t.Helper()
	r.signal(syscall.SIGKILL)
	r.ended(patience)
}

// shutdown ends a router at the end of its test: a crash, or an exit code
// other than 0, fails the test.
func (r *router) shutdown() {
	if r.cmd == nil || r.cmd.Process == nil {
		return
	}
	select {
	case <-r.done:
	default:
		r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.done:
		case <-time.After(500 * time.Millisecond):
			r.cmd.Process.Signal(syscall.SIGTERM) // the second one ends the drain
		}
		select {
		case <-r.done:
			if code := r.cmd.ProcessState.ExitCode(); code != 0 {
				r.t.Errorf("exit code %d at the end", code)
			}
		case <-time.After(15 * time.Second):
			r.cmd.Process.Signal(syscall.SIGQUIT) // shows where it hangs
			<-r.done
			r.t.Error("the router did not end")
		}
	}
	for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine 1 ["} {
		if strings.Contains(r.log.String(), bad) {
			r.t.Errorf("the log has %q", bad)
		}
	}
}

// try runs a subcommand in the router's folder.
func (r *router) try(args ...string) (stdout, stderr string, code int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var o, e bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = r.dir, &o, &e, environment()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatalf("sipr %s: %v", strings.Join(args, " "), err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// sipr runs a subcommand, which has to succeed.
func (r *router) sipr(args ...string) string {
	r.t.Helper()
	out, errs, code := r.try(args...)
	if code != 0 {
		r.t.Fatalf("sipr %s: exit code %d: %s", strings.Join(args, " "), code, errs)
	}
	return out
}

// call calls a management command and decodes its answer.
func (r *router) call(into any, method string, params ...any) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := control.Dial(ctx, r.path("sipr.sock"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.Call(ctx, method, params)
	if err != nil {
		r.t.Fatalf("%s: %v", method, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		r.t.Fatalf("%s: %v: %s", method, err, raw)
	}
}

// callList is call for an answer that is a list; a list of one may come as
// its element.
func (r *router) callList(into any, method string, params ...any) {
	r.t.Helper()
	var raw json.RawMessage
	r.call(&raw, method, params...)
	if text := strings.TrimSpace(string(raw)); text == "null" || text == "" {
		return
	} else if text[0] != '[' {
		raw = json.RawMessage("[" + text + "]")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		r.t.Fatalf("%s: %v: %.300s", method, err, raw)
	}
}

// number returns a member of a management command's answer.
func (r *router) number(method, member string) int64 {
	r.t.Helper()
	var m map[string]any
	r.call(&m, method)
	f, ok := m[member].(float64)
	if !ok {
		r.t.Fatalf("%s has no number %s: %v", method, member, m)
	}
	return int64(f)
}

// logged waits until the log has a text.
func (r *router) logged(text string) {
	r.t.Helper()
	eventually(r.t, "the log has "+text, func() bool { return strings.Contains(r.log.String(), text) })
}

// eventually polls until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// serial makes identifiers that are unique in a run.
var serial atomic.Int64

func unique(prefix string) string {
	return fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), serial.Add(1))
}
