package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipr/core/coretest"
)

// TestReadme walks the way that a newcomer walks: an empty folder, a start,
// domain and users while it runs, two phones that call each other, a second
// start that finds everything.
func TestReadme(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { walkReadme(t, "") })
	t.Run("mariadb", func(t *testing.T) { walkReadme(t, coretest.MariaDB(t)) })
}

func walkReadme(t *testing.T, db string) {
	r := install(t, setup{db: db})
	if db != "" {
		r.sipr("db", "init")
	}
	if out := r.sipr("check"); !strings.Contains(out, "is correct") {
		t.Errorf("sipr check: %s", out)
	}
	r.start()
	q := func(p *peer) *request {
		return p.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com")
	}
	p := listenUDP(t, phoneHost)
	if m := p.do(r, q(p)); m.code == 200 {
		t.Fatalf("a router without domains registers: %s", m.line)
	}
	r.provision()
	if m := p.do(r, q(p)); m.code != 401 {
		t.Fatalf("after domain.reload: %s", m.line)
	}
	calls(t, r)
	r.sipsak()

	alice := phone(t, r, "alice")
	r.stop()
	r.start()
	bob := phone(t, r, "bob")
	a, _ := talk(r, bob, alice) // alice's contact was kept
	a.bye(alice)
	r.stop()
}

// calls lets SIPp's phones call each other over every pair of transports; the
// caller hangs up, and the callee.
func calls(t *testing.T, r *router) {
	if _, err := exec.LookPath("sipp"); err != nil {
		t.Log("sipp is not installed: its calls are left out")
		return
	}
	for _, c := range []struct{ caller, callee string }{{"u1", "u1"}, {"t1", "t1"}, {"u1", "t1"}, {"t1", "u1"}} {
		for _, who := range []string{"caller", "callee"} {
			t.Run(fmt.Sprintf("%s calls %s, BYE from %s", c.caller, c.callee, who), func(t *testing.T) {
				// The phones of the last call are gone, and would ring for
				// half a minute.
				r.try("ctl", "registrar.rm", "bob@example.com")
				alice, bob := newSipp(t, r, "alice", c.caller), newSipp(t, r, "bob", c.callee)
				alice.run("register.xml", "-auth_uri", "example.com")
				bob.run("register.xml", "-auth_uri", "example.com")
				wait := bob.begin("callee_bye_" + who + ".xml")
				bob.listens()
				alice.run("caller_bye_"+who+".xml", "-key", "callee", "bob", "-auth_uri", "bob@example.com")
				wait()
			})
		}
	}
}

// sipp is a phone that SIPp plays.
type sipp struct {
	t          *testing.T
	r          *router
	user, mode string // mode is SIPp's -t
	host, port string
	contact    string
}

func newSipp(t *testing.T, r *router, user, mode string) *sipp {
	t.Helper()
	network := "udp"
	if mode == "t1" {
		network = "tcp"
	}
	s := &sipp{t: t, r: r, user: user, mode: mode, host: phoneHost}
	s.port = freePort(t, network, s.host)
	s.contact = "sip:" + user + "@" + net.JoinHostPort(s.host, s.port)
	if mode == "t1" {
		s.contact += ";transport=tcp"
	}
	return s
}

func freePort(t *testing.T, network, host string) string {
	t.Helper()
	var addr string
	if network == "tcp" {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr = l.Addr().String()
	} else {
		c, err := net.ListenPacket("udp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		addr = c.LocalAddr().String()
	}
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// begin starts a scenario of one call; the function waits for its success.
func (s *sipp) begin(scenario string, args ...string) (wait func()) {
	s.t.Helper()
	dir := s.t.TempDir()
	file, err := filepath.Abs(filepath.Join("sipp", scenario))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	args = append([]string{"-sf", file, "-i", s.host, "-p", s.port, "-t", s.mode, "-m", "1", "-l", "1", "-nostdin", "-bind_local",
		"-s", s.user, "-au", s.user, "-ap", s.user, "-key", "domain", "example.com", "-key", "contact", s.contact,
		"-timeout", "15s", "-timeout_error", "-trace_msg", "-message_file", filepath.Join(dir, "messages"),
		"-trace_err", "-error_file", filepath.Join(dir, "errors")}, args...)
	if !strings.HasPrefix(scenario, "callee") {
		args = append(args, s.r.addr.String())
	}
	cmd := exec.CommandContext(ctx, "sipp", args...)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env, cmd.SysProcAttr = dir, &out, &out, append(environment(), "TERM=dumb"), leash()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cancel(); cmd.Wait() })
	return func() {
		s.t.Helper()
		if err := cmd.Wait(); err != nil {
			messages, _ := exec.Command("cat", filepath.Join(dir, "messages"), filepath.Join(dir, "errors")).Output()
			s.t.Errorf("sipp of %s, %s: %v\n%s", s.user, scenario, err, messages)
		}
	}
}

func (s *sipp) run(scenario string, args ...string) {
	s.t.Helper()
	s.begin(scenario, args...)()
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// listens waits until SIPp has its socket.
func (s *sipp) listens() {
	s.t.Helper()
	eventually(s.t, "sipp listens", func() bool {
		addr := net.JoinHostPort(s.host, s.port)
		if s.mode == "t1" {
			l, err := net.Listen("tcp", addr)
			if err == nil {
				l.Close()
			}
			return err != nil
		}
		c, err := net.ListenPacket("udp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// sipsak registers and pings with sipsak.
func (r *router) sipsak() {
	r.t.Helper()
	if _, err := exec.LookPath("sipsak"); err != nil {
		r.t.Log("sipsak is not installed: it is left out")
		return
	}
	// sipsak finds its way by the host of the URI, so the router's address
	// becomes a further name of the domain.
	r.sipr("domain", "add", routerHost, "--did", "example.com", "--alias")
	r.sipr("ctl", "domain.reload")
	for _, args := range [][]string{
		{"-s", "sip:" + r.addr.String()},
		{"-U", "-C", "sip:alice@" + phoneHost + ":40000", "-x", "60", "-u", "alice", "-a", "alice", "-s", "sip:alice@" + r.addr.String()},
		// Invalid requests of sipsak's own, which have to be answered.
		{"-T", "-s", "sip:" + r.addr.String()},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		out, err := exec.CommandContext(ctx, "sipsak", append([]string{"-v", "-v"}, args...)...).CombinedOutput()
		cancel()
		if err != nil && args[0] != "-T" {
			r.t.Errorf("sipsak %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
