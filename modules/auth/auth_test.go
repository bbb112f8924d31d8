package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
)

func TestConversation(t *testing.T) {
	for _, alg := range []string{"", "MD5", "SHA-256", "SHA-512-256", "MD5-sess", "SHA-256-sess", "SHA-512-256-sess"} {
		for _, qop := range []string{"", "auth", "auth-int"} {
			t.Run(alg+" "+qop, func(t *testing.T) {
				r := newRig(t, map[string]any{"algorithms": "MD5,SHA-256,SHA-512-256", "qop": "auth,auth-int"})
				req := r.Request(register)
				if got := r.check(req, "www_authorize", testRealm); got != "no_credentials" {
					t.Fatal(got)
				}
				text := r.challenged(req, "auth_challenge", testRealm)
				if !strings.HasPrefix(text, "SIP/2.0 401 Unauthorized\r\n") {
					t.Fatal(text)
				}
				c := newClient("alice", nonceText.FindStringSubmatch(text)[1])
				c.algorithm, c.qop, c.body = alg, qop, "hello"
				req = r.register(c.header(), "", "hello")
				if got := r.check(req, "www_authorize", testRealm); got != "ok" {
					t.Fatal(got)
				}
				want := core.Identity{Known: true, User: "alice", Realm: testRealm, UID: "uid-alice", DID: "example.com"}
				if diff := cmp.Diff(want, req.Auth); diff != "" {
					t.Error(diff)
				}
				c.password = "wrong"
				c.nc = "00000002"
				req = r.register(c.header(), "", "hello")
				if got := r.check(req, "www_authorize", testRealm); got != "wrong_password" {
					t.Error(got)
				}
				if req.Auth.Known {
					t.Error("a wrong password is known")
				}
			})
		}
	}
}

func TestChallengeText(t *testing.T) {
	r := newRig(t, map[string]any{"algorithms": "MD5,SHA-256"})
	tests := []struct {
		name, request, export, realm string
		flags                        []any
		want                         []string
	}{
		{"401, strongest first", register, "www_challenge", testRealm, nil, []string{
			`WWW-Authenticate: Digest realm="example.com", nonce="N", qop="auth", algorithm=SHA-256`,
			`WWW-Authenticate: Digest realm="example.com", nonce="N", qop="auth", algorithm=MD5`}},
		{"407", register, "proxy_challenge", testRealm, []any{0}, []string{
			`Proxy-Authenticate: Digest realm="example.com", nonce="N", algorithm=SHA-256`,
			`Proxy-Authenticate: Digest realm="example.com", nonce="N", algorithm=MD5`}},
		{"quotes in the realm", register, "auth_challenge", `a"b\c`, []any{21}, []string{
			`WWW-Authenticate: Digest realm="a\"b\\c", nonce="N", qop="auth,auth-int", algorithm=SHA-256, stale=true`,
			`WWW-Authenticate: Digest realm="a\"b\\c", nonce="N", qop="auth,auth-int", algorithm=MD5, stale=true`}},
		{"realm of From, 407 for INVITE", "INVITE sip:bob@example.net SIP/2.0\nFrom: <sip:alice@Example.COM>;tag=1\nTo: <sip:bob@example.net>",
			"auth_challenge", "", []any{4}, []string{
				`Proxy-Authenticate: Digest realm="example.com", nonce="N", qop="auth-int", algorithm=SHA-256`,
				`Proxy-Authenticate: Digest realm="example.com", nonce="N", qop="auth-int", algorithm=MD5`}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			text := r.challenged(r.Request(tc.request), tc.export, append([]any{tc.realm}, tc.flags...)...)
			var got []string
			for _, line := range strings.Split(text, "\r\n") {
				if strings.Contains(line, "-Authenticate:") {
					got = append(got, nonceText.ReplaceAllString(line, `nonce="N"`))
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if res := r.Call(r.m, r.Request(register), "www_challenge", "a\r\nb"); res.Err == nil {
		t.Error("a line break in the realm was sent")
	}
	if len(r.Sent()) != 0 {
		t.Error("something was sent")
	}
}

// TestRefused changes one thing of good credentials at a time.
func TestRefused(t *testing.T) {
	tests := []struct {
		name   string
		params map[string]any
		change func(r *rig, c *client)
		want   string
	}{
		{"nothing", nil, func(*rig, *client) {}, "ok"},
		{"unknown user", nil, func(_ *rig, c *client) { c.user = "carol" }, "unknown_user"},
		{"disabled user", nil, func(r *rig, _ *client) { r.add("alice", "secret-alice", 1|2) }, "unknown_user"},
		{"deleted user", nil, func(r *rig, _ *client) { r.add("alice", "secret-alice", 1|128) }, "unknown_user"},
		{"user not for us", nil, func(r *rig, _ *client) { r.add("alice", "secret-alice", 32) }, "unknown_user"},
		{"other letter case", nil, func(_ *rig, c *client) { c.user = "Alice" }, "unknown_user"},
		{"wrong password", nil, func(_ *rig, c *client) { c.password = "x" }, "wrong_password"},
		{"other realm", nil, func(_ *rig, c *client) { c.realm = "example.net" }, "no_credentials"},
		{"other method", nil, func(_ *rig, c *client) { c.method = "INVITE" }, "wrong_password"},
		{"other uri", map[string]any{"check_uri": true}, func(_ *rig, c *client) { c.uri = "sip:example.net" }, "bad_credentials"},
		{"equal uri", nil, func(_ *rig, c *client) { c.uri = "sip:EXAMPLE.com" }, "ok"},
		{"other uri, not checked", map[string]any{"check_uri": false}, func(_ *rig, c *client) { c.uri = "sip:example.net" }, "ok"},
		{"foreign nonce", nil, func(_ *rig, c *client) { c.nonce = "abc" }, "bad_nonce"},
		{"nonce of another realm", nil, func(r *rig, c *client) { c.nonce = r.nonce("example.net") }, "bad_nonce"},
		{"expired nonce", map[string]any{"nonce_expire": 60}, func(r *rig, _ *client) { r.Fake.Advance(61 * time.Second) }, "stale"},
		{"algorithm not offered", nil, func(_ *rig, c *client) { c.algorithm = "SHA-256" }, "bad_credentials"},
		{"unknown qop", nil, func(_ *rig, c *client) { c.qop = "auth-conf" }, "bad_credentials"},
		{"bad nc", nil, func(_ *rig, c *client) { c.nc = "1" }, "bad_credentials"},
		{"no cnonce", nil, func(_ *rig, c *client) { c.cnonce = "" }, "bad_credentials"},
		{"weaker than auth-int", map[string]any{"qop": "auth-int"}, func(*rig, *client) {}, "bad_credentials"},
		{"no qop", nil, func(_ *rig, c *client) { c.qop = "" }, "ok"},
		{"no qop instead of auth-int", map[string]any{"qop": "auth-int"}, func(_ *rig, c *client) { c.qop = "" }, "bad_credentials"},
		{"no hash for the algorithm", map[string]any{"algorithms": "SHA-256,MD5"}, func(r *rig, c *client) {
			r.exec("UPDATE credentials SET ha1_sha256 = ''")
			c.algorithm = "SHA-256"
		}, "wrong_password"},
		{"spoilt hash", nil, func(r *rig, _ *client) { r.exec("UPDATE credentials SET ha1 = 'secret'") }, "wrong_password"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.params)
			c := newClient("alice", r.nonce(testRealm))
			tc.change(r, &c)
			req := r.register(c.header())
			if got := r.check(req, "www_authorize", testRealm); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if req.Auth.Known != (tc.want == "ok") {
				t.Errorf("identity %+v", req.Auth)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	r := newRig(t, map[string]any{"one_time_nonce": true})
	c := newClient("alice", r.nonce(testRealm))
	first := c.header()
	req := r.register(first)
	for range 2 { // a script may ask twice
		if got := r.check(req, "www_authorize", testRealm); got != "ok" {
			t.Fatal(got)
		}
	}
	req = r.register(first)
	if got := r.check(req, "www_authorize", testRealm); got != "replay" {
		t.Error(got)
	}
	if text := r.challenged(req, "www_challenge", testRealm); !strings.Contains(text, "stale=true") {
		t.Error(text)
	}
	c.nc = "00000002"
	if got := r.check(r.register(c.header()), "www_authorize", testRealm); got != "ok" {
		t.Errorf("next count: %s", got)
	}
	wrong := c
	wrong.nc, wrong.password = "00000003", "x"
	r.check(r.register(wrong.header()), "www_authorize", testRealm)
	c.nc = "00000003"
	if got := r.check(r.register(c.header()), "www_authorize", testRealm); got != "ok" {
		t.Errorf("a wrong password has used up the count: %s", got)
	}
	once := newClient("alice", r.nonce(testRealm))
	once.qop = ""
	for _, want := range []string{"ok", "replay"} {
		if got := r.check(r.register(once.header()), "www_authorize", testRealm); got != want {
			t.Errorf("one-time nonce: %s, want %s", got, want)
		}
	}
}

func TestStale(t *testing.T) {
	r := newRig(t, nil)
	tests := []struct {
		name   string
		change func(*client)
		why    string
		stale  bool
	}{
		{"wrong password", func(c *client) { c.password = "x" }, "wrong_password", false},
		{"somebody else's nonce", func(c *client) { c.nonce = "abcdef" }, "bad_nonce", false},
		{"our nonce by another key", func(c *client) { c.nonce = strings.Repeat("A", len(c.nonce)) }, "bad_nonce", true},
		{"expired", func(*client) { r.Fake.Advance(time.Hour) }, "stale", true},
	}
	for _, tc := range tests {
		c := newClient("alice", r.nonce(testRealm))
		tc.change(&c)
		req := r.register(c.header())
		if got := r.check(req, "www_authorize", testRealm); got != tc.why {
			t.Errorf("%s: %s", tc.name, got)
		}
		if text := r.challenged(req, "www_challenge", testRealm); strings.Contains(text, "stale=true") != tc.stale {
			t.Errorf("%s: %s", tc.name, text)
		}
	}
}

// TestUnknownLooksWrong compares what the network sees.
func TestUnknownLooksWrong(t *testing.T) {
	r := newRig(t, nil)
	var texts []string
	for _, user := range []string{"alice", "carol"} {
		c := newClient(user, r.nonce(testRealm))
		c.password = "x"
		req := r.register(c.header())
		r.check(req, "www_authorize", testRealm)
		texts = append(texts, nonceText.ReplaceAllString(r.challenged(req, "www_challenge", testRealm), ""))
	}
	if diff := cmp.Diff(texts[0], texts[1]); diff != "" {
		t.Error(diff)
	}
}

func TestSeveralHeaders(t *testing.T) {
	r := newRig(t, map[string]any{"algorithms": "SHA-256,MD5"})
	nonce := r.nonce(testRealm)
	good := newClient("alice", nonce)
	strong := good
	strong.algorithm = "SHA-256"
	other := good
	other.realm = "elsewhere.example"
	wrong := good
	wrong.password = "x"
	const junk = "Authorization: Digest username=\"a\", username=\"b\""
	tests := []struct {
		name  string
		lines []string
		want  string
	}{
		{"another realm first", []string{other.header(), good.header()}, "ok"},
		{"another scheme first", []string{"Authorization: Basic YTpi", good.header()}, "ok"},
		{"malformed first", []string{junk, good.header()}, "ok"},
		{"only malformed", []string{junk}, "bad_credentials"},
		{"only another scheme", []string{"Authorization: Basic YTpi"}, "no_credentials"},
		{"strongest counts", []string{wrong.header(), strong.header()}, "ok"},
		{"wherever it stands", []string{strong.header(), wrong.header()}, "ok"},
		{"first of equals", []string{wrong.header(), good.header()}, "wrong_password"},
		{"for a proxy", []string{"Proxy-" + good.header()}, "no_credentials"},
	}
	for _, tc := range tests {
		r.m.nonces.slots = make([]slot, len(r.m.nonces.slots))
		if got := r.check(r.register(tc.lines...), "www_authorize", testRealm); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestConsume(t *testing.T) {
	r := newRig(t, nil)
	good := newClient("alice", r.nonce(testRealm))
	other := good
	other.realm = "elsewhere.example"
	req := r.register("Proxy-"+other.header(), "Proxy-"+good.header())
	if got := r.check(req, "consume_credentials"); got != "no_credentials" {
		t.Errorf("before the check: %s", got)
	}
	for _, step := range []string{"proxy_authorize " + testRealm, "consume_credentials"} {
		name, arg, has := strings.Cut(step, " ")
		var args []any
		if has {
			args = append(args, arg)
		}
		if got := r.check(req, name, args...); got != "ok" {
			t.Fatalf("%s: %s", name, got)
		}
	}
	text := string(req.Msg.AppendTo(nil))
	if strings.Contains(text, `realm="example.com"`) || !strings.Contains(text, "elsewhere.example") {
		t.Error(text)
	}
	if got := r.check(req, "consume_credentials"); got != "no_credentials" {
		t.Errorf("twice: %s", got)
	}
}

func TestAckAndCancelPass(t *testing.T) {
	r := newRig(t, nil)
	for _, method := range []string{"ACK", "CANCEL"} {
		req := r.Request(strings.Replace(register, "REGISTER", method, 1))
		if got := r.check(req, "proxy_authorize", testRealm); got != "ok" || req.Auth.Known {
			t.Errorf("%s: %s %+v", method, got, req.Auth)
		}
		if got := r.check(req, "check_identity"); got != "ok" {
			t.Errorf("%s: %s", method, got)
		}
	}
	req := r.Request(strings.Replace(register, "REGISTER", "ACK", 1))
	if got := r.check(req, "proxy_challenge", testRealm); got != "ack" || len(r.Sent()) != 0 {
		t.Errorf("an ACK was challenged: %s", got)
	}
}

func TestPasswordFromScript(t *testing.T) {
	r := newRig(t, nil)
	ha1 := sum("MD5", "zoe:"+testRealm+":pw")
	tests := []struct {
		name, export string
		args         []any
		want         string
	}{
		{"password", "pv_www_authorize", []any{testRealm, "pw"}, "ok"},
		{"HA1", "pv_www_authorize", []any{testRealm, strings.ToUpper(ha1), 1}, "ok"},
		{"HA1 without saying so", "pv_www_authorize", []any{testRealm, ha1}, "wrong_password"},
		{"spoilt HA1", "pv_www_authorize", []any{testRealm, "pw", 1}, "wrong_password"},
		{"wrong", "pv_auth_check", []any{testRealm, "x"}, "wrong_password"},
		{"by method", "pv_auth_check", []any{testRealm, "pw"}, "ok"},
		{"empty", "pv_auth_check", []any{testRealm, ""}, "wrong_password"},
		{"attribute without value", "pv_auth_check", []any{testRealm, "$f.password"}, "wrong_password"},
	}
	for _, tc := range tests {
		c := newClient("zoe", r.nonce(testRealm))
		c.password = "pw"
		if tc.name == "empty" || tc.name == "attribute without value" {
			c.password = ""
		}
		req := r.register(c.header())
		if got := r.check(req, tc.export, tc.args...); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
		if tc.want == "ok" && (req.Auth.User != "zoe" || req.Auth.DID != testRealm) {
			t.Errorf("%s: %+v", tc.name, req.Auth)
		}
	}
}
