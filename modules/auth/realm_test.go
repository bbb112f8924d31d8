package auth

import (
	"regexp"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/modules/domain"
	"sipr/modules/users"
)

// whole is a router with the modules domain, users and auth on one database.
// The domain d1 is canonically example.com; alice owns 300, too.
func whole(t testing.TB, dbMode int) *rig {
	t.Helper()
	r := &rig{Host: coretest.NewHost(t)}
	r.Load(domain.New(), map[string]any{"db_mode": dbMode})
	r.Load(users.New(), nil)
	r.load(nil)
	r.exec("INSERT INTO domain (did, domain, flags) VALUES ('d1', 'sip.example.com', 1), ('d1', 'example.com', 5), ('d1', '2001:db8::1', 1)")
	r.exec("INSERT INTO domain_attrs (did, name, type, value, flags) VALUES ('d1', 'digest_realm', 2, 'elsewhere', 1)")
	r.exec("INSERT INTO uri (uid, did, username) VALUES ('uid-alice', 'd1', 'alice'), ('uid-alice', 'd1', '300')")
	d, err := core.Bind[core.Reloader](r.Host, "domain")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRealmOfDomain registers by every name of a domain, without naming a
// realm: the one that the password was hashed with must come out.
func TestRealmOfDomain(t *testing.T) {
	for _, mode := range []int{0, 1} {
		r := whole(t, mode)
		for _, host := range []string{"example.com", "SIP.Example.COM", "[2001:DB8:0::1]"} {
			text := strings.Replace(register, "To: <sip:alice@example.com>", "To: <sip:300@"+host+">", 1)
			for _, args := range [][]any{nil, {""}, {"$fd.digest_realm"}} {
				answer := r.challenged(r.Request(text), "auth_challenge", args...)
				if !strings.Contains(answer, `realm="example.com"`) {
					t.Fatalf("db_mode %d, %s: %s", mode, host, answer)
				}
				c := newClient("alice", nonceText.FindStringSubmatch(answer)[1])
				req := r.Request(text + "\n" + c.header())
				if got := r.check(req, "www_authorize", args...); got != "ok" || req.Auth.Realm != testRealm {
					t.Errorf("db_mode %d, %s: %s %+v", mode, host, got, req.Auth)
				}
				if got := r.check(req, "check_identity"); got != "ok" {
					t.Errorf("db_mode %d, %s: %s", mode, host, got)
				}
			}
		}
		invite := func(from string) *core.Request {
			return r.Request("INVITE sip:x@example.com SIP/2.0\nFrom: <sip:alice@" + from + ">;tag=1\nTo: <sip:x@example.com>")
		}
		realm := regexp.MustCompile(`realm="([^"]*)"`)
		for from, want := range map[string]string{"sip.example.com": "example.com", "Foreign.Example": "foreign.example", "[2001:DB8::9]": "[2001:db8::9]"} {
			if got := realm.FindStringSubmatch(r.challenged(invite(from), "proxy_challenge"))[1]; got != want {
				t.Errorf("db_mode %d, From %s: realm %s, want %s", mode, from, got, want)
			}
		}
		if text := r.challenged(invite("example.com"), "proxy_challenge", "", 0); strings.Contains(text, "qop") {
			t.Error("flags after an empty realm have no effect")
		}
	}
}

// TestDomainsFail has a database that knows credentials but no domains any
// more: no answer is better than a wrong one.
func TestDomainsFail(t *testing.T) {
	r := whole(t, 0)
	c := newClient("alice", r.nonce(testRealm))
	r.exec("UPDATE credentials SET did = ''")
	r.exec("DROP TABLE domain")
	req := r.register(c.header())
	for _, call := range [][]any{
		{"www_challenge"}, {"www_authorize"}, {"www_authorize", testRealm}, {"pv_www_authorize", testRealm, "secret-alice"},
	} {
		if got := r.check(req, call[0].(string), call[1:]...); got != "error" {
			t.Errorf("%v: %s", call, got)
		}
	}
	if _, unknown := r.m.cache.size(); unknown != 0 || req.Auth.Known {
		t.Errorf("%d unknown users in the cache, identity %+v", unknown, req.Auth)
	}
	req.Auth = core.Identity{Known: true, User: "alice", UID: "uid-alice", DID: "d1"}
	if got := r.check(req, "check_identity"); got != "error" {
		t.Errorf("check_identity: %s", got)
	}
}
