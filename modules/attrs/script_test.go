package attrs_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/coretest/sim"
	"sipr/core/database"
	"sipr/modules/attrs"
	"sipr/modules/auth"
	"sipr/modules/domain"
	"sipr/modules/tm"
	"sipr/modules/users"
)

// routeScript reads attributes of all classes in every kind of route.
const routeScript = `
local function said(where)
  log("info", "said " .. where .. ": " .. table.concat({ tostring(attr.t.did), tostring(attr.td.fr_timer), tostring(attr.fu.uid),
    tostring(attr.f.gw_acl), tostring(attr.t.mine), tostring(attr.g.gw_ip), tostring(attr.fr.lang) }, " "))
end

function request_route()
  if method == "ACK" then return drop() end
  lookup_domain("$fd", "@from.uri.host")
  lookup_domain("$td", "@ruri.host")
  if lookup_user("$fu", "@from.uri") then load_attrs("$fu", "$fu.uid") end
  load_attrs("$fr", "@from.uri")
  if has_hf("X-Write") then
    attr.td.fr_timer = 1234
    attr.td.did = nil
    attr.t.mine = "written"
  end
  ruri.host = "192.0.2.2"
  t_on_failure("failed") t_on_branch("branch") t_on_reply("answered")
  said("request")
  t_relay()
end

function failed() said("failure") attr.t.mine = "failure" end
function branch() said("branch") end
function answered() said("reply") end
`

// lines collects the log lines of said.
type lines struct{ all []string }

func (l *lines) Write(b []byte) (int, error) {
	if _, rest, ok := strings.Cut(string(b), "said "); ok {
		rest, _, _ = strings.Cut(rest, `"`)
		l.all = append(l.all, strings.TrimSpace(rest))
	}
	return len(b), nil
}

func router(t *testing.T) (*sim.Sim, *lines, string) { return routerWith(t, routeScript) }

func routerWith(t *testing.T, script string) (*sim.Sim, *lines, string) {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	db, err := database.OpenURL(context.Background(), url, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := database.Migrate(context.Background(), db, attrs.Migrations(), domain.Migrations(), users.Migrations(), auth.Migrations()); err != nil {
		t.Fatal(err)
	}
	for _, stmt := range []string{
		"INSERT INTO domain (did, domain, flags) VALUES ('iptel', 'iptel.org', 33), ('iptel', 'sip.iptel.org', 33)",
		"INSERT INTO domain_attrs (did, name, type, value, flags) VALUES ('iptel', 'fr_timer', 0, '2000', 33), ('iptel', 'gw_acl', 2, 'domain', 33)",
		"INSERT INTO uri (uid, did, username, flags) VALUES ('u1', 'iptel', 'joe', 29)",
		"INSERT INTO user_attrs (uid, name, type, value, flags) VALUES ('u1', 'gw_acl', 2, 'user', 33)",
		"INSERT INTO uri_attrs (username, did, name, type, value, flags) VALUES ('joe', 'iptel', 'lang', 2, 'cs', 33)",
		"INSERT INTO global_attrs (name, type, value, flags) VALUES ('gw_ip', 2, '192.0.2.10', 33)",
	} {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatal(err)
		}
	}
	l := &lines{}
	s := sim.New(t, sim.Config{
		Modules: []func() core.Module{tm.New, domain.New, users.New, attrs.New, auth.New}, Script: script, Log: slog.New(slog.NewTextHandler(l, nil)),
		Settings: `modparam("core", "db_url", "` + url + `")
loadmodule "tm" loadmodule "domain" loadmodule "users" loadmodule "avp_db" loadmodule "auth"
modparam("domain", "load_domain_attrs", 1)`,
	})
	return s, l, url
}

func invite(callID string, lines ...string) string {
	m := "INVITE sip:bob@sip.iptel.org SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK" + callID + "\nMax-Forwards: 70\n" +
		"From: <sip:joe@iptel.org>;tag=1\nTo: <sip:bob@iptel.org>\nCall-ID: " + callID + "\nCSeq: 1 INVITE\n"
	for _, l := range lines {
		m += l + "\n"
	}
	return m + "Content-Length: 0\n"
}

// TestS2_054_AttributesLiveAsLongAsTheTransaction has every kind of route read
// attributes of every class, also after the data has been reloaded.
func TestS2_054_AttributesLiveAsLongAsTheTransaction(t *testing.T) {
	s, l, url := router(t)
	s.Receive("192.0.2.1:5060", invite("a"))
	var out string
	for _, p := range s.Sent() {
		if strings.HasPrefix(p.Text, "INVITE") {
			out = p.Text
		}
	}
	if out == "" {
		t.Fatalf("nothing was sent on; %v", l.all)
	}
	db, err := database.OpenURL(context.Background(), url, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE domain_attrs SET value = '9999' WHERE name = 'fr_timer'"); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []string{"domain.reload", "attrs.reload"} {
		if _, err := s.Engine.Commands().Run(context.Background(), cmd, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.Receive("192.0.2.2:5060", reply(out, "180 Ringing"))
	s.Receive("192.0.2.2:5060", reply(out, "486 Busy Here"))
	const want = "iptel 2000 u1 user nil 192.0.2.10 cs"
	got := strings.Join(l.all, "\n")
	for _, where := range []string{"request", "branch", "reply", "failure"} {
		if !strings.Contains(got, where+": "+want) {
			t.Errorf("%s: not %q in\n%s", where, want, got)
		}
	}
	s.Receive("192.0.2.1:5060", invite("b"))
	if got := l.all[len(l.all)-1]; !strings.Contains(got, " 9999 ") {
		t.Errorf("a new request sees old data: %s", got)
	}
}

func TestS2_052_RequestsDoNotShareWrites(t *testing.T) {
	s, l, _ := router(t)
	s.Receive("192.0.2.1:5060", invite("a", "X-Write: 1"))
	s.Receive("192.0.2.1:5060", invite("b"))
	var requests []string
	for _, line := range l.all {
		if strings.HasPrefix(line, "request") {
			requests = append(requests, line)
		}
	}
	if len(requests) != 2 || requests[0] != "request: nil 1234 u1 user written 192.0.2.10 cs" || requests[1] != "request: iptel 2000 u1 user nil 192.0.2.10 cs" {
		t.Errorf("%q", requests)
	}
}

// reply makes a response to what the router has sent.
func reply(request, status string) string {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + status + "\r\n")
	for _, line := range strings.Split(request, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			b.WriteString(line + "\r\n")
		case "To":
			b.WriteString(line + ";tag=b\r\n")
		}
	}
	return b.String() + "Content-Length: 0\r\n\r\n"
}

// TestS2_056_DocumentedAttributes sees to it that the attributes which the
// manual describes are known by type.
func TestS2_056_DocumentedAttributes(t *testing.T) {
	h := coretest.NewHost(t)
	h.Load(attrs.New(), nil)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../docs/attributes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"digest_realm", "fr_timer", "fr_inv_timer", "gw_acl", "gw_ip", "asserted_id", "fwd_always_target", "fwd_busy_target", "fwd_noanswer_target"} {
		var raw int
		if err := db.QueryRow("SELECT raw_type FROM attr_types WHERE name = ?", name).Scan(&raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := 2 * b2i(!strings.HasPrefix(name, "fr_")); raw != want {
			t.Errorf("%s has type %d", name, raw)
		}
		if !strings.Contains(string(manual), "| `"+name+"` |") {
			t.Errorf("the manual does not describe %s", name)
		}
	}
}

// stockScript uses them as SER's stock script does.
const stockScript = `
function request_route()
  lookup_domain("$fd", "@from.uri.host")
  lookup_domain("$td", "@ruri.host")
  if lookup_user("$fu", "@from.uri") then load_attrs("$fu", "$fu.uid") end
  if lookup_user("$tu", "@ruri") then load_attrs("$tu", "$tu.uid") end
  if method == "REGISTER" then return www_challenge("$fd.digest_realm") end
  if not attr_equals("$fu.gw_acl[]", "ld") then return sl_reply(403, "Not For You") end
  t_set_fr("$t.fr_inv_timer", "$t.fr_timer")
  t_on_failure("failed")
  if attr2uri("$tu.fwd_always_target") then attr_destination("$t.gw_ip") end
  if not strempty(attr.fu.asserted_id) then append_hf("P-Asserted-Identity: " .. attr.fu.asserted_id) end
  t_relay()
end

function failed()
  if t_check_status("486") and attr2uri("$tu.fwd_busy_target") or t_check_status("408|480") and attr2uri("$tu.fwd_noanswer_target") then
    t_relay()
  end
end
`

func TestS2_056_StockScript(t *testing.T) {
	s, _, url := routerWith(t, stockScript)
	db, err := database.OpenURL(context.Background(), url, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, stmt := range []string{
		"INSERT INTO uri (uid, did, username, flags) VALUES ('u2', 'iptel', 'bob', 29), ('u3', 'iptel', 'eve', 29)",
		"INSERT INTO domain_attrs (did, name, type, value, flags) VALUES ('iptel', 'digest_realm', 2, 'the realm', 33)",
		"INSERT INTO user_attrs (uid, name, type, value, flags) VALUES ('u1', 'gw_acl', 2, 'ld', 33), ('u1', 'gw_acl', 2, 'int', 33)," +
			" ('u1', 'asserted_id', 2, '<sip:+1212@iptel.org>', 33), ('u2', 'fwd_always_target', 2, 'sip:assistant@192.0.2.3', 33), ('u2', 'fwd_noanswer_target', 2, 'sip:vm@192.0.2.4', 33)," +
			" ('u2', 'fwd_busy_target', 2, 'sip:busy@192.0.2.5', 33)",
	} {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Engine.Commands().Run(context.Background(), "domain.reload", nil); err != nil {
		t.Fatal(err)
	}
	sent := func(method string) (text, to string) {
		for _, p := range s.Sent() {
			if strings.HasPrefix(p.Text, method) {
				text, to = p.Text, p.To()
			}
		}
		return text, to
	}
	s.Receive("192.0.2.1:5060", invite("a"))
	text, to := sent("INVITE")
	if !strings.HasPrefix(text, "INVITE sip:assistant@192.0.2.3 ") || to != "192.0.2.10:5060" || !strings.Contains(text, "P-Asserted-Identity: <sip:+1212@iptel.org>") {
		t.Errorf("fwd_always_target, gw_ip, asserted_id: %s\n%s", to, text)
	}
	s.Clock.Advance(2500 * time.Millisecond) // the domain's fr_timer is 2 s
	found := false
	for i := 0; i < 1_000_000 && !found; i++ { // a timer's route runs on its own
		runtime.Gosched()
		for _, p := range s.Sent() {
			found = found || strings.HasPrefix(p.Text, "INVITE sip:vm@192.0.2.4 ")
		}
	}
	if !found {
		t.Error("after fr_timer the call does not go to fwd_noanswer_target")
	}
	s.Receive("192.0.2.1:5060", invite("c"))
	out, _ := sent("INVITE")
	s.Receive("192.0.2.10:5060", reply(out, "486 Busy Here"))
	if text, _ := sent("INVITE"); !strings.HasPrefix(text, "INVITE sip:busy@192.0.2.5 ") {
		t.Errorf("fwd_busy_target: %s", text)
	}
	s.Receive("192.0.2.1:5060", strings.Replace(invite("d"), "sip:joe@", "sip:eve@", 1))
	if text, _ := sent("SIP/2.0"); !strings.HasPrefix(text, "SIP/2.0 403 Not For You") {
		t.Errorf("gw_acl: %s", text)
	}
	s.Receive("192.0.2.1:5060", strings.ReplaceAll(invite("e"), "INVITE", "REGISTER"))
	if text, _ := sent("SIP/2.0"); !strings.Contains(text, `realm="the realm"`) {
		t.Errorf("digest_realm: %s", text)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
