package lua

import (
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
)

// runOn runs a script's request_route on a request and returns what it noted.
func runOn(t *testing.T, r *core.Request, body string) string {
	t.Helper()
	var got []string
	p, err := compile(t, "function request_route()\n"+body+"\nend", &got)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(r, "request_route"); err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, "|")
}

func withGateways(t *testing.T) *core.Request {
	r := coretest.NewHost(t).Request(message)
	r.Attrs.Publish(core.FromTrack, core.DomainClass, core.NewAttrSet([]core.Attr{
		{Name: "gw", Value: core.TextValue("a,b:c")}, {Name: "gw", Value: core.TextValue("two")}, {Name: "n", Value: core.IntValue(5)},
	}))
	return r
}

func TestAttributesInLua(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"newest", `note(attr.fd.gw, attr.f.gw, attr.gw)`, "two two two"},
		{"indices", `note(attr.fd.gw[1], attr.fd.gw[-1], attr.f.gw[2])`, "a,b:c two two"},
		{"no such index", `note(tostring(attr.fd.gw[3]), "$fd.gw[-3]")`, "nil <none>"},
		{"as text", `note("$fd.gw[1]", "$fd.gw[-1]")`, "a,b:c two"},
		{"all", `local t = attr.all.fd.gw note(#t, t[1], t[2])`, "2 a,b:c two"},
		{"all in a loop", `for _, v in ipairs(attr.all.gw) do note(v) end`, "a,b:c|two"},
		{"all of none", `note(#attr.all.fd.none)`, "0"},
		{"assignment hides", `attr.fd.gw = "mine" note(#attr.all.fd.gw, attr.fd.gw[1])`, "1 mine"},
		{"without a class", `attr.gw = "uri" note(attr.fr.gw, attr.f.gw, attr.fd.gw)`, "uri uri two"},
		{"nil removes", `attr.fd.gw = nil note(tostring(attr.fd.gw), tostring(attr.f.gw))`, "nil nil"},
		{"nil without a class", `attr.f.gw = nil note(tostring(attr.gw), tostring(attr.fd.gw))`, "nil nil"},
		{"numbers", `attr.f.n = attr.fd.n + 1 note(attr.f.n, attr.fd.n)`, "6 5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := runOn(t, withGateways(t), tt.body); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTreeOfSelectsInLua(t *testing.T) {
	r := coretest.NewHost(t).Request(message + "\nX-Color: red\nVia: SIP/2.0/UDP one;branch=z9hG4bK1, SIP/2.0/UDP two;branch=z9hG4bK2\nRoute: <sip:next;lr>\nRecord-Route: <sip:rec;lr>")
	for body, want := range map[string]string{
		`note(via[1].host, via[2].host, via[-1].branch)`:                             "one two z9hG4bK2",
		`note(msg.header["X-Color"][2], msg.header.x_color, hf_value["x-color"][1])`: "red blue blue",
		`note(route.uri.host, next_hop.host, rr.uri.host)`:                           "next next rec",
		`note(src.ip_port, msg.request.method, tostring(refer_to.uri.user))`:         "192.0.2.1:5060 INVITE nil",
		`note(tostring(sys.time > 0), tostring(cfg_get.tm.fr_timer))`:                "true nil",
		`note(ruri.rn_user, contact[1].uri.user)`:                                    "+1234 alice",
	} {
		if got := runOn(t, r, body); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestAttributeMistakes(t *testing.T) {
	for body, want := range map[string]string{
		`note("$fd.gw[]")`:      "stands for several values",
		`note(attr.all.fd.gw)`:  "stands for several values",
		`attr.all.fd.gw = 1`:    "cannot be written",
		`attr.fd.gw[1] = "x"`:   "cannot be written",
		`note(attr.fd.gw[0])`:   "index",
		`note(attr.fx.gw)`:      "not a group",
		`note(ruri.hots)`:       "did you mean host?",
		`note("@from.uri.usr")`: "did you mean user?",
		`note(via[0].host)`:     "counted from 1",
		`note("@msg.hedaer.x")`: "did you mean header?",
		`note(sys.pidd)`:        "did you mean pid?",
	} {
		var got []string
		if _, err := compile(t, "function request_route()\n"+body+"\nend", &got); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "route.lua:2:") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}
