package lua

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/coretest"
)

// exports is what the scripts of these tests may call.
func exports(got *[]string) []core.Export {
	note := func(r *core.Request, a *core.Args) core.Result {
		var parts []string
		for i := 0; i < a.Len(); i++ {
			if a.Has(i) {
				parts = append(parts, string(a.Bytes(i)))
			} else {
				parts = append(parts, "<none>")
			}
		}
		*got = append(*got, strings.Join(parts, " "))
		return core.True
	}
	return []core.Export{
		core.Func("note", note, "notes its arguments", core.Text("a", ""), core.Text("b", "").Opt(), core.Text("c", "").Opt()),
		core.Func("count", func(_ *core.Request, a *core.Args) core.Result { return core.Number(a.Int(0, 0)) }, "", core.Int("n", "")),
		core.Func("refuse", func(*core.Request, *core.Args) core.Result { return core.False("because") }, ""),
		core.Func("broken", func(*core.Request, *core.Args) core.Result { return core.Fail(errors.New("no database")) }, ""),
		core.Func("drop", func(*core.Request, *core.Args) core.Result { return core.Result{Stop: true} }, ""),
		core.Func("on_failure", func(*core.Request, *core.Args) core.Result { return core.True }, "", core.RouteName("route", "")),
		core.Func("only_failure", func(*core.Request, *core.Args) core.Result { return core.True }, "").In(core.FailureRoute),
		core.Func("group", func(*core.Request, *core.Args) core.Result { return core.True }, "", core.AttrName("group", "")),
	}
}

func compile(t testing.TB, script string, got *[]string) (*Program, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "route.lua")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	b := NewBinding()
	b.Shared = NewShared(clock.NewFake(), 100)
	if err := b.Add("test", exports(got)); err != nil {
		t.Fatal(err)
	}
	return Compile(file, b, Options{Budget: 100_000})
}

const message = `INVITE sip:+1234@example.com:5070;x=y SIP/2.0
From: "Alice" <sip:alice@home.example>;tag=ft
To: <sip:bob@example.com>
X-Color: blue
Contact: <sip:alice@192.0.2.1>`

// runs runs a script's request_route and returns what it noted.
func runs(t *testing.T, script string) string {
	t.Helper()
	var got []string
	p, err := compile(t, script, &got)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(coretest.NewHost(t).Request(message), "request_route"); err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, "|")
}

func TestScriptReadsAndWrites(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"selects as texts", `note("@ruri.user", "@from.uri.host", "@msg.header[\"X-Color\"]")`, "+1234 home.example blue"},
		{"selects as values", `note(ruri.user, from.uri.host, msg.header["X-Color"])`, "+1234 home.example blue"},
		{"in expressions", `note(ruri.user .. "/" .. from.tag, method, msg.header[("X-"):lower() .. "color"])`, "+1234/ft INVITE blue"},
		{"numbers", `note(ruri.port + 1, src.port, cseq.num)`, "5071 5060 1"},
		{"missing", `note("@to.tag", "$fd.did", to.tag)`, "<none> <none> <none>"},
		{"strempty", `note(tostring(strempty(attr.f.did)), tostring(defined(to.tag)), strlen(ruri.user))`, "true false 5"},
		{"write ruri", `ruri.user = "bob" ruri.host = "h" note("@ruri", ruri.user)`, "sip:bob@h:5070;x=y bob"},
		{"write attribute", `attr.tu.fwd = "x" note("$t.fwd", attr.tu.fwd, "$f.fwd")`, "x x <none>"},
		{"a variable is never evaluated", `local s = "@ruri.user" note(s)`, "@ruri.user"},
		{"module fields", `note(tostring(test.note("inner")))`, "inner|true"},
		{"second result", `local ok, why = refuse() note(tostring(ok), why)`, "false because"},
		{"int of text", `note(count("7") + count(1))`, "8"},
		{"try", `local v, err = try(broken) note(tostring(v), (err:gsub("^.*: ", "")))`, "nil no database"},
		{"drop ends", `note("a") drop() note("b")`, "a"},
		{"drop passes try", `try(function() drop() end) note("b")`, ""},
		{"shadowing", `local from = { tag = "mine" } note(from.tag)`, "mine"},
		{"string methods", `local u = ruri.user if u:find("12", 1, true) then note(u:sub(2, 3)) end`, "12"},
		{"shared", `shared.set("k", 5, 10) note(shared.add("k", 2), shared.get("k"), shared.get("none"))`, "7 7 <none>"},
		{"local functions", `local function f(n) if n == 0 then return "end" end return f(n - 1) end note(f(3))`, "end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := runs(t, "function request_route()\n"+tt.body+"\nend"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMistakesAreFoundWhenLoading(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{"# comment\nfunction request_route() end", "route.lua:1: comments start with --"},
		{"function request_route()\n  x = 1\nend", "route.lua:2: x would be a global"},
		{"local n = 0\nfunction request_route()\n n = n + 1\nend", "route.lua:3: n is a local of the file"},
		{"function request_route()\n note(foo)\nend", "route.lua:2: there is no foo"},
		{"function request_route()\n notee('x')\nend", "did you mean note?"},
		{"function request_route() note(ruri.hots) end", `there is no "ruri.hots"`},
		{"function request_route() note('@ruri.hots') end", `is not a select`},
		{"function request_route() note() end", "note(a, [b], [c]) is called with 0 arguments"},
		{"function request_route() count('x') end", `a number is expected, not "x"`},
		{"function request_route() on_failure('nope') end", `no function "nope"`},
		{"function request_route() group('ff') end", `argument 1 (group) of group`},
		{"function request_route() test.nope() end", "module test has no function nope"},
		{"function request_route() string.fnd('a') end", "did you mean find?"},
		{"function request_route() pcall(note) end", "use try"},
		{"function request_route() os.exit() end", "the sandbox has none"},
		{"function note() end\nfunction request_route() end", "note is a function of sipr"},
		{"function other() end", "there is no function request_route"},
		{"function request_route() from.tag = 'x' end", "from.tag cannot be written"},
		{"function request_route()\n if a != b then end\nend", "unequal is written ~="},
		{"function request_route() function g() end end", "write local function g"},
		{"note('x')\nfunction request_route() end", "route.lua:1: note cannot be called while the script is loaded"},
		{"require('nope')\nfunction request_route() end", "route.lua:1: require \"nope\": there is no"},
	} {
		_, err := compile(t, tt.script, new([]string))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q:\n got %v\nwant %s", tt.script, err, tt.want)
		}
	}
}

func TestRunErrorsCarryTheLine(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{"broken()", "route.lua:2: broken: no database"},
		{"local t = nil; t.x = 1", "route.lua:2: "},
		{"while true do end", "route.lua:2: the script used up its budget"},
		{"repeat until false", "used up its budget"},
		{"::again:: goto again", "used up its budget"},
		{"for i = 1, 1e9 do end", "used up its budget"},
		{"try(function() while true do end end)", "used up its budget"},
		{"local function f() return f() end f()", "used up its budget"},
		{"local s = 'x' for i = 1, 100 do s = s .. s end", "too long"},
		{"local s = ('x'):rep(1e9)", "too long"},
		{"(('a'):rep(5000)):find('.-.-.-.-b')", "used up its budget"},
		{"error('mine')", "route.lua:2: mine"},
		{"only_failure()", "only_failure may not be called from a request route"},
		{"LIST[1] = 'x'", "read-only"},
		{"table.insert(LIST, 'x')", "read-only"},
		{"local s = string s.x = 1", "read-only"},
		{"count({})", "a number is expected"},
	} {
		var got []string
		p, err := compile(t, "LIST = {'a', 'b'} function request_route()\n"+tt.body+"\nend", &got)
		if err == nil {
			err = p.Run(coretest.NewHost(t).Request(message), "request_route")
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.body, err, tt.want)
		}
	}
}

func TestFileLevelDataIsReadable(t *testing.T) {
	got := runs(t, `
LIST = {"a", "b", sub = {x = "deep"}}
local names = {one = 1}
function request_route()
  for i, v in ipairs(LIST) do note(i .. v) end
  note(#LIST, table.concat(LIST, "+", 1, 2), LIST.sub.x)
  for k, v in pairs(names) do note(k, v) end
end`)
	if want := "1a|2b|2 a+b deep|one 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	b := NewBinding()
	calls := 0
	if err := b.Add("test", []core.Export{
		core.Func("yes", func(_ *core.Request, a *core.Args) core.Result {
			if len(a.Bytes(0)) > 0 {
				calls++
			}
			return core.True
		}, "", core.Text("a", "")),
		core.Func("no", func(*core.Request, *core.Args) core.Result { return core.False("why") }, ""),
	}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "route.lua")
	script := `function other() return yes(ruri.host) end
function request_route()
  if method == "INVITE" and yes("@ruri.user") and ruri.host == "example.com" then
    local ok, why = no()
    if not ok and why == "why" then other() end
  end
end`
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Compile(file, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := coretest.NewHost(t).Request(message)
	if n := testing.AllocsPerRun(1000, func() {
		if err := p.Run(r, "request_route"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a run", n)
	}
	if calls != 2002 {
		t.Errorf("%d calls", calls)
	}
}

func BenchmarkRun(b *testing.B) {
	var got []string
	p, err := compile(b, `function request_route()
  if count(10) == 1 then drop() end
  if method == "REGISTER" then drop() end
  local ok, why = refuse()
  if ruri.host == "other" then drop() end
end`, &got)
	if err != nil {
		b.Fatal(err)
	}
	r := coretest.NewHost(b).Request(message)
	b.ReportAllocs()
	for b.Loop() {
		p.Run(r, "request_route")
	}
}

func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sipr.lua")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`listen "udp:127.0.0.1:5060"
listen { "tcp:127.0.0.1:5060", advertise = "sip.example.com" }
loadmodule "modules/tm.so"
modparam("domain", "db_mode", 1)
modparam("a|b", "x", "y")
route "route.lua"`)
	s, err := LoadSettings(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Listen) != 2 || s.Listen[1].Options["advertise"] != "sip.example.com" || s.Modules[0].Name != "tm" ||
		s.Params[0].Value != int64(1) || len(s.Params) != 3 || s.Params[2].Module != "b" || s.Route != "route.lua" || s.Params[0].Line != 4 {
		t.Errorf("%+v", s)
	}
	for _, tt := range []struct{ text, want string }{
		{"# x", "sipr.lua:1: comments start with --"},
		{"\nlissten 'x'", "sipr.lua:2: there is no setting lissten (did you mean listen?)"},
		{"modparam('a', 'b')", "sipr.lua:1: modparam: a module, a parameter and a value"},
		{"listen {}", "an address such as"},
		{"listen = 'udp:127.0.0.1:5060'", "sipr.lua:1: listen is called, not assigned"},
		{"children = 8", "sipr.lua:1: children = … sets nothing"},
	} {
		write(tt.text)
		if _, err := LoadSettings(file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v", tt.text, err)
		}
	}
}
