package core_test

import (
	"net/netip"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/sipmsg"
)

const selectMessage = `INVITE sip:+1-212.555(0)12;phone-context=x:secret@Example.com:5070;user=phone;lr SIP/2.0
Via: SIP/2.0/TCP first.example:5062;branch=z9hG4bKone;rport;i=7;alias, SIP/2.0/UDP second.example;branch=z9hG4bKtwo;received=192.0.2.9;rport=4000;x="a;b"
Via: SIP/2.0/UDP [2001:db8::3];branch=z9hG4bKthree;ttl=3
From: "Alice, A." <sip:alice:pw@home.example>;tag=ft;x="q"
To: <sips:bob@example.com>
Contact: <sip:alice@192.0.2.1;transport=tcp;maddr=192.0.2.7>;q=0.5;expires=60;+sip.instance="<urn:1>", <sip:second@192.0.2.2>
Record-Route: <sip:proxy.example;lr>
Route: <sip:next.example:5066;lr>, <sip:after.example>
Refer-To: Carol <sip:carol@other.example?Replaces=x>;p=1
Remote-Party-ID: "A" <sip:+1@rpid.example>;party=calling
Event: presence;id=4
X-Color: blue
X-Color: red
X-List: <sip:x1@a.example>;p=1, <sip:x2@b.example>;p=2;flag
Subject: hello
Expires: 30
User-Agent: test/1

v=0`

func selectValue(t testing.TB, r *core.Request, text string) string {
	t.Helper()
	sel, err := core.CompileSelect(text)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return "!"
	}
	v := sel(r)
	if v.Kind == core.KindNil {
		return "-"
	}
	return v.String()
}

// engineWithConfig lets scripts read parameters.
type engineWithConfig struct{ core.Engine }

func (engineWithConfig) Config(module, name string) core.Value {
	switch module + "." + name {
	case "tm.fr_timer":
		return core.IntValue(30000)
	case "core.server_id":
		return core.IntValue(7)
	}
	return core.Value{}
}

var selects = []struct{ text, want string }{
	{"@method", "INVITE"}, {"@version", "SIP/2.0"},
	{"@ruri", "sip:+1-212.555(0)12;phone-context=x:secret@Example.com:5070;user=phone;lr"},
	{"@request_uri.host", "Example.com"}, {"@r.port", "5070"}, {"@ruri.hostport", "Example.com:5070"}, {"@ruri.type", "sip"},
	{"@ruri.user", "+1-212.555(0)12;phone-context=x"}, {"@ruri.rn_user", "+1212555012"}, {"@ruri.rn-user", "+1212555012"},
	{"@ruri.pwd", "secret"}, {"@ruri.params", "user=phone;lr"}, {"@ruri.params.user", "phone"}, {"@ruri.params.lr", ""},
	{"@ruri.params.none", "-"}, {"@ruri.transport", "-"},
	{"@from", `"Alice, A." <sip:alice:pw@home.example>;tag=ft;x="q"`}, {"@f.uri.user", "alice"}, {"@from.uri", "sip:alice:pw@home.example"},
	{"@from.uri.pwd", "pw"}, {"@from.uri.port", "-"}, {"@from.uri.hostport", "home.example:5060"}, {"@from.tag", "ft"},
	{"@from.name", `"Alice, A."`}, {"@from.params.x", `"q"`}, {"@from.params", `tag=ft;x="q"`},
	{"@to.tag", "-"}, {"@t.uri.type", "sips"}, {"@to.uri.hostport", "example.com:5061"}, {"@to.uri.rn_user", "bob"},
	{"@contact.uri.params.maddr", "192.0.2.7"}, {"@contact.uri.transport", "tcp"}, {"@m.q", "0.5"}, {"@contact.expires", "60"},
	{"@contact.instance", `"<urn:1>"`}, {"@contact.methods", "-"}, {"@contact[2].uri.user", "second"}, {"@contact[-1].uri.user", "second"},
	{"@contact[3].uri.user", "-"}, {"@contact[2]", "<sip:second@192.0.2.2>"},
	{"@via.host", "first.example"}, {"@v.port", "5062"}, {"@via.branch", "z9hG4bKone"}, {"@via.transport", "TCP"}, {"@via.rport", ""},
	{"@via.i", "7"}, {"@via.alias", ""}, {"@via.received", "-"}, {"@via.name", "SIP"}, {"@via.version", "2.0"},
	{"@via[2].host", "second.example"}, {"@via[2].port", "-"}, {"@via[2].received", "192.0.2.9"}, {"@via[2].rport", "4000"},
	{"@via[2].params.x", `"a;b"`}, {"@via[3].host", "[2001:db8::3]"}, {"@via[-1].ttl", "3"}, {"@via[3].params", "branch=z9hG4bKthree;ttl=3"},
	{"@via[4].host", "-"}, {"@via[-9].host", "-"}, {"@via[4].params.x", "-"},
	{"@rr.uri.host", "proxy.example"}, {"@record_route.uri.params.lr", ""}, {"@route.uri.host", "next.example"}, {"@route[2].uri.host", "after.example"},
	{"@refer_to.uri.user", "carol"}, {"@refer_to.name", "Carol"}, {"@refer_to.params.p", "1"}, {"@refer_to.tag", "-"},
	{"@rpid.uri.user", "+1"}, {"@remote_party_id.params.party", "calling"}, {"@rpid.name", `"A"`},
	{"@next_hop", "sip:next.example:5066;lr"}, {"@next_hop.host", "next.example"}, {"@dst_uri", "-"}, {"@dst_uri.host", "-"},
	{"@cseq", "5 INVITE"}, {"@cseq.num", "5"}, {"@cseq.method", "INVITE"}, {"@call_id", "call-1@192.0.2.1"}, {"@call-id", "call-1@192.0.2.1"},
	{"@event", "presence;id=4"}, {"@expires", "30"}, {"@max_forwards", "70"}, {"@subject", "hello"}, {"@user_agent", "test/1"}, {"@organization", "-"},
	{"@msg.header[\"X-Color\"]", "blue"}, {"@msg.header['X-Color'][2]", "red"}, {"@msg.header.x_color[-1]", "red"}, {"@msg.header[\"X-Color\"][3]", "-"},
	{"@msg.h.subject", "hello"}, {"@msg.header[\"X-None\"]", "-"}, {"@msg.header.refer_to.nameaddr.uri.host", "other.example"},
	{"@msg.header.event.params.id", "4"}, {"@msg.header[Contact].nameaddr.uri.user", "-"},
	{"@hf_value[\"contact\"]", `<sip:alice@192.0.2.1;transport=tcp;maddr=192.0.2.7>;q=0.5;expires=60;+sip.instance="<urn:1>"`},
	{"@hf_value[\"contact\"][2]", "<sip:second@192.0.2.2>"}, {"@hf_value.x_list[2].uri.user", "x2"}, {"@hf_value.x_list[-1].param.p", "2"},
	{"@hf_value.x_list[-1].p.flag", ""}, {"@hf_value.x_list[3]", "-"}, {"@hf_value.x_list.params.p", "1"}, {"@hf_value.x_list[1].nameaddr.uri.host", "a.example"},
	{"@msg.type", "request"}, {"@msg.len", "#"}, {"@msg.body", "v=0"}, {"@msg.version", "SIP/2.0"}, {"@msg.request.method", "INVITE"}, {"@msg.request.uri.port", "5070"},
	{"@msg.req.version", "SIP/2.0"}, {"@msg.response.code", "-"}, {"@msg.res", "-"}, {"@msg.response.reason", "-"}, {"@status", "-"}, {"@reason", "-"},
	{"@src.ip", "192.0.2.1"}, {"@src", "192.0.2.1"}, {"@src.port", "5060"}, {"@src.proto", "UDP"}, {"@src.ip_port", "192.0.2.1:5060"},
	{"@dst.ip", "192.0.2.100"}, {"@received.proto_ip_port", "udp:192.0.2.100:5060"},
	{"@sys.server_id", "7"}, {"@cfg_get.tm.fr_timer", "30000"}, {"@cfg_get.tm.none", "-"}, {"@cfg_get[\"core\"][\"x\"]", "-"},
	{"@auth.uid", "-"},
}

func selectRequest(t testing.TB) *core.Request {
	h := coretest.NewHost(t)
	r := h.Request(selectMessage + "\n")
	r.Engine = engineWithConfig{h}
	return r
}

// TestSelectTree covers the tree of selects.
func TestSelectTree(t *testing.T) {
	r := selectRequest(t)
	for _, tt := range selects {
		want := tt.want
		switch tt.text {
		case "@cseq":
			want = "1 INVITE"
		case "@cseq.num":
			want = "1"
		case "@msg.len":
			want = core.IntValue(int64(r.Msg.Size())).String()
		}
		if got := selectValue(t, r, tt.text); got != want {
			t.Errorf("%s is %q, want %q", tt.text, got, want)
		}
	}
	r.Main.NextHop = []byte("sip:edge.example:5080")
	for text, want := range map[string]string{"@next_hop.port": "5080", "@dst_uri.host": "edge.example"} {
		if got := selectValue(t, r, text); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
	r.Flow.Remote = netip.MustParseAddrPort("[2001:db8::1]:5062")
	if got := selectValue(t, r, "@src.ip_port"); got != "[2001:db8::1]:5062" {
		t.Errorf("IPv6: %s", got)
	}
	if a, b := selectValue(t, r, "@sys.unique"), selectValue(t, r, "@sys.unique"); a == b || a == "-" {
		t.Errorf("unique: %s, %s", a, b)
	}
	for _, text := range []string{"@sys.pid", "@sys.time", "@sys.now", "@sys.now.gmt", "@sys.now.local"} {
		if got := selectValue(t, r, text); got == "-" || got == "" {
			t.Errorf("%s is %q", text, got)
		}
	}
}

func TestSelectsOfAResponse(t *testing.T) {
	r := selectRequest(t)
	r.Reply = new(sipmsg.Message)
	if err := r.Reply.Parse([]byte("SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nTo: <sip:b@c>;tag=9\r\nCSeq: 2 INVITE\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r.Route = core.ReplyRoute
	for text, want := range map[string]string{
		"@status": "183", "@code": "183", "@reason": "Session Progress", "@to.tag": "9", "@msg.type": "response", "@msg.response.status": "183",
		"@msg.response.reason": "Session Progress", "@msg.first_line": "SIP/2.0 183 Session Progress", "@msg.request.method": "-", "@ruri.port": "5070",
	} {
		if got := selectValue(t, r, text); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestUnknownSelects(t *testing.T) {
	for text, want := range map[string]string{
		"ruri": "is not a select", "@": "is not a select", "@rury.host": "did you mean ruri?", "@ruri.hots": "did you mean host?",
		"@from.uri.usr": "did you mean user?", "@via.brnch": "did you mean branch?", "@method.x": `there is no "method.x"`,
		"@msg.hedaer.x": "did you mean header?", "@msg.header": "a name is missing", "@src.prot": "did you mean", "@via[0].host": "counted from 1",
		"@msg.header[\"X": "is missing", "@sys": "has no value by itself", "@sys.pidd": "did you mean pid?", "@cfg_get.tm": "a name is missing",
		"@cseq.nm": "did you mean num?", "@auth.usr": "did you mean", "@ruri.host.x": `there is no "ruri.host.x"`, "@hf_value": "a name is missing",
	} {
		if _, err := core.CompileSelect(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestSelectsDoNotAllocate(t *testing.T) {
	r := selectRequest(t)
	for _, tt := range selects {
		if tt.text == "@via[3].host" {
			continue // an IPv6 address is parsed from a string
		}
		sel, err := core.CompileSelect(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		sel(r)
		if n := testing.AllocsPerRun(20, func() { sel(r) }); n > 0 {
			t.Errorf("%s: %v allocations", tt.text, n)
		}
	}
}
