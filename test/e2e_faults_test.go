package test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sipr/core/coretest"
)

// TestScriptFaults has a script with every fault that a script can have when
// it runs: each caller gets a final answer, and the log says where it is.
func TestScriptFaults(t *testing.T) {
	r := install(t, setup{route: `
function request_route()
  if method == "OPTIONS" then return sl_reply(200, "Keepalive") end
  if method == "ACK" then return drop() end
  if ruri.user == "error" then local x = attr.t.nothing; return x.y end
  if ruri.user == "loop" then while true do end end
  if ruri.user == "grow" then local s = "x"; while true do s = s .. s end end
  if ruri.user == "silent" then return end
  if ruri.user == "export" then return reply(99999, "x") end
  if ruri.user == "deep" then return deep(1) end
  return sl_reply(404, "Not Found")
end

function deep(n) return 1 + deep(n + 1) end
`})
	r.start()
	p := listenUDP(t, phoneHost)
	for user, where := range map[string]string{"error": "route.lua:5", "loop": "route.lua:6", "grow": "route.lua:7", "silent": "route.lua", "export": "route.lua:9", "deep": "route.lua:14"} {
		for _, method := range []string{"INVITE", "MESSAGE"} {
			q := p.request(method, "sip:"+user+"@"+r.addr.String(), foreign, "sip:x@example.com")
			begin := time.Now()
			if m := p.do(r, q); m.code != 500 {
				t.Errorf("%s, %s: %s", user, method, m.line)
			}
			if d := time.Since(begin); d > 3*time.Second {
				t.Errorf("%s, %s: took %s", user, method, d)
			}
		}
		r.logged(where)
	}
	// Many equal faults are one line a second.
	begin, before := time.Now(), strings.Count(r.log.String(), "route.lua:5")
	for range 50 {
		p.do(r, p.request("MESSAGE", "sip:error@"+r.addr.String(), foreign, "sip:x@example.com"))
	}
	if n, most := strings.Count(r.log.String(), "route.lua:5")-before, int(time.Since(begin)/time.Second)+1; n > most {
		t.Errorf("%d lines for 50 equal faults, %d at most", n, most)
	}
	ping(t, r)
}

// TestCheck has settings and scripts that do not even start.
func TestCheck(t *testing.T) {
	good := read(t, filepath.Join("..", "etc", "route.lua"))
	line := strconv.Itoa(strings.Count(good, "\n") + 2)
	for _, c := range []struct{ name, route, more, where, what string }{
		{name: "unknown export", route: good + "function more()\n  t_rely()\nend\n", where: "route.lua:" + line, what: "t_relay"},
		{name: "syntax", route: good + "function more()\n  if then\nend\n", where: "route.lua:" + line},
		{name: "unknown route", route: good + "function more()\n  t_on_failure(\"nowhere\")\nend\n", where: "route.lua:" + line, what: "nowhere"},
		{name: "global state", route: good + "function more()\n  counter = 1\nend\n", where: "route.lua:" + line, what: "counter"},
		{name: "arguments", route: good + "function more()\n  t_check_status()\nend\n", where: "route.lua:" + line},
		{name: "unknown parameter", more: "modparam(\"tm\", \"fr_timr\", 1)\n", where: "sipr.lua:", what: "fr_timer"},
		{name: "unknown module", more: "loadmodule \"registar\"\n", where: "sipr.lua:", what: "registrar"},
		{name: "bad value", more: "modparam(\"tm\", \"fr_timer\", \"soon\")\n", where: "sipr.lua:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := install(t, setup{route: c.route, more: c.more})
			for _, command := range []string{"check", "run"} {
				_, errs, code := r.try(command)
				if code != 4 || !strings.Contains(errs, c.where) || !strings.Contains(errs, c.what) {
					t.Errorf("sipr %s: exit code %d: %s; 4 and %s and %s are expected", command, code, errs, c.where, c.what)
				}
			}
			if files, _ := filepath.Glob(r.path("sipr.db*")); len(files) > 0 {
				t.Errorf("left behind: %s", files)
			}
		})
	}
}

// TestDatabaseGone stops the database, and then kills it.
func TestDatabaseGone(t *testing.T) {
	url := coretest.MariaDB(t)
	r := install(t, setup{db: url, more: "modparam(\"core\", \"wait_timeout\", 1)\n"})
	r.sipr("db", "init")
	r.start()
	r.provision()
	alice, bob := phone(t, r, "alice"), phone(t, r, "bob")
	a, _ := talk(r, alice, bob)
	a.bye(bob)

	register := func() (code int, took time.Duration) {
		q := alice.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com", "Contact: <"+alice.contact()+">")
		begin := time.Now()
		_, m := alice.doAs(r, q, "alice", "alice")
		return m.code, time.Since(begin)
	}
	without := func(what string) {
		t.Helper()
		stop := watch(t, r, time.Second)
		if code, took := register(); code != 500 || took > 5*time.Second {
			t.Errorf("%s: REGISTER got %d after %s", what, code, took)
		}
		a, _ := talk(r, alice, bob)
		a.bye(bob)
		stranger := alice.request("MESSAGE", "sip:someone@example.com", foreign, "sip:someone@example.com")
		if m := alice.do(r, stranger); m.code != 500 {
			t.Errorf("%s: a user that the database would have to know: %s", what, m.line)
		}
		stop()
	}
	pid := serverPID(t, url)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	without("database stopped")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "REGISTER works again", func() bool { code, _ := register(); return code == 200 })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	without("database killed")
}

// serverPID returns the process of a database of coretest.
func serverPID(t *testing.T, url string) int {
	t.Helper()
	text := read(t, filepath.Join(filepath.Dir(socketOf(t, url)), "pid"))
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func socketOf(t *testing.T, url string) string {
	t.Helper()
	_, rest, ok := strings.Cut(url, "unix(")
	sock, _, _ := strings.Cut(rest, ")")
	if !ok {
		t.Fatalf("%s is not on a unix socket", url)
	}
	return sock
}

// watch pings the router until stop is called; no answer may take longer than
// limit.
func watch(t *testing.T, r *router, limit time.Duration) (stop func() []time.Duration) {
	t.Helper()
	end, done := make(chan struct{}), make(chan struct{})
	var all []time.Duration
	p := listenUDP(t, phoneHost)
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
			}
			q := p.request("OPTIONS", "sip:"+r.addr.String(), "sip:ping@example.net", "sip:"+r.addr.String())
			begin := time.Now()
			if p.sendRaw(r, q.text(p)) != nil {
				return
			}
			m := p.poll(limit, func(m *message) bool { return m.branch() == q.branch })
			d := time.Since(begin)
			if m == nil || m.code != 200 {
				t.Errorf("no answer to OPTIONS within %s", limit)
			}
			all = append(all, d)
			time.Sleep(time.Millisecond) // a watch, not a load
		}
	}()
	return func() []time.Duration {
		close(end)
		<-done
		p.close()
		return all
	}
}

// slowSocket stands between the router and a unix socket; what comes back
// from there is late.
func slowSocket(t *testing.T, target string, delay *atomic.Int64) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "slow")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				s, err := net.Dial("unix", target)
				if err != nil {
					c.Close()
					return
				}
				var once sync.Once
				end := func() { once.Do(func() { c.Close(); s.Close() }) }
				go func() { io.Copy(s, c); end() }()
				buf := make([]byte, 65536)
				for {
					n, err := s.Read(buf)
					time.Sleep(time.Duration(delay.Load()))
					if _, werr := c.Write(buf[:n]); err != nil || werr != nil {
						end()
						return
					}
				}
			}()
		}
	}()
	return path
}

// TestWaitingScripts has 200 requests whose scripts wait for a slow database,
// all at once: they are answered, and others do not notice.
func TestWaitingScripts(t *testing.T) {
	const requests, late = 200, 50 * time.Millisecond
	url := coretest.MariaDB(t)
	var delay atomic.Int64
	slow := slowSocket(t, socketOf(t, url), &delay)
	r := install(t, setup{db: strings.Replace(url, socketOf(t, url), slow, 1),
		more: "modparam(\"domain\", \"db_mode\", 0)\nmodparam(\"core\", \"wait_timeout\", 20)\n"})
	r.sipr("db", "init")
	r.sipr("domain", "add", "example.com")
	r.start()
	p := listenUDP(t, phoneHost)
	delay.Store(int64(late))
	pending := map[string]bool{}
	begin := time.Now()
	for range requests {
		q := p.request("MESSAGE", "sip:x@192.0.2.1", foreign, "sip:x@192.0.2.1")
		pending[q.branch] = true
		p.send(r, q.text(p))
	}
	stop := watch(t, r, 2*time.Second)
	for len(pending) > 0 {
		m := p.poll(20*time.Second, func(m *message) bool { return m.code >= 200 })
		if m == nil {
			t.Errorf("%d of %d have no answer", len(pending), requests)
			break
		}
		if m.code != 403 {
			t.Errorf("%s", m.line)
		}
		delete(pending, m.branch())
	}
	took := time.Since(begin)
	all := stop()
	slices.Sort(all)
	if len(all) < 20 {
		t.Fatalf("%d answers to OPTIONS in %s", len(all), took)
	}
	median, p99 := all[len(all)/2], all[len(all)*99/100]
	t.Logf("%d requests in %s; meanwhile OPTIONS: %d, median %s, 99%% %s, max %s", requests, took, len(all), median, p99, all[len(all)-1])
	if took < late {
		t.Errorf("the database was not slow: %s", took)
	}
	if p99 >= late {
		t.Errorf("OPTIONS waited: 99%% took up to %s", p99)
	}
	delay.Store(0)
}
