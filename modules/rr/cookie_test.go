package rr_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest/sim"
	"sipr/modules/attrs"
	"sipr/modules/rr"
)

// cookieScript keeps attributes of a call and answers with what is there.
const cookieScript = `function request_route()
  local inside, why = loose_route()
  if has_hf("X-Ask") then
    append_to_reply("X-F: " .. tostring(attr.f.account) .. " " .. tostring(attr.fu.n) .. " " .. table.concat(attr.all.f.gw, "+") .. ".")
    append_to_reply("X-T: " .. tostring(attr.t.account) .. " " .. tostring(attr.tu.n) .. " " .. table.concat(attr.all.t.gw, "+") .. ".")
    append_to_reply("X-G: " .. tostring(attr.g.mode) .. " " .. tostring(attr.f.secret))
    return sl_reply(299, inside and "inside" or why)
  end
  if not inside then
    attr.f.account = from.uri.user .. "-1"
    attr.fu.n = 42
    attr.f.secret = "not for the wire"
    attr.g.mode = -7
    add_attr("$t.gw", "one")
    add_attr("$t.gw", "two")
    set_attr_flag("$f.account", "dialog_cookie")
    set_attr_flag("$fu.n", "dialog_cookie")
    set_attr_flag("$t.gw[]", "dialog_cookie")
    set_attr_flag("$g.mode", "dialog_cookie")
    if has_hf("X-Big") then
      attr.f.big = msg.header["X-Big"]
      setavpflag("$f.big", "dialog_cookie")
    end
  end
  if not inside or method == "NOTIFY" then record_route() end
  forward()
end`

func cookieRouter(t *testing.T, settings string) *sim.Sim {
	return sim.New(t, sim.Config{Modules: []func() core.Module{rr.New, attrs.New}, Script: cookieScript,
		Settings: `modparam("core", "db_url", "sqlite::memory:") loadmodule "rr" loadmodule "attrs"
` + settings})
}

// asked returns what the router says of a request inside the dialog.
func asked(t *testing.T, s *sim.Sim, from, to, route string) string {
	t.Helper()
	word, p := ask(t, s, from, to, "Route: "+route)
	return word + "|" + strings.Join([]string{headers(p.Text, "X-F")[0], headers(p.Text, "X-T")[0], headers(p.Text, "X-G")[0]}, "|")
}

func TestS2_055_DialogCookie(t *testing.T) {
	s := cookieRouter(t, "")
	set := setUp(t, s, 0, "sip:b@192.0.2.2")
	if len(set) != 1 || !strings.Contains(set[0], ";ck=") {
		t.Fatal(set)
	}
	route := set[0]
	const forward, reverse, none = "a-1 42 .|nil nil one+two.|-7 nil", "nil nil one+two.|a-1 42 .|-7 nil", "nil nil .|nil nil .|nil nil"
	if got := asked(t, s, "A", "B", route); got != "inside|"+forward {
		t.Errorf("from the caller: %s", got)
	}
	if got := asked(t, s, "B", "A", route); got != "inside|"+reverse {
		t.Errorf("from the callee: %s", got)
	}
	ck := route[strings.Index(route, ";ck=")+4:]
	ck = ck[:strings.IndexAny(ck, ";>")]
	forge := func(new string) string { return strings.Replace(route, ck, new, 1) }
	raw, err := base64.RawURLEncoding.DecodeString(ck)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := append([]byte(nil), raw...)
		bad[i] ^= 1
		if got := asked(t, s, "A", "B", forge(base64.RawURLEncoding.EncodeToString(bad))); got != "inside|"+none {
			t.Errorf("byte %d changed: %s", i, got)
		}
	}
	for _, bad := range []string{"", "A", "!", strings.Repeat("A", 4000), ck[:len(ck)-2], ck + "AA", base64.RawURLEncoding.EncodeToString(raw[8:])} {
		if got := asked(t, s, "A", "B", forge(bad)); got != "inside|"+none {
			t.Errorf("%.20s: %s", bad, got)
		}
	}
	// The cookie of another dialog, with this one's proof.
	s.Receive(alice, message("INVITE", "sip:b@192.0.2.2", "X", ""))
	other := headers(one(t, s).Text, "Record-Route")[0]
	stolen := other[strings.Index(other, ";ck=")+4:]
	stolen = stolen[:strings.IndexAny(stolen, ";>")]
	if got := asked(t, s, "A", "B", forge(stolen)); got != "inside|"+none {
		t.Errorf("the cookie of another dialog: %s", got)
	}
	if got := asked(t, s, "Q", "B", route); got != "forged|"+none {
		t.Errorf("another dialog: %s", got)
	}
	// Who records again inside the dialog passes the cookie on, from either side.
	s.Receive(bob, message("NOTIFY", "sip:a@192.0.2.1", "B", "A", "Route: "+route))
	if again := headers(one(t, s).Text, "Record-Route"); len(again) != 1 || asked(t, s, "A", "B", again[0]) != "inside|"+forward {
		t.Errorf("recorded again: %v", again)
	}
}

func TestCookieBounds(t *testing.T) {
	s := cookieRouter(t, "")
	s.Receive(alice, message("INVITE", "sip:b@192.0.2.2", "A", "", "X-Big: "+strings.Repeat("x", 300)))
	route := headers(one(t, s).Text, "Record-Route")[0]
	if got := asked(t, s, "A", "B", route); got != "inside|a-1 42 .|nil nil one+two.|-7 nil" || len(route) > 300 {
		t.Errorf("%d bytes: %s", len(route), got)
	}
	s = cookieRouter(t, `modparam("rr", "cookie_filter", "^(account|n)$")`)
	if got := asked(t, s, "A", "B", setUp(t, s, 0, "sip:b@192.0.2.2")[0]); got != "inside|a-1 42 .|nil nil .|nil nil" {
		t.Errorf("cookie_filter: %s", got)
	}
	s = cookieRouter(t, `modparam("rr", "enable_cookies", 0)`)
	if set := setUp(t, s, 0, "sip:b@192.0.2.2"); strings.Contains(set[0], "ck=") {
		t.Errorf("enable_cookies 0: %v", set)
	}
	a, b := cookieRouter(t, `modparam("rr", "cookie_secret", "one")`), cookieRouter(t, `modparam("rr", "cookie_secret", "two")`)
	route = setUp(t, a, 0, "sip:b@192.0.2.2")[0]
	if got := asked(t, b, "A", "B", route); got != "inside|nil nil .|nil nil .|nil nil" {
		t.Errorf("another secret: %s", got)
	}
	if got := asked(t, a, "A", "B", route); !strings.HasPrefix(got, "inside|a-1") {
		t.Errorf("the same secret: %s", got)
	}
}
