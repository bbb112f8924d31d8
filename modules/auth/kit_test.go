package auth

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"regexp"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
)

const testRealm = "example.com"

// rig is a loaded module with some users: alice and bob of example.com, both
// with the password "secret-" and their name.
type rig struct {
	*coretest.Host
	m *Module
}

func newRig(t testing.TB, params map[string]any) *rig {
	t.Helper()
	r := &rig{Host: coretest.NewHost(t)}
	r.load(params)
	return r
}

func (r *rig) load(params map[string]any) {
	r.T.Helper()
	r.m = r.Load(New(), params).(*Module)
	for _, user := range []string{"alice", "bob"} {
		r.add(user, "secret-"+user, 1)
	}
}

func (r *rig) add(user, password string, flags int) {
	r.T.Helper()
	a1 := user + ":" + testRealm + ":" + password
	r.exec("REPLACE INTO credentials(auth_username, did, realm, flags, ha1, ha1_sha256, ha1_sha512_256, uid) VALUES (?,?,?,?,?,?,?,?)",
		user, "example.com", testRealm, flags, sum("MD5", a1), strings.ToUpper(sum("SHA-256", a1)), sum("SHA-512-256", a1), "uid-"+user)
}

func (r *rig) exec(query string, args ...any) {
	r.T.Helper()
	if _, err := r.m.db.Exec(query, args...); err != nil {
		r.T.Fatal(err)
	}
}

// check calls an export and returns "ok", or why not.
func (r *rig) check(req *core.Request, export string, args ...any) string {
	r.T.Helper()
	res := r.Call(r.m, req, export, args...)
	switch {
	case res.Err != nil:
		return "error"
	case res.Value.Num != 0:
		return "ok"
	}
	return res.Why
}

// challenged runs a challenge and returns the answer.
func (r *rig) challenged(req *core.Request, export string, args ...any) string {
	r.T.Helper()
	r.Host.Sent()
	if got := r.check(req, export, args...); got != "ok" {
		r.T.Fatalf("%s: %s", export, got)
	}
	if !req.Decided() {
		r.T.Errorf("%s is no decision", export)
	}
	sent := r.Host.Sent()
	if len(sent) != 1 {
		r.T.Fatalf("%s sent %d messages", export, len(sent))
	}
	return sent[0].Text
}

var nonceText = regexp.MustCompile(`nonce="([^"]*)"`)

// nonce returns a fresh nonce for a realm.
func (r *rig) nonce(realm string) string {
	r.T.Helper()
	return nonceText.FindStringSubmatch(r.challenged(r.Request(register), "www_challenge", realm))[1]
}

const register = `REGISTER sip:example.com SIP/2.0
From: <sip:alice@example.com>;tag=1
To: <sip:alice@example.com>
Contact: <sip:alice@192.0.2.1>`

// register makes a REGISTER with header lines.
func (r *rig) register(lines ...string) *core.Request {
	r.T.Helper()
	return r.Request(strings.Join(append([]string{register}, lines...), "\n"))
}

// client answers challenges; it shares no code with the module.
type client struct {
	user, password, realm, nonce, uri, method string
	algorithm, qop, nc, cnonce, body          string
}

func newClient(user, nonce string) client {
	return client{user: user, password: "secret-" + user, realm: testRealm, nonce: nonce, uri: "sip:example.com",
		method: "REGISTER", algorithm: "MD5", qop: "auth", nc: "00000001", cnonce: "0a4f113b"}
}

func sum(algorithm, text string) string {
	var h hash.Hash
	switch strings.TrimSuffix(algorithm, "-sess") {
	case "", "MD5":
		h = md5.New()
	case "SHA-256":
		h = sha256.New()
	case "SHA-512-256":
		h = sha512.New512_256()
	default:
		panic(algorithm)
	}
	h.Write([]byte(text))
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (c client) response() string {
	ha1 := sum(c.algorithm, c.user+":"+c.realm+":"+c.password)
	if strings.HasSuffix(c.algorithm, "-sess") {
		ha1 = sum(c.algorithm, ha1+":"+c.nonce+":"+c.cnonce)
	}
	a2 := c.method + ":" + c.uri
	if c.qop == "auth-int" {
		a2 += ":" + sum(c.algorithm, c.body)
	}
	if c.qop == "" {
		return sum(c.algorithm, ha1+":"+c.nonce+":"+sum(c.algorithm, a2))
	}
	return sum(c.algorithm, strings.Join([]string{ha1, c.nonce, c.nc, c.cnonce, c.qop, sum(c.algorithm, a2)}, ":"))
}

// value is the header value that answers.
func (c client) value() string {
	s := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`, c.user, c.realm, c.nonce, c.uri, c.response())
	if c.algorithm != "" {
		s += ", algorithm=" + c.algorithm
	}
	if c.qop != "" {
		s += fmt.Sprintf(`, qop=%s, nc=%s, cnonce="%s"`, c.qop, c.nc, c.cnonce)
	} else if strings.HasSuffix(c.algorithm, "-sess") {
		s += fmt.Sprintf(`, cnonce="%s"`, c.cnonce)
	}
	return s
}

func (c client) header() string { return "Authorization: " + c.value() }

// fakeDomain stands for module domain.
type fakeDomain map[string]string

func (fakeDomain) Describe() core.Spec { return core.Spec{Name: "domain"} }
func (f fakeDomain) Lookup(_ *core.Request, name []byte) (string, bool, error) {
	did, ok := f[strings.ToLower(string(name))]
	return did, ok, nil
}
func (f fakeDomain) LookupRealm(r *core.Request, name []byte) (string, bool, error) {
	did, ok, err := f.Lookup(r, name)
	return "realm of " + did, ok, err
}

// fakeUsers stands for module users; it maps "did/user" to a uid.
type fakeUsers struct {
	uris map[string]string
	err  error
}

func (*fakeUsers) Describe() core.Spec { return core.Spec{Name: "users"} }
func (f *fakeUsers) Owner(_ *core.Request, did string, user []byte) (string, bool, error) {
	uid, ok := f.uris[did+"/"+string(user)]
	return uid, ok, f.err
}
