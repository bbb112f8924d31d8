package auth

import (
	"fmt"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
)

func TestIdentity(t *testing.T) {
	users := &fakeUsers{uris: map[string]string{"d1/sales": "uid-alice", "d1/bob": "uid-bob", "example.com/sales": "uid-alice",
		"d1/alice": "uid-alice", "d2/carol": "uid-alice"}}
	message := func(from string) string {
		return "MESSAGE sip:x@example.net SIP/2.0\nFrom: <" + from + ">;tag=1\nTo: <sip:alice@example.com>"
	}
	reg := func(to string) string {
		return "REGISTER sip:example.com SIP/2.0\nFrom: <sip:alice@example.com>;tag=1\nTo: <" + to + ">"
	}
	tests := []struct {
		name, request, export string
		domains, users        bool
		want                  string
	}{
		{"herself", reg("sip:alice@example.com"), "check_identity", true, true, "ok"},
		{"herself, without modules", reg("sip:alice@EXAMPLE.com"), "check_identity", false, false, "ok"},
		{"escaped", reg("sip:%61lice@example.com"), "check_identity", true, true, "ok"},
		{"alias of the domain", reg("sip:alice@sip.example.com:5070"), "check_identity", true, true, "ok"},
		{"registers somebody else", reg("sip:bob@example.com"), "check_identity", true, true, "not_owner"},
		{"registers somebody else, without modules", reg("sip:bob@example.com"), "check_identity", false, false, "not_owner"},
		{"her alias", reg("sip:sales@sip.example.com"), "check_identity", true, true, "ok"},
		{"her alias, without domain", reg("sip:sales@Example.com"), "check_identity", false, true, "ok"},
		{"her alias, without users", reg("sip:sales@example.com"), "check_identity", true, false, "not_owner"},
		{"her alias in another domain", reg("sip:carol@other.example"), "check_identity", true, true, "ok"},
		{"nobody's", reg("sip:nobody@example.com"), "check_identity", true, true, "not_owner"},
		{"same name elsewhere", reg("sip:alice@example.net"), "check_identity", true, true, "not_owner"},
		{"same name in another domain of ours", reg("sip:alice@other.example"), "check_identity", true, true, "not_owner"},
		{"From", message("sip:alice@example.com"), "check_identity", true, true, "ok"},
		{"sips", message("sips:alice@example.com"), "check_identity", true, true, "ok"},
		{"From is somebody else", message("sip:bob@example.com"), "check_identity", true, true, "not_owner"},
		{"tel", message("tel:+1234"), "check_identity", true, true, "not_owner"},
		{"no user", message("sip:example.com"), "check_identity", true, true, "not_owner"},
		{"check_to", message("sip:bob@example.com"), "check_to", true, true, "ok"},
		{"check_from", reg("sip:bob@example.com"), "check_from", true, true, "ok"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := &rig{Host: coretest.NewHost(t)}
			did := testRealm
			if tc.domains {
				did = "d1"
				r.Load(fakeDomain{"example.com": "d1", "sip.example.com": "d1", "other.example": "d2"}, nil)
			}
			if tc.users {
				r.Load(users, nil)
			}
			r.load(nil)
			r.exec("UPDATE credentials SET did = ''")
			req := r.Request(tc.request)
			if got := r.check(req, tc.export); got != "no_credentials" {
				t.Errorf("before: %s", got)
			}
			c := newClient("alice", r.nonce(testRealm))
			c.method, c.uri = string(req.Msg.MethodText()), string(req.Msg.OriginalRURI())
			req = r.Request(tc.request + "\n" + c.header())
			if got := r.check(req, "www_authorize", testRealm); got != "ok" || req.Auth.DID != did {
				t.Fatalf("%s %+v", got, req.Auth)
			}
			if got := r.check(req, tc.export); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// TestNamesOfCredentials are credentials that are called like somebody else's
// address.
func TestNamesOfCredentials(t *testing.T) {
	r := &rig{Host: coretest.NewHost(t)}
	r.Load(&fakeUsers{uris: map[string]string{"example.com/alice": "uid-boss", "example.com/300": "uid-alice"}}, nil)
	r.load(nil)
	identity := core.Identity{Known: true, User: "alice", Realm: testRealm, UID: "uid-alice", DID: testRealm}
	check := func(user string) string {
		req := r.Request(strings.ReplaceAll(register, "alice@example", user+"@EXAMPLE"))
		req.Auth = identity
		return r.check(req, "check_identity")
	}
	if got := check("alice"); got != "not_owner" {
		t.Errorf("the address of the same name: %s", got)
	}
	if got := check("300"); got != "ok" {
		t.Errorf("the own address: %s", got)
	}
	identity.UID = ""
	if got := check("alice"); got != "not_owner" {
		t.Errorf("without uid: %s", got)
	}
}

func TestOwnerUnknownBecauseOfFailure(t *testing.T) {
	r := &rig{Host: coretest.NewHost(t)}
	r.Load(&fakeUsers{err: fmt.Errorf("database down")}, nil)
	r.load(nil)
	req := r.Request(strings.ReplaceAll(register, "alice", "bob"))
	req.Auth = core.Identity{Known: true, User: "alice", UID: "uid-alice", DID: testRealm}
	if got := r.check(req, "check_identity"); got != "error" {
		t.Error(got)
	}
}

func TestModuleWithoutInterface(t *testing.T) {
	h := coretest.NewHost(t)
	h.Load(bare{}, nil)
	if err := h.TryLoad(New(), nil); err == nil {
		t.Error("a module users that knows no owners was taken")
	}
}

type bare struct{}

func (bare) Describe() core.Spec { return core.Spec{Name: "users"} }
