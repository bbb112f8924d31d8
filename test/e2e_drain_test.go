package test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDrain stops the router while a telephone rings: new calls are refused,
// the ringing one is answered and goes on its way, and then the router ends.
func TestDrain(t *testing.T) {
	r := start(t, setup{more: trust + `modparam("core", "drain_time", 30)` + "\n"})
	alice, bob := phone(t, r, "alice"), phone(t, r, "bob")
	invite, got := ring(r, alice, bob)
	r.signal(syscall.SIGTERM)
	r.logged("stopping")
	p := listenUDP(t, trustedHost)
	for _, method := range []string{"INVITE", "REGISTER", "MESSAGE"} {
		var m *message
		eventually(t, method+" is refused", func() bool { // the signal is on its way
			m = p.do(r, p.request(method, "sip:bob@example.com", foreign, "sip:bob@example.com"))
			return m.code == 503
		})
		n, err := strconv.Atoi(m.h("Retry-After"))
		if err != nil || n < 1 || n > 600 {
			t.Errorf("%s: Retry-After: %s", method, m.h("Retry-After"))
		}
	}
	answer(r, alice, bob, invite, got) // and the ACK arrives
	begin := time.Now()
	if code := r.ended(8 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("ended %s after the call was answered", time.Since(begin).Round(time.Millisecond))
}

// TestDrainWithNothingToDo stops a router that has done its work: it ends at
// once.
func TestDrainWithNothingToDo(t *testing.T) {
	r := start(t, setup{more: `modparam("core", "drain_time", 30)` + "\n"})
	alice, bob := phone(t, r, "alice"), phone(t, r, "bob")
	a, _ := talk(r, alice, bob)
	a.bye(bob)
	begin := time.Now()
	r.stop()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the end took %s", d)
	}
}

// TestReload changes the script under a ringing call and under one that is
// answered.
func TestReload(t *testing.T) {
	r := start(t, setup{})
	alice, bob := phone(t, r, "alice"), phone(t, r, "bob")
	a, _ := talk(r, alice, bob)
	invite, got := ring(r, alice, bob)
	good := read(t, filepath.Join("..", "etc", "route.lua"))
	line := strconv.Itoa(strings.Count(good, "\n") + 2)

	r.write("route.lua", good+"function more()\n  t_rely()\nend\n")
	r.signal(syscall.SIGHUP)
	r.logged("reload failed")
	if !strings.Contains(r.log.String(), "route.lua:"+line) {
		t.Errorf("the log does not name route.lua:%s", line)
	}
	_, errs, code := r.try("ctl", "core.reload")
	if code != 1 || !strings.Contains(errs, "route.lua:"+line) || !strings.Contains(errs, "t_rely") {
		t.Errorf("sipr ctl core.reload: exit code %d: %s", code, errs)
	}
	if err := os.Remove(r.path("route.lua")); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := r.try("ctl", "core.reload"); code != 1 || !strings.Contains(errs, "route.lua") {
		t.Errorf("without a script: exit code %d: %s", code, errs)
	}
	if m := reason(t, r); m != "Keepalive" {
		t.Errorf("after reloads that failed: %s", m)
	}

	r.write("route.lua", strings.Replace(good, "Keepalive", "Changed", 1))
	r.signal(syscall.SIGHUP)
	eventually(t, "the new script is in use", func() bool { return reason(t, r) == "Changed" })
	b, _ := answer(r, alice, bob, invite, got)
	b.bye(bob)
	a.bye(bob)

	r.write("route.lua", strings.Replace(good, "Keepalive", "Once More", 1))
	r.sipr("ctl", "core.reload")
	if m := reason(t, r); m != "Once More" {
		t.Errorf("after core.reload: %s", m)
	}
}

// reason returns the reason phrase of the answer to OPTIONS.
func reason(t *testing.T, r *router) string {
	t.Helper()
	p := listenUDP(t, phoneHost)
	defer p.close()
	m := p.do(r, p.request("OPTIONS", "sip:"+r.addr.String(), foreign, "sip:"+r.addr.String()))
	return strings.TrimPrefix(m.line, "SIP/2.0 200 ")
}
