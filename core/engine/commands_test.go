package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/control"
	"sipr/core/engine"
	"sipr/lua"
	"sipr/modules/registrar"
	"sipr/modules/tm"
)

// live is a router on real sockets, with every door.
type live struct {
	t      *testing.T
	e      *engine.Engine
	dir    string
	level  *slog.LevelVar
	killed chan struct{}
}

const token = "0123456789abcdef"

func newLive(t *testing.T, more string) *live {
	t.Helper()
	r := &live{t: t, dir: t.TempDir(), level: new(slog.LevelVar), killed: make(chan struct{})}
	for name, text := range map[string]string{
		"route.lua": "function request_route() sl_reply(200) end",
		"sipr.lua": `listen "udp:127.0.54.1:0"
listen "tcp:127.0.54.1:0"
modparam("core", "udp_readers", 2)
modparam("core", "alias", "sip.example.com:5070")
modparam("core", "ctl_tcp", "127.0.54.1:0")
modparam("core", "http", "127.0.54.1:5480")
modparam("core", "http_token", "` + token + `")
modparam("core", "debug", 2)
loadmodule "tm"
loadmodule "registrar"
modparam("registrar", "db_mode", 0)
` + more + "\nroute \"route.lua\"\n"} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := lua.LoadSettings(filepath.Join(r.dir, "sipr.lua"))
	if err != nil {
		t.Fatal(err)
	}
	r.e, err = engine.New(s, engine.Options{Modules: []func() core.Module{tm.New, registrar.New}, Clock: clock.NewReal(),
		Log: slog.New(slog.DiscardHandler), Level: r.level, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	r.e.OnKill(func() { close(r.killed) })
	if err := r.e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.e.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *live) run(name string, params ...any) *core.Call {
	r.t.Helper()
	c, err := r.e.Commands().Run(r.t.Context(), name, params)
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	return c
}

func (r *live) faults(code int, name string, params ...any) {
	r.t.Helper()
	_, err := r.e.Commands().Run(r.t.Context(), name, params)
	if f, ok := errors.AsType[*core.Fault](err); !ok || f.Code != code {
		r.t.Errorf("%s %v: %v, want a fault %d", name, params, err, code)
	}
}

// scalar returns the one value that a command answers with.
func (r *live) scalar(name string, params ...any) any {
	r.t.Helper()
	c := r.run(name, params...)
	if len(c.Reply) != 1 {
		r.t.Fatalf("%s: %v", name, c.Reply)
	}
	return c.Reply[0]
}

func member(v any, name string) any {
	for _, m := range v.(*core.Struct).Members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

func TestCoreCommands(t *testing.T) {
	r := newLive(t, "")
	if v := r.scalar("core.version"); v != "sipr 1.2.3" {
		t.Error(v)
	}
	up := r.run("core.uptime").Reply[0].(*core.Struct)
	var names []string
	for _, m := range up.Members {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"now", "up_since", "uptime"}, names); diff != "" {
		t.Error(diff)
	}
	if got := r.run("core.echo", "a", int64(1)).Reply; !cmp.Equal(got, []any{"a", int64(1)}) {
		t.Error(got)
	}
	a := r.run("core.aliases_list").Reply[0]
	if member(a, "address") != "sip.example.com" || member(a, "port") != "5070" {
		t.Errorf("%+v", a)
	}
	var ps strings.Builder
	for i, v := range r.run("core.ps").Reply {
		if _, ok := v.(int64); ok != (i%2 == 0) {
			t.Errorf("core.ps: value %d is %v", i, v)
		}
		fmt.Fprintln(&ps, v)
	}
	for _, want := range []string{"udp receiver 1 127.0.54.1:", "tcp listener 127.0.54.1:", "timer tm every ", "control unix socket ", "control HTTP 127.0.54.1:5480", "control TCP "} {
		if !strings.Contains(ps.String(), want) {
			t.Errorf("core.ps lacks %q:\n%s", want, ps.String())
		}
	}
	if n := len(r.run("core.psx").Reply); n == 0 {
		t.Error("core.psx is empty")
	}
	for _, name := range []string{"goroutines", "heap", "pid", "requests_in_hand", "script"} {
		if member(r.run("core.info").Reply[0], name) == nil {
			t.Errorf("core.info lacks %s", name)
		}
	}
	r.run("core.reload")
	r.run("core.kill")
	<-r.killed
}

func TestConnectionCommands(t *testing.T) {
	r := newLive(t, "")
	var addr string
	for _, v := range r.run("core.sockets_list").Reply {
		if member(v, "proto") == "tcp" {
			addr = fmt.Sprintf("%s:%d", member(v, "address"), member(v, "port"))
		}
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.54.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\nContent-Length: 0\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1)); err != nil { // it is known when it answers
		t.Fatal(err)
	}
	list := r.run("core.tcp_list").Reply
	if len(list) != 1 {
		t.Fatalf("%v", list)
	}
	if c := list[0]; member(c, "type") != "TCP" || member(c, "local") != addr || member(c, "remote") != conn.LocalAddr().String() ||
		member(c, "idle").(int64) > 5 || member(c, "write_queue") != int64(0) {
		t.Errorf("%+v", c)
	}
	info := r.run("core.tcp_info").Reply[0]
	if member(info, "opened_connections") != int64(1) || member(info, "max_connections") != int64(20000) {
		t.Errorf("%+v", info)
	}
}

func TestLogLevel(t *testing.T) {
	r := newLive(t, "")
	for _, tt := range []struct {
		set  any
		want string
	}{{"debug", "debug"}, {int64(-1), "error"}, {int64(0), "warn"}, {int64(2), "info"}, {int64(3), "debug"}, {"WARN", "warn"}, {int64(-3), "error"}} {
		if got := r.scalar("core.log_level", tt.set); got != tt.want || r.scalar("core.log_level") != tt.want || r.scalar("cfg.get", "core.log_level") != tt.want {
			t.Errorf("%v: %v", tt.set, got)
		}
	}
	r.faults(400, "core.log_level", "loud")
	if r.scalar("cfg.set", "core", "debug", int64(3)) != "3" || r.level.Level() != slog.LevelDebug {
		t.Error(r.level.Level())
	}
}

func TestCfg(t *testing.T) {
	r := newLive(t, "modparam(\"tm\", \"fr_timer\", 7000)")
	all := r.run("cfg.list").Reply[0]
	for name, want := range map[string]any{"tm.fr_timer": "7s", "core.http_token": "***", "core.secret": "", "registrar.max_contacts": "10"} {
		if got := member(all, name); got != want {
			t.Errorf("cfg.list: %s is %v", name, got)
		}
	}
	if s := r.run("cfg.list", "tm").Reply[0].(*core.Struct); member(s, "core.secret") != nil || member(s, "tm.t4") == nil {
		t.Error(s)
	}
	if got := r.scalar("cfg.get", "tm", "fr_timer"); got != "7s" {
		t.Error(got)
	}
	if got := member(r.run("cfg.get", "usrloc").Reply[0], "db_mode"); got != "0" { // by another name of the module
		t.Error(got)
	}
	for _, set := range [][]any{{"tm", "fr_timer", int64(1500)}, {"tm.fr_timer", "1.5s"}, {"tm", "fr_timer", "1500"}} {
		if got := r.scalar("cfg.set", set...); got != "1.5s" {
			t.Errorf("%v: %v", set, got)
		}
	}
	if member(r.run("cfg.help", "tm", "fr_timer").Reply[0], "change") != "cfg.set" ||
		member(r.run("cfg.help", "tm", "t4").Reply[0], "change") != "needs a restart" {
		t.Error("cfg.help")
	}
	r.faults(403, "cfg.set", "tm", "t4", int64(1000))
	r.faults(403, "cfg.seti", "core", "http_token", "x")
	r.faults(400, "cfg.set", "tm", "fr_timer", "soon")
	r.faults(400, "cfg.set", "tm", "fr_timer", int64(1))
	r.faults(400, "cfg.set", "tm", "fr_timer")
	r.faults(400, "cfg.set", "tm")
	r.faults(400, "cfg.get")
	r.faults(404, "cfg.get", "tm", "fr_timr")
	r.faults(404, "cfg.list", "nosuch")
	r.faults(400, "cfg.set", "registrar", "min_expires", int64(7200)) // max_expires is an hour
	r.faults(400, "cfg.set", "registrar", "max_expires", int64(1))
	if got := r.scalar("cfg.set", "registrar.max_expires", int64(7200)); got != "2h0m0s" {
		t.Error(got)
	}
}

func TestStatsCommands(t *testing.T) {
	r := newLive(t, "")
	conn, err := net.Dial("udp", strings.TrimPrefix(member(r.run("core.info").Reply[0], "listen").(string), "udp:"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.54.1;rport;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\n\r\n")
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"core.requests", "core:requests", "requests"} {
		if s := r.run("stats.get", want).Reply[0]; member(s, "core.requests") != int64(1) {
			t.Errorf("%s: %+v", want, s)
		}
	}
	if s := r.run("stats.fetch", "tm:", "core:requests").Reply[0].(*core.Struct); member(s, "tm.active") == nil || member(s, "core.requests") == nil || member(s, "transport.sent") != nil {
		t.Errorf("%+v", s)
	}
	lines := r.run("stats.get_statistics", "core:").Reply
	if !strings.Contains(fmt.Sprint(lines...), "core:requests = 1") {
		t.Error(lines)
	}
	if n := len(r.run("stats.get_statistics", "all").Reply); n != len(r.run("stats.get").Reply[0].(*core.Struct).Members) {
		t.Error(n)
	}
	r.faults(404, "stats.get", "nosuch:")
	r.faults(400, "stats.reset_statistics")
	r.run("stats.reset_statistics", "core:")
	if s := r.run("stats.get", "core:").Reply[0]; member(s, "core.requests") != int64(0) || member(s, "core.script_generations") != int64(1) {
		t.Errorf("%+v", s)
	}
}

// TestDoors calls one command through every door but the FIFO.
func TestDoors(t *testing.T) {
	r := newLive(t, `modparam("core", "http_origins", "https://admin.example.com")`)
	client, err := control.Dial(t.Context(), filepath.Join(r.dir, "sipr.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if v, err := client.Call(t.Context(), "core.version", nil); err != nil || string(v) != `"sipr 1.2.3"` {
		t.Errorf("%s, %v", v, err)
	}
	for _, tt := range []struct {
		token string
		code  int
	}{{token, 200}, {"wrong", 401}} {
		q, _ := http.NewRequest("POST", "http://127.0.54.1:5480/RPC", strings.NewReader(`{"jsonrpc":"2.0","method":"core.version","id":1}`))
		q.Header.Set("Authorization", "Bearer "+tt.token)
		q.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.code || tt.code == 200 && !strings.Contains(string(body), "sipr 1.2.3") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
