package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/clock"
	"sipr/lua"
)

// thing is a module that notes what the engine does with it.
type thing struct {
	name       string
	needs      []string
	wants      []string
	log        *[]string
	size       int
	failStart  bool
	failReload bool
}

func (t *thing) Describe() core.Spec {
	return core.Spec{
		Name: t.name, Needs: t.needs, Wants: t.wants,
		Params:  []core.Param{core.IntParam(&t.size, "size", "a number", core.Between(0, 10))},
		Exports: []core.Export{core.Func("do_"+t.name, func(*core.Request, *core.Args) core.Result { return core.True }, "")},
	}
}
func (t *thing) note(what string) { *t.log = append(*t.log, what+" "+t.name) }
func (t *thing) Configure(h core.Host) error {
	t.note("configure")
	for _, n := range t.needs {
		if _, err := h.Module(n); err != nil {
			return err
		}
	}
	_, err := h.Module("unnamed")
	if err == nil || !strings.Contains(err.Error(), "its Spec does not name") {
		return errors.New("a module that the Spec does not name was bound")
	}
	return nil
}
func (t *thing) Start(context.Context) error {
	t.note("start")
	if t.failStart {
		return errors.New("broken")
	}
	return nil
}
func (t *thing) Stop(context.Context) error { t.note("stop"); return nil }
func (t *thing) Reload(context.Context) error {
	t.note("reload")
	if t.failReload {
		return errors.New("no data")
	}
	return nil
}

// rig writes settings and a script to a folder and makes an engine of them.
func rig(t *testing.T, settings, script string, mods ...*thing) (*Engine, error) {
	t.Helper()
	dir := t.TempDir()
	if !strings.Contains(settings, "listen") {
		settings = "listen 'udp:127.0.0.1:0'\n" + settings
	}
	settings += "\nroute 'route.lua'\nmodparam('core', 'ctl_socket', '')"
	for name, text := range map[string]string{"sipr.lua": settings, "route.lua": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := lua.LoadSettings(filepath.Join(dir, "sipr.lua"))
	if err != nil {
		return nil, err
	}
	var all []func() core.Module
	for _, m := range mods {
		all = append(all, func() core.Module { return m })
	}
	return New(s, Options{Modules: all, Clock: clock.NewReal(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "test"})
}

const dropAll = "function request_route() drop() end"

func TestModulesStartInOrderAndStopInReverse(t *testing.T) {
	var log []string
	a := &thing{name: "a", needs: []string{"b"}, log: &log}
	b := &thing{name: "b", wants: []string{"c"}, log: &log}
	c := &thing{name: "c", log: &log}
	e, err := rig(t, "loadmodule 'a' loadmodule 'c' loadmodule 'modules/b.so'", dropAll, a, b, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "configure c, configure b, configure a, start c, start b, start a, stop a, stop b, stop c"
	if got := strings.Join(log, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFailedStartIsUndone(t *testing.T) {
	var log []string
	a := &thing{name: "a", log: &log}
	b := &thing{name: "b", log: &log, failStart: true}
	e, err := rig(t, "loadmodule 'a'\nloadmodule 'b'", dropAll, a, b)
	if err != nil {
		t.Fatal(err)
	}
	err = e.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "sipr.lua:3: module b: broken") {
		t.Errorf("error %v", err)
	}
	if got := strings.Join(log, ", "); !strings.HasSuffix(got, "start a, start b, stop a") {
		t.Errorf("got %s", got)
	}
	addr := e.Sockets()[0].Addr
	again, err := rig(t, "listen 'udp:"+addr.String()+"'", dropAll)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(t.Context()); err != nil {
		t.Errorf("the address is still bound: %v", err)
	}
	if err := again.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSettingsErrorsNameFileLineAndRemedy(t *testing.T) {
	for _, tt := range []struct{ settings, script, want string }{
		{"loadmodule 'aa'", dropAll, "sipr.lua:2: there is no module aa (did you mean a?)"},
		{"loadmodule 'b'", dropAll, `sipr.lua:2: module b needs module a: add loadmodule "a"`},
		{"modparam('a', 'size', 1)", dropAll, `module a is not loaded; loadmodule "a" comes first`},
		{"loadmodule 'a' modparam('a', 'sise', 1)", dropAll, "module a has no parameter sise (did you mean size?)"},
		{"loadmodule 'a'\nmodparam('a', 'size', 11)", dropAll, "sipr.lua:3: size: 11 is out of range: 0 to 10 is allowed"},
		{"loadmodule 'a' modparam('a', 'size', 'x')", dropAll, "a whole number is expected, not x"},
		{"listen 'sctp:1.2.3.4:5060'", dropAll, "a protocol comes first"},
		{"listen 'tls:1.2.3.4:5061'", dropAll, "there is no certificate for it"},
		{"listen 'udp:example.com'", dropAll, "an IP address, with a port or without"},
		{"listen { 'udp:127.0.0.1:0', advertize = 'x' }", dropAll, "there is no option advertize (did you mean advertise?)"},
		{"", "function request_route() do_a() end", "route.lua:1: there is no do_a"},
	} {
		var log []string
		_, err := rig(t, tt.settings, tt.script, &thing{name: "a", log: &log}, &thing{name: "b", needs: []string{"a"}, log: &log})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.settings, err, tt.want)
		}
	}
}

func TestReloadKeepsWhatStillWorks(t *testing.T) {
	var log []string
	a := &thing{name: "a", log: &log}
	e, err := rig(t, "loadmodule 'a'", dropAll, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer e.Stop(t.Context())
	_, old := e.scripts.load()
	script := filepath.Join(filepath.Dir(e.settings.File), "route.lua")
	if err := os.WriteFile(script, []byte("function request_route()\n nope() end"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.failReload = true
	err = e.Reload(t.Context())
	for _, want := range []string{"route.lua:2: there is no nope", "the old script stays", "module a keeps its old data: no data"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, p := e.scripts.load(); p != old {
		t.Error("a broken script was taken over")
	}
	if err := os.WriteFile(script, []byte("function request_route() exit() end"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.failReload = false
	if err := e.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if _, p := e.scripts.load(); p == old {
		t.Error("the new script was not taken over")
	}
}

// answer runs a script on requests, one after the other, and returns what was
// sent. TAG in a request is the To tag of what was sent last.
func answer(t *testing.T, script string, requests ...string) string {
	t.Helper()
	e, err := rig(t, "", "function request_route()\n"+script+"\nend")
	if err != nil {
		t.Fatal(err)
	}
	n := &nullNet{buf: make([]byte, 0, 1<<20), socket: &core.Socket{Proto: core.UDP, Addr: netip.MustParseAddrPort("192.0.2.100:5060"),
		SentBy: []byte("192.0.2.100"), Host: []byte("192.0.2.100"), Port: 5060}}
	e.network = n
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer e.Stop(t.Context())
	for _, request := range requests {
		if len(n.sent) > 0 {
			_, tag, _ := strings.Cut(string(n.sent[len(n.sent)-1]), "\nTo: <sip:b@192.0.2.9>;tag=")
			tag, _, _ = strings.Cut(tag, "\r")
			request = strings.ReplaceAll(request, "TAG", tag)
		}
		e.Handle(n, complete(request), core.Flow{Socket: n.socket, Remote: netip.MustParseAddrPort("192.0.2.1:5060")}, e.clock.Now())
	}
	var out []string
	for _, m := range n.sent {
		out = append(out, string(m))
	}
	return strings.Join(out, "")
}

// complete adds the header fields that a request must have and puts it into
// wire form.
func complete(request string) []byte {
	head, body, _ := strings.Cut(request, "\n\n")
	method, _, _ := strings.Cut(head, " ")
	for _, h := range []struct{ name, value string }{{"Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx"}, {"Max-Forwards", "70"},
		{"From", "<sip:a@192.0.2.1>;tag=f"}, {"To", "<sip:b@192.0.2.9>"}, {"Call-ID", "c1"}, {"CSeq", "1 " + method}} {
		if !strings.Contains(head, "\n"+h.name+":") {
			head += "\n" + h.name + ": " + h.value
		}
	}
	return wire(head + "\n\n" + body)
}

func TestCoreExports(t *testing.T) {
	for _, tt := range []struct{ name, script, request, want string }{
		{"stateless reply", `sl_reply("403", "Relaying Forbidden")`, "OPTIONS sip:x@192.0.2.9 SIP/2.0", "SIP/2.0 403 Relaying Forbidden\r\n"},
		{"default reason", `reply(480)`, "OPTIONS sip:x@192.0.2.9 SIP/2.0", "SIP/2.0 480 Temporarily Unavailable\r\n"},
		{"reply header", `append_to_reply("X-A: 1") reply(200)`, "OPTIONS sip:x@192.0.2.9 SIP/2.0", "X-A: 1\r\n"},
		{"no decision", `local x = 1`, "OPTIONS sip:x@192.0.2.9 SIP/2.0", "SIP/2.0 500 "},
		{"exit is no decision", `exit()`, "OPTIONS sip:x@192.0.2.9 SIP/2.0", "SIP/2.0 500 "},
		{"script error", `error("x")`, "OPTIONS sip:x@192.0.2.9 SIP/2.0", "SIP/2.0 500 "},
		{"drop", `drop()`, "OPTIONS sip:x@192.0.2.9 SIP/2.0", ""},
		{"ACK is never answered", `reply(200)`, "ACK sip:x@192.0.2.9 SIP/2.0", ""},
		{"forward", `forward()`, "OPTIONS sip:x@192.0.2.9:7000 SIP/2.0", "OPTIONS sip:x@192.0.2.9:7000 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bKsl"},
		{"hop limit", `forward()`, "OPTIONS sip:x@192.0.2.9 SIP/2.0\nMax-Forwards: 0", "SIP/2.0 483 "},
		{"maxfwd", `if not maxfwd(10) then return sl_reply(483, "Hops") end forward()`, "OPTIONS sip:x@192.0.2.9 SIP/2.0\nMax-Forwards: 0", "SIP/2.0 483 Hops"},
		{"strip and prefix", `strip(2) prefix("+1") forward()`, "OPTIONS sip:00555@192.0.2.9 SIP/2.0", "OPTIONS sip:+1555@192.0.2.9 SIP/2.0"},
		{"rewrite", `rewritehost("192.0.2.7") rewriteport("99") rewriteuser("z") forward()`, "OPTIONS sip:b@x SIP/2.0", "OPTIONS sip:z@192.0.2.7:99 SIP/2.0"},
		{"dst_uri", `setdsturi("sip:192.0.2.5") forward()`, "OPTIONS sip:b@unknown.invalid SIP/2.0", "OPTIONS sip:b@unknown.invalid SIP/2.0"},
		{"append", `append_hf("P-Hint: out\r\n") forward()`, "OPTIONS sip:b@192.0.2.9 SIP/2.0", "\r\nP-Hint: out\r\n"},
		{"a line break in a value", `append_hf("A: b\r\nC: d") reply(200)`, "OPTIONS sip:b@192.0.2.9 SIP/2.0", "SIP/2.0 500 "},
		{"the router's own headers", `remove_hf("Via")`, "OPTIONS sip:b@192.0.2.9 SIP/2.0", "SIP/2.0 500 "},
		{"redirect", `append_hf("X: y") ruri.user = "c" redirect()`, "INVITE sip:b@192.0.2.9 SIP/2.0", "SIP/2.0 302 Moved Temporarily\r\n"},
		{"redirect's contact", `ruri.user = "c" redirect(301)`, "INVITE sip:b@192.0.2.9 SIP/2.0", "Contact: <sip:c@192.0.2.9>\r\n"},
		{"search", `if search_hf("User-Agent", "(?i)scan|bad") then reply(200) else reply(404) end`, "OPTIONS sip:b@192.0.2.9 SIP/2.0\nUser-Agent: a BAD one", "SIP/2.0 200 "},
		{"is_myself", `if is_myself() then reply(200) else reply(404) end`, "OPTIONS sip:192.0.2.100:5060 SIP/2.0", "SIP/2.0 200 "},
		{"not myself", `if is_myself() then reply(200) else reply(404) end`, "OPTIONS sip:192.0.2.100:5070 SIP/2.0", "SIP/2.0 404 "},
		{"flags", `setflag(3) if isflagset(3) and not isflagset(4) then reply(200) end`, "OPTIONS sip:b@192.0.2.9 SIP/2.0", "SIP/2.0 200 "},
		{"unknown scheme", `reply(200)`, "OPTIONS soap.beep://192.0.2.9 SIP/2.0", "SIP/2.0 416 "},
		{"malformed", `reply(200)`, "OPTIONS sip:b@192.0.2.9 SIP/2.0\nCSeq: x", "SIP/2.0 400 "},
		{"version", `reply(200)`, "OPTIONS sip:b@192.0.2.9 SIP/7.0", "SIP/2.0 505 "},
		{"proxy-require", `forward()`, "OPTIONS sip:b@192.0.2.9 SIP/2.0\nProxy-Require: foo, bar", "Unsupported: foo, bar\r\n"},
		{"received and rport", `reply(200)`, "OPTIONS sip:b@192.0.2.9 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.1:99;rport;branch=z9hG4bKq", ";rport=5060;branch=z9hG4bKq;received=192.0.2.1\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := answer(t, tt.script, tt.request)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got\n%s\nwant %q", got, tt.want)
			}
		})
	}
}

func TestACKToAStatelessReplyEndsHere(t *testing.T) {
	const script = `if method == "ACK" then forward() else sl_reply(486) end`
	const invite = "INVITE sip:b@192.0.2.9 SIP/2.0"
	ack := "ACK sip:b@192.0.2.9 SIP/2.0\nTo: <sip:b@192.0.2.9>;tag="
	if got := answer(t, script, invite, ack+"TAG"); strings.Contains(got, "ACK ") {
		t.Errorf("the ACK was seen by the script:\n%s", got)
	}
	if got := answer(t, script, invite, ack+"other"); !strings.Contains(got, "ACK ") {
		t.Errorf("somebody else's ACK was absorbed:\n%s", got)
	}
}
