package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipr/core/coretest"
	"sipr/core/database"
)

// Where the phones of these tests are.
const (
	joeHost      = "127.0.53.1"
	strangerHost = "127.0.53.2"
	worldHost    = "127.0.53.3"
)

// iptelNames are those of the virtual domain iptel.
var iptelNames = []string{"iptel.org", "sip.iptel.org", "proxy.iptel.org", "213.192.59.75"}

// TestS2_002_S2_003_S2_004_S2_010_S2_072_VirtualDomain has one virtual domain
// with four names, in both databases and both modes.
func TestS2_002_S2_003_S2_004_S2_010_S2_072_VirtualDomain(t *testing.T) {
	for _, dialect := range []string{"sqlite", "mariadb"} {
		for _, mode := range []int{1, 0} {
			t.Run(fmt.Sprintf("%s, db_mode %d", dialect, mode), func(t *testing.T) {
				s := setup{more: fmt.Sprintf("modparam(\"domain\", \"db_mode\", %d)\n", mode)}
				if dialect == "mariadb" {
					s.db = coretest.MariaDB(t)
				}
				r := install(t, s)
				url := s.db
				if url == "" {
					url = "sqlite:" + r.path("sipr.db")
				}
				r.sipr("db", "init")
				newIptel(t, r, url, mode == 1).check()
			})
		}
	}
}

// iptel is a router of the virtual domain iptel, its user joe, and a stranger
// who calls.
type iptel struct {
	t             *testing.T
	r             *router
	cached        bool
	db            *database.DB
	joe, stranger *peer
}

// newIptel puts the rows into the database as an operator does with SQL, and
// starts the router.
func newIptel(t *testing.T, r *router, url string, cached bool) *iptel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := database.OpenURL(ctx, url, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	v := &iptel{t: t, r: r, cached: cached, db: db, joe: listenUDP(t, joeHost), stranger: listenUDP(t, strangerHost)}
	for _, name := range iptelNames {
		v.exec("INSERT INTO domain (did, domain, flags) VALUES ('iptel', ?, 33)", name)
	}
	r.sipr("user", "add", "joe@iptel.org", "-p", "joe")
	r.start()
	v.joe.user = "joe"
	return v
}

func (v *iptel) exec(query string, args ...any) {
	v.t.Helper()
	if _, err := v.db.Exec(v.db.Rebind(query), args...); err != nil {
		v.t.Fatal(err)
	}
}

// changed tells the router of a change, if it has to be told.
func (v *iptel) changed() {
	v.t.Helper()
	if v.cached {
		v.r.sipr("ctl", "domain.reload")
	}
}

func (v *iptel) registerAt(name string) {
	v.t.Helper()
	aor := "sip:joe@" + name
	q := v.joe.request("REGISTER", "sip:"+name, aor, aor, "Contact: <"+v.joe.contact()+">", "Expires: 600")
	if _, m := v.joe.doAs(v.r, q, "joe", "joe"); m.code != 200 {
		v.t.Fatalf("REGISTER at %s: %s", name, m.line)
	}
}

// reach calls joe at a name; he is busy.
func (v *iptel) reach(name string) {
	v.t.Helper()
	to := "sip:joe@" + name
	q := v.stranger.request("INVITE", to, foreign, to)
	v.stranger.send(v.r, q.text(v.stranger))
	got := v.joe.poll(2*time.Second, func(m *message) bool { return m.method == "INVITE" && m.h("Call-ID") == q.callID })
	if got == nil {
		v.t.Fatalf("joe is not reached at %s; the caller saw %s", name, v.stranger.seen())
	}
	v.joe.sendRaw(v.r, got.reply(v.joe, 486, "Busy Here"))
	m := v.stranger.response(q, 486)
	v.stranger.acknowledge(v.r, q, m)
	v.joe.expect("ACK")
}

// refused calls joe at a name that is not local.
func (v *iptel) refused(name string) {
	v.t.Helper()
	to := "sip:joe@" + name
	if m := v.stranger.do(v.r, v.stranger.request("INVITE", to, foreign, to)); m.code != 403 {
		v.t.Errorf("a call to %s: %s", to, m.line)
	}
}

// call calls joe at a name and hangs up.
func (v *iptel) call(name string) (callID string) {
	v.t.Helper()
	to := "sip:joe@" + name
	q := v.stranger.request("INVITE", to, foreign, to)
	v.stranger.send(v.r, q.text(v.stranger))
	a, _ := answer(v.r, v.stranger, v.joe, q, v.joe.expect("INVITE"))
	a.bye(v.joe)
	return q.callID
}

func (v *iptel) check() {
	v.t.Helper()
	for _, at := range iptelNames {
		v.registerAt(at)
		for _, name := range append([]string{"SIP.Iptel.ORG"}, iptelNames...) {
			v.reach(name)
		}
	}
	v.refused("other.org")

	// A new name: joe need not do anything.
	const added = "voice.example"
	v.refused(added)
	v.exec("INSERT INTO domain (did, domain, flags) VALUES ('iptel', ?, 33)", added)
	if v.cached {
		v.refused(added)
	}
	v.changed()
	v.reach(added)

	// The domain is renamed: what was recorded belongs to it as before.
	calls := []string{v.call("iptel.org")}
	v.exec("UPDATE domain SET domain = 'phone.example' WHERE domain = 'iptel.org'")
	v.changed()
	v.refused("iptel.org")
	calls = append(calls, v.call("phone.example"))
	for _, id := range calls {
		eventually(v.t, "the record of a call joins its domain", func() bool {
			var n int
			err := v.db.Get(&n, v.db.Rebind("SELECT COUNT(*) FROM cdr JOIN domain ON domain.did = cdr.to_did WHERE cdr.call_id = ? AND domain.domain = 'phone.example'"), id)
			if err != nil {
				v.t.Fatal(err)
			}
			return n == 1
		})
	}

	// A row that is taken out of use.
	v.exec("UPDATE domain SET flags = 35 WHERE domain = ?", added)
	v.changed()
	v.refused(added)
}

// TestS2_081_S2_082_CallsWhileReloading sets 200 calls a second up while the
// domains are reloaded again and again, and at last in vain.
func TestS2_081_S2_082_CallsWhileReloading(t *testing.T) {
	if _, err := exec.LookPath("sipp"); err != nil {
		t.Skip("sipp is not installed")
	}
	calls, atLeast := 1000, 50
	switch {
	case testing.Short():
		calls, atLeast = 100, 1
	case long(t) > 0:
		atLeast = 1000
	}
	r := start(t, setup{level: "warn"})
	made, reloads := 0, 0
	for made == 0 || reloads < atLeast {
		r.try("ctl", "registrar.rm", "bob@example.com")
		alice, bob := newSipp(t, r, "alice", "u1"), newSipp(t, r, "bob", "u1")
		alice.run("register.xml", "-auth_uri", "example.com")
		bob.run("register.xml", "-auth_uri", "example.com")
		waitBob := bob.many("callee_bye_caller.xml", calls)
		bob.listens()
		waitAlice := alice.many("caller_bye_caller.xml", calls, "-r", "200", "-key", "callee", "bob", "-auth_uri", "bob@example.com", r.addr.String())
		done := make(chan error, 1)
		go func() {
			err := waitAlice()
			done <- errors.Join(err, waitBob())
		}()
		for running := true; running; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatalf("after %d reloads: %v", reloads, err)
				}
				running = false
			case <-time.After(4 * time.Millisecond):
				var answer any
				r.call(&answer, "domain.reload")
				reloads++
			}
		}
		made += calls
	}
	t.Logf("%d calls during %d reloads", made, reloads)

	db, err := database.OpenURL(t.Context(), "sqlite:"+r.path("sipr.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("ALTER TABLE domain RENAME TO elsewhere"); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := r.try("ctl", "domain.reload"); code != 1 || !strings.Contains(errs, "Domain Table Reload Failed") {
		t.Errorf("a reload without its table: exit code %d: %s", code, errs)
	}
	r.logged("old ones stay")
	phone(t, r, "bob") // the domain is local still
}

// many starts a scenario of many calls, all of which have to succeed.
func (s *sipp) many(scenario string, calls int, args ...string) (wait func() error) {
	s.t.Helper()
	file, err := filepath.Abs(filepath.Join("sipp", scenario))
	if err != nil {
		s.t.Fatal(err)
	}
	dir, n := s.t.TempDir(), fmt.Sprint(calls)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, "sipp", append([]string{"-sf", file, "-i", s.host, "-p", s.port, "-t", s.mode, "-m", n, "-l", n,
		"-nostdin", "-bind_local", "-s", s.user, "-au", s.user, "-ap", s.user, "-key", "domain", "example.com", "-key", "contact", s.contact,
		"-default_behaviors", "all,-abortunexp", "-buff_size", "4000000", "-timeout", "50s", "-timeout_error", "-trace_err", "-error_file", filepath.Join(dir, "errors")}, args...)...)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env, cmd.SysProcAttr = dir, &out, &out, append(environment(), "TERM=dumb"), leash()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cancel(); cmd.Wait() })
	return func() error {
		if err := cmd.Wait(); err != nil {
			why, _ := os.ReadFile(filepath.Join(dir, "errors"))
			return fmt.Errorf("sipp of %s: %w: %.3000s %s", s.user, err, why, out.Bytes()[max(0, out.Len()-3000):])
		}
		return nil
	}
}

// example18 starts a router with the shipped example's settings and script.
func example18(t *testing.T) *router {
	t.Helper()
	r := install(t, setup{})
	dir := filepath.Join("..", "etc", "examples")
	settings := read(t, filepath.Join(dir, "example18-sipr.lua"))
	if !strings.Contains(settings, "127.0.0.1:5060") {
		t.Fatal("the settings of the example have another address")
	}
	r.write("sipr.lua", strings.Replace(strings.ReplaceAll(settings, "127.0.0.1:5060", r.addr.String()), "route ", drainTime+"route ", 1))
	r.write("example18.lua", read(t, filepath.Join(dir, "example18.lua")))
	r.sipr("check")
	r.sipr("db", "init")
	for _, name := range []string{"iptel.org", "acme.example"} {
		r.sipr("domain", "add", name)
	}
	for _, user := range []string{"joe@iptel.org", "ann@acme.example"} {
		name, _, _ := strings.Cut(user, "@")
		r.sipr("user", "add", user, "-p", name)
	}
	r.launch()
	eventually(t, "the router answers", func() bool { _, _, code := r.try("ctl", "core.uptime"); return code == 0 })
	return r
}

// TestS2_044_Example18 sends the four kinds of request.
func TestS2_044_Example18(t *testing.T) {
	r := example18(t)
	joe, stranger, ann, world := listenUDP(t, joeHost), listenUDP(t, strangerHost), listenUDP(t, strangerHost), listenUDP(t, worldHost)
	joe.user, ann.user, world.user = "joe", "ann", "world"
	const joeAt, annAt = "sip:joe@iptel.org", "sip:ann@acme.example"
	reg := joe.request("REGISTER", "sip:iptel.org", joeAt, joeAt, "Contact: <"+joe.contact()+">", "Expires: 600")
	if _, m := joe.doAs(r, reg, "joe", "joe"); m.code != 200 {
		t.Fatalf("REGISTER: %s", m.line)
	}
	abroad := "sip:world@" + world.addr

	// arrives sends OPTIONS, with credentials if they are asked for, and has
	// the callee answer it.
	arrives := func(from, to *peer, fromURI, ruri string, challenged bool) {
		t.Helper()
		q := from.request("OPTIONS", ruri, fromURI, ruri)
		if challenged {
			m := from.do(r, q)
			if m.code != 407 {
				t.Fatalf("%s to %s without credentials: %s", fromURI, ruri, m.line)
			}
			to.lacks(q.callID)
			q = q.authorize(m, from.user, from.user)
		}
		from.send(r, q.text(from))
		got := to.expect("OPTIONS")
		if got.h("Proxy-Authorization") != "" {
			t.Error("credentials are passed on")
		}
		to.sendRaw(r, got.reply(to, 200, "OK"))
		from.response(q, 200)
	}
	refused := func(fromURI, ruri, line string) {
		t.Helper()
		if m := stranger.do(r, stranger.request("OPTIONS", ruri, fromURI, ruri)); m.line != line {
			t.Errorf("%s to %s: %s, want %s", fromURI, ruri, m.line, line)
		}
	}
	t.Run("neither is local", func(t *testing.T) {
		refused(foreign, abroad, "SIP/2.0 403 Relaying Forbidden")
		refused(foreign, "sip:other.example", "SIP/2.0 403 Relaying Forbidden")
	})
	t.Run("inbound", func(t *testing.T) {
		arrives(stranger, joe, foreign, joeAt, false)
		refused(foreign, annAt, "SIP/2.0 480 Temporarily Unavailable")
	})
	t.Run("outbound", func(t *testing.T) { arrives(ann, world, annAt, abroad, true) })
	t.Run("local to local", func(t *testing.T) { arrives(ann, joe, annAt, joeAt, true) })
}

// lacks checks that nothing of a call has come.
func (p *peer) lacks(callID string) {
	p.t.Helper()
	if m := p.poll(50*time.Millisecond, func(m *message) bool { return m.h("Call-ID") == callID }); m != nil {
		p.t.Errorf("%s got what was not admitted:\n%s", p.user, m.raw)
	}
}
