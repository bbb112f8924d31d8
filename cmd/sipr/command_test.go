package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"sipr/core/coretest"
	"sipr/core/database"
)

// cli runs subcommands on one database.
type cli struct {
	t   *testing.T
	url string
	db  *database.DB
}

func schema() []database.Migrations {
	var ms []database.Migrations
	for _, m := range []string{"domain", "users", "attrs", "auth", "registrar"} {
		ms = append(ms, database.Migrations{Module: m, FS: os.DirFS(filepath.Join("..", "..", "modules", m))})
	}
	return ms
}

func newCLI(t *testing.T, url string) *cli {
	t.Helper()
	c := &cli{t: t, url: url}
	c.ok("", "db", "init")
	db, err := database.OpenURL(t.Context(), url, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c.db = db
	return c
}

func sqlite(t *testing.T) *cli {
	return newCLI(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
}

// run runs a command line with some standard input.
func (c *cli) run(stdin string, args ...string) (out string, err error) {
	c.t.Helper()
	o := &options{schema: schema()}
	root := &cobra.Command{Use: "sipr", SilenceErrors: true, SilenceUsage: true}
	o.flags(root)
	root.AddCommand(dbCommand(o), userCommand(o), domainCommand(o), aliasCommand(o))
	root.SetArgs(append([]string{"--db", c.url}, args...))
	root.SetIn(strings.NewReader(stdin))
	var stdout, stderr bytes.Buffer
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err = root.ExecuteContext(c.t.Context())
	return stdout.String(), err
}

func (c *cli) ok(stdin string, args ...string) string {
	c.t.Helper()
	out, err := c.run(stdin, args...)
	if err != nil {
		c.t.Fatalf("sipr %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// fails expects an exit code and a part of the message.
func (c *cli) fails(code int, want string, args ...string) {
	c.t.Helper()
	_, err := c.run("pw\n", args...)
	if exitCode(err) != code || err == nil || !strings.Contains(err.Error(), want) {
		c.t.Errorf("sipr %s: exit code %d: %v; want %d: %s", strings.Join(args, " "), exitCode(err), err, code, want)
	}
}

// rows returns what a query finds, one line a row, columns cut by |.
func (c *cli) rows(query string) []string {
	c.t.Helper()
	rows, err := c.db.Queryx(query)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		values, err := rows.SliceScan()
		if err != nil {
			c.t.Fatal(err)
		}
		var line []string
		for _, v := range values {
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			b, _ := json.Marshal(v)
			line = append(line, strings.Trim(string(b), `"`))
		}
		out = append(out, strings.Join(line, "|"))
	}
	return out
}

func (c *cli) want(query string, want ...string) {
	c.t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, c.rows(query)); diff != "" {
		c.t.Errorf("%s: %s", query, diff)
	}
}

// TestProvisioning is a life of a domain and its users, on either dialect.
func TestProvisioning(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { provision(sqlite(t)) })
	t.Run("mysql", func(t *testing.T) { provision(newCLI(t, coretest.MariaDB(t))) })
}

const (
	uris  = "SELECT uid, did, username, scheme, flags FROM uri ORDER BY id"
	creds = "SELECT auth_username, did, realm, flags, uid, ha1 FROM credentials ORDER BY id"
)

func provision(c *cli) {
	c.fails(exitFault, "run sipr domain add example.com", "user", "add", "alice@example.com", "-p", "x")
	c.ok("", "domain", "add", "Example.COM")
	c.ok("", "domain", "add", "sip.example.com", "--did", "example.com", "--alias")
	c.want("SELECT did, domain, flags FROM domain ORDER BY id", "example.com|example.com|5", "example.com|sip.example.com|1")

	// Whatever name the domain is called by, the realm is its canonical one.
	c.ok("secret\n", "user", "add", "alice@sip.example.com")
	c.want(uris, "alice@example.com|example.com|alice|sip|29")
	c.want(creds, "alice|example.com|example.com|1|alice@example.com|"+md5hex("alice:example.com:secret"))
	c.want("SELECT LENGTH(ha1_sha256), LENGTH(ha1_sha512_256) FROM credentials", "64|64")
	c.fails(exitFault, "user alice@example.com exists already", "user", "add", "alice@example.com")
	c.fails(exitFault, "the uid alice@example.com is taken", "user", "add", "bob@example.com", "--uid", "alice@example.com")
	c.ok("", "user", "add", "bob@example.com", "-p", "geheim", "-r", "other", "--uid", "b1")
	c.want("SELECT realm, uid, ha1 FROM credentials WHERE auth_username = 'bob'", "other|b1|"+md5hex("bob:other:geheim"))

	c.ok("", "alias", "add", "sales@example.com", "alice@example.com")
	c.want("SELECT uid, flags FROM uri WHERE username = 'sales'", "alice@example.com|25")
	c.fails(exitFault, "is an alias of alice@example.com already", "alias", "add", "sales@example.com", "bob@example.com")
	c.fails(exitFault, "bob@example.com is a user already", "alias", "add", "bob@example.com", "alice@example.com")
	c.fails(exitFault, "alias of alice@example.com: name that instead", "user", "remove", "sales@example.com")
	c.fails(exitFault, "is a user, not an alias", "alias", "remove", "alice@example.com")

	show := c.ok("", "user", "show", "sales@example.com")
	if strings.Contains(show, md5hex("alice:example.com:secret")) || !strings.Contains(show, "alice@example.com") {
		c.t.Errorf("show: %s", show)
	}
	var users []userInfo
	if err := json.Unmarshal([]byte(c.ok("", "user", "list", "example.com", "-o", "json")), &users); err != nil {
		c.t.Fatal(err)
	}
	if diff := cmp.Diff([]userInfo{
		{"alice@example.com", "alice@example.com", "example.com", []string{"example.com"}, false, []string{"sales@example.com"}},
		{"bob@example.com", "b1", "example.com", []string{"other"}, false, []string{}},
	}, users); diff != "" {
		c.t.Error(diff)
	}

	c.ok("", "user", "set", "alice@example.com", "--disable")
	c.want("SELECT flags FROM uri WHERE uid = 'alice@example.com' UNION SELECT flags FROM credentials WHERE uid = 'alice@example.com' ORDER BY flags", "3", "27", "31")
	c.ok("new\n", "user", "set", "alice@example.com", "--enable", "--password-file", "-")
	c.want("SELECT flags, ha1 FROM credentials WHERE auth_username = 'alice'", "1|"+md5hex("alice:example.com:new"))
	c.ok("second\n", "user", "set", "alice@example.com", "-r", "trunk")
	c.want("SELECT ha1 FROM credentials WHERE auth_username = 'alice' ORDER BY id", md5hex("alice:example.com:new"), md5hex("alice:trunk:second"))

	if _, err := c.db.Exec("INSERT INTO location (did, username, contact, ruid, call_id, cseq, expires) VALUES " +
		"('example.com', 'sales', 'sip:1', 'r1', 'c', 1, 1), ('example.com', 'bob', 'sip:2', 'r2', 'c', 1, 1)"); err != nil {
		c.t.Fatal(err)
	}
	c.ok("", "user", "remove", "alice@example.com")
	c.want("SELECT username FROM uri", "bob")
	c.want("SELECT auth_username FROM credentials", "bob")
	c.want("SELECT username FROM location", "bob")

	c.ok("", "domain", "remove", "sip.example.com")
	c.fails(exitFault, "has 1 users", "domain", "remove", "example.com")
	c.ok("", "domain", "attr", "set", "example.com", "fr_timer", "5", "--int")
	c.ok("", "user", "remove", "bob@example.com")
	c.ok("", "domain", "remove", "example.com")
	c.want("SELECT domain FROM domain")
	c.want("SELECT name FROM domain_attrs")
}

func md5hex(s string) string {
	parts := strings.SplitN(s, ":", 3)
	return hash(parts[0], parts[1], parts[2]).md5
}

// TestHash uses the user of RFC 7616 §3.9.1; the values are OpenSSL's.
func TestHash(t *testing.T) {
	got := hash("Mufasa", "http-auth@example.org", "Circle of Life")
	want := hashes{
		md5:    "3d78807defe7de2157e2b0b6573a855f",
		sha256: "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232",
		sha512: "fb174f5c3c7802721517cae13b98e2b8dae2e0118cb705d94ee29946319204ce",
	}
	if got != want {
		t.Errorf("%+v", got)
	}
}

func TestDomainAttr(t *testing.T) {
	c := sqlite(t)
	c.ok("", "domain", "add", "a.example", "--did", "A 1")
	c.ok("", "domain", "attr", "add", "a.example", "gw", "x,y:z")
	c.ok("", "domain", "attr", "add", "a.example", "gw", "two")
	c.fails(exitFault, "exists already", "domain", "attr", "add", "a.example", "gw", "two")
	c.ok("", "domain", "attr", "set", "a.example", "fr_timer", "5", "--int")
	c.want("SELECT did, name, type, value, flags FROM domain_attrs ORDER BY id", "A 1|gw|2|x,y:z|1", "A 1|gw|2|two|1", "A 1|fr_timer|0|5|1")
	c.fails(exitUsage, "whole number", "domain", "attr", "set", "a.example", "fr_timer", "five", "--int")
	c.ok("", "domain", "attr", "remove", "a.example", "gw", "two")
	c.ok("", "domain", "attr", "remove", "a.example", "fr_timer")
	c.fails(exitFault, "no such attribute", "domain", "attr", "remove", "a.example", "fr_timer")
	if out := c.ok("", "domain", "attr", "list", "a.example"); !strings.Contains(out, "x,y:z") || strings.Contains(out, "two") {
		t.Error(out)
	}
	// No attribute has a say in the realm.
	c.ok("", "domain", "attr", "set", "a.example", "digest_realm", "R")
	c.ok("pw", "user", "add", "u@a.example")
	c.want("SELECT uid, realm, ha1 FROM credentials", "u@A 1|a.example|"+md5hex("u:a.example:pw"))
}

// TestCanonicalName keeps passwords usable when names go.
func TestCanonicalName(t *testing.T) {
	c := sqlite(t)
	c.ok("", "domain", "add", "old.example", "--did", "d")
	c.ok("", "domain", "add", "new.example", "--did", "d")
	c.ok("pw", "user", "add", "u@new.example")
	c.fails(exitFault, "sipr user set USER@new.example -r new.example", "domain", "remove", "old.example")
	c.want("SELECT domain FROM domain ORDER BY id", "old.example", "new.example")
	c.ok("pw", "user", "set", "u@new.example", "-r", "new.example")
	c.ok("", "domain", "remove", "old.example")
	c.want("SELECT domain, flags FROM domain", "new.example|5")
	c.fails(exitFault, "did e does not exist", "domain", "add", "x.example", "--did", "e", "--alias")
	c.fails(exitUsage, "--alias needs --did", "domain", "add", "x.example", "--alias")
}

func TestBadNames(t *testing.T) {
	c := sqlite(t)
	c.ok("", "domain", "add", "example.com")
	for _, name := range []string{"", "a..b", "-a.b", "a b", "exämple.com", "user@host", "sip:host", "host:5060", strings.Repeat("a", 64), strings.Repeat("ab.", 50) + "com"} {
		c.fails(exitUsage, "is not a domain name", "domain", "add", "--", name)
	}
	for _, addr := range []string{"alice", "@example.com", "a b@example.com", "a%20@example.com", "a:b@example.com", "a<b@example.com", strings.Repeat("a", 65) + "@example.com"} {
		c.fails(exitUsage, "is not an address", "user", "add", addr)
	}
	c.fails(exitUsage, "is not allowed", "user", "add", "alice@example.com", "-r", `a"b`)
	c.ok("", "domain", "add", strings.Repeat("long.", 14)+"example", "--did", "long")
	c.ok("pw", "user", "add", "a@"+strings.Repeat("long.", 14)+"example")
	c.fails(exitUsage, "usage: sipr user add", "user", "add")
	c.fails(exitUsage, "no subcommand", "user", "frobnicate")
	c.fails(exitUsage, "subcommand is expected", "user")
	c.fails(exitUsage, "unknown flag", "user", "list", "--nonsense")
	c.fails(exitUsage, "text or json", "user", "list", "-o", "xml")
	c.fails(exitUsage, "exclude each other", "user", "set", "alice@example.com", "--enable", "--disable")
	c.fails(exitFault, "user nobody@example.com does not exist", "user", "show", "nobody@example.com")
	c.ok("", "domain", "add", "[2001:DB8::1]")
	c.want("SELECT domain FROM domain WHERE domain LIKE '%:%'", "2001:db8::1")
	c.ok("pw", "user", "add", "SIP:u@[2001:db8:0::1]")
	if out := c.ok("", "user", "list"); !strings.Contains(out, "u@[2001:db8::1]") {
		t.Error(out)
	}
}

func TestPassword(t *testing.T) {
	c := sqlite(t)
	c.ok("", "domain", "add", "example.com")
	for _, stdin := range []string{"", "\n", "a\xff\n"} {
		if _, err := c.run(stdin, "user", "add", "a@example.com"); exitCode(err) != exitFault {
			t.Errorf("password %q: %v", stdin, err)
		}
	}
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("pass word\r\nrest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("", "user", "add", "a@example.com", "--password-file", file)
	c.want("SELECT ha1 FROM credentials", md5hex("a:example.com:pass word"))
	c.fails(exitUsage, "exclude each other", "user", "add", "b@example.com", "-p", "x", "--password-file", file)
	c.fails(exitFault, "no such file", "user", "add", "b@example.com", "--password-file", file+"x")
}

func TestDB(t *testing.T) {
	c := &cli{t: t, url: "sqlite:" + filepath.Join(t.TempDir(), "x.db")}
	c.fails(exitFault, "run sipr db migrate", "db", "status")
	if out := c.ok("", "db", "migrate"); !strings.Contains(out, "applied users/001_uri.sqlite.sql") {
		t.Error(out)
	}
	if out := c.ok("", "db", "init", "-o", "json"); !strings.Contains(out, `"applied": []`) {
		t.Error(out)
	}
	if out := c.ok("", "db", "status"); strings.Contains(out, "missing") || !strings.Contains(out, "registrar") {
		t.Error(out)
	}
	c.url = "mysql://u:geheim@unix(/nowhere/sock)/db"
	for _, cmd := range [][]string{{"db", "status"}, {"db", "init"}, {"user", "list"}} {
		c.fails(exitConnect, "mysql://u:***@unix(/nowhere/sock)/db", cmd...)
	}
	c.url = "oracle://x"
	c.fails(exitSettings, "is expected", "db", "init")
	c.url = strings.TrimSuffix(coretest.MariaDB(t), "sipr") + "fresh"
	c.fails(exitConnect, "Unknown database", "db", "migrate")
	c.ok("", "db", "init")
	c.ok("", "db", "status")
}
