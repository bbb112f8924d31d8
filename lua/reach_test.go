package lua

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
)

// compileFiles compiles route.lua beside other files. mark may be called from
// reply_route, relay may not.
func compileFiles(t *testing.T, files map[string]string) (*Program, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yes := func(*core.Request, *core.Args) core.Result { return core.True }
	b := NewBinding()
	if err := b.Add("test", []core.Export{
		core.Func("mark", yes, "", core.Text("a", "").Opt()).In(core.AnyRoute | core.ResponseRoute),
		core.Func("relay", yes, ""),
		core.Func("on_reply", yes, "", core.RouteName("route", "")),
	}); err != nil {
		t.Fatal(err)
	}
	return Compile(filepath.Join(dir, "route.lua"), b, Options{})
}

func TestReplyRouteIsChecked(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{"function reply_route() mark(status) mark('@from.uri.user') mark(msg.header['X']) mark(method) end", ""},
		{"function reply_route()\n relay() end", "route.lua:3: relay may not be called from reply_route"},
		{"function reply_route()\n test.relay() end", "route.lua:3: relay may not"},
		{"function reply_route()\n try(relay) end", "route.lua:3: relay may not"},
		{"function reply_route()\n local f = relay end", "route.lua:3: relay may not"},
		{"function reply_route() local relay = 1 mark(relay) end", ""},
		{"function helper()\n relay() end\nfunction reply_route() helper() end", "route.lua:3: relay may not be called from reply_route, which has no request and may not wait: t_on_reply names a route that has one (reply_route → helper)"},
		{"function c() relay() end function b() c() end function reply_route() b() end", "(reply_route → b → c)"},
		{"local function helper()\n relay() end\nfunction reply_route() helper() end", "route.lua:3: relay may not"},
		{"function relays() relay() end\nfunction marks() mark() end function reply_route() marks() end", ""},
		{"local M = {}\nfunction M.relays() relay() end function M.marks() mark() end function reply_route() M.marks() end", ""},
		{"local M = {}\nfunction M.relays()\n relay() end function reply_route() M.relays() end", "route.lua:4: relay may not"},
		{"M = { relays = function() relay() end, marks = function() mark() end }\nfunction reply_route() M.marks() end", ""},
		{"M = { relays = function() relay() end }\nfunction reply_route() M.relays() end", "(reply_route → M.relays)"},
		{"reply_route = function()\n relay() end", "route.lua:3: relay may not"},
		{"local r = relay\nfunction reply_route() r() end", "route.lua:2: relay may not"},
		{"function reply_route()\n mark(ruri.user) end", "route.lua:3: @ruri.user belongs to a request"},
		{"function reply_route()\n ruri.user = 'x' end", "@ruri.user belongs to a request"},
		{"function reply_route()\n if attr.f.x then mark() end end", "route.lua:3: attribute $f.x belongs to a request"},
		{"function reply_route()\n mark('$f.x') end", "route.lua:3: attribute $f.x belongs"},
		{"function reply_route()\n mark(auth.user) end", "@auth.user belongs"},
		{"function reply_route()\n mark('@dst_uri') end", "@dst_uri belongs"},
		{"function reply_route() local attr = { x = 1 } mark(attr.x) end", ""},
		{"reply_route = 1", "reply_route is a name of sipr"},
		{"function reply_route() end function f() on_reply('reply_route') end", "reply_route runs for every response by itself"},
		{"require 'other'\nfunction reply_route() elsewhere() end", "other.lua:2: relay may not be called from reply_route"},
	} {
		_, err := compileFiles(t, map[string]string{"other.lua": "function elsewhere()\n relay() end",
			"route.lua": "function request_route() relay() ruri.user = attr.f.x end\n" + tt.script})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s:\n got %v\nwant %s", tt.script, err, tt.want)
		}
	}
}

// What the loader cannot follow is refused when it runs.
func TestReplyRouteIsCheckedWhenItRuns(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{"M[('relays'):lower()]()", "route.lua:1: relay may not be called from reply_route"},
		{"M[('writes'):lower()]()", "route.lua:1: reply_route has no request that could be changed"},
		{"mark(M[('reads'):lower()]())", ""},
	} {
		p, err := compileFiles(t, map[string]string{"route.lua": "M = { relays = function() relay() end, writes = function() ruri.user = 'x' end, reads = function() return ruri.user end }\n" +
			"function request_route() end\nfunction reply_route() " + tt.body + " end"})
		if err != nil {
			t.Fatal(err)
		}
		r := coretest.NewHost(t).Request(message)
		if err := r.Msg.Parse([]byte("SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		r.Route, r.Reply = core.ResponseRoute, r.Msg
		if err := p.Run(r, ReplyRoute); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s:\n got %v\nwant %s", tt.body, err, tt.want)
		}
	}
}

// Nothing lasts in a script, and whoever tries is told what, where and what to
// do instead.
func TestWhatCannotBeWrittenIsNamed(t *testing.T) {
	const both = "what lasts as long as the request belongs into attr, what all requests see into shared"
	for _, tt := range []struct{ script, want string }{
		{"function request_route()\n count = 1 end", "route.lua:2: count would be a global: declare it with local; " + both},
		{"calls = 0\nfunction request_route()\n calls = calls + 1 end", "route.lua:3: calls is a global of the script"},
		{"calls = 0\nfunction request_route()\n calls = calls + 1 end", both},
		{"local calls = 0\nfunction request_route()\n calls = calls + 1 end", "route.lua:3: calls is a local of the file"},
		{"local calls = 0\nfunction request_route()\n calls = calls + 1 end", both},
		{"function f() end\nfunction request_route()\n f = nil end", "route.lua:3: f is a global of the script"},
		{"local f\nfunction request_route()\n function f() end end", "route.lua:3: f is a local of the file"},
		{"T = {}\nfunction request_route()\n T.calls = 1 end", "route.lua:3: T.calls cannot be written: T was made when the script was loaded and is read-only; " + both},
		{"local T = { sub = {} }\nfunction request_route()\n T.sub[1] = 1 end", "route.lua:3: T.sub[1] cannot be written: T.sub was made"},
		{"T = {}\nfunction request_route()\n table.insert(T, 1) end", "route.lua:3: table.insert: T was made when the script was loaded and is read-only; " + both},
	} {
		p, err := compileFiles(t, map[string]string{"route.lua": tt.script})
		if err == nil {
			err = p.Run(coretest.NewHost(t).Request(message), "request_route")
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.script, err, tt.want)
		}
	}
}
