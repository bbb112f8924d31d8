package main

import (
	"fmt"
	"regexp"
	"testing"

	"sipr/core/coretest"
	"sipr/modules/auth"
	"sipr/modules/domain"
)

// TestRealmIsTheRouters adds users by all names of a domain and lets a router
// challenge them: were the realms not the same, no password would fit.
func TestRealmIsTheRouters(t *testing.T) {
	names := []string{"first.example", "Canon.Example", "[2001:db8::1]"}
	for _, step := range []struct{ what, sql, want string }{
		{"the first name is canonical", "", "first.example"},
		{"another one is", "UPDATE domain SET flags = CASE domain WHEN 'canon.example' THEN 5 ELSE 1 END", "canon.example"},
		{"none is", "UPDATE domain SET flags = 1", "first.example"},
		{"written by somebody else", "UPDATE domain SET domain = 'Canon.Example.', flags = 5 WHERE domain = 'canon.example'; UPDATE domain SET flags = 1 WHERE domain = 'first.example'", "canon.example"},
		{"an address", "UPDATE domain SET flags = CASE domain WHEN '2001:db8::1' THEN 5 ELSE 1 END", "2001:db8::1"},
		{"it is disabled", "UPDATE domain SET flags = 7 WHERE domain = 'first.example'", "canon.example"},
	} {
		t.Run(step.what, func(t *testing.T) {
			c := sqlite(t)
			for _, name := range names {
				c.ok("", "domain", "add", name, "--did", "d")
			}
			c.ok("", "domain", "attr", "set", names[2], "digest_realm", "elsewhere")
			if _, err := c.db.Exec(step.sql); step.sql != "" && err != nil {
				t.Fatal(err)
			}
			c.ok("pw", "user", "add", "u@"+names[2])
			c.want("SELECT realm FROM credentials", step.want)
			for mode := range 4 {
				params := map[string]any{"db_mode": mode & 1, "load_domain_attrs": mode >> 1}
				if got := challenged(t, c.url, names[2], params); got != step.want {
					t.Errorf("%v: the router challenges for %s, want %s", params, got, step.want)
				}
			}
		})
	}
}

// challenged returns the realm of a router's challenge of u@host.
func challenged(t *testing.T, url, host string, params map[string]any) string {
	t.Helper()
	h := coretest.NewHost(t)
	h.URL = url
	h.Load(domain.New(), params)
	m := h.Load(auth.New(), nil)
	r := h.Request(fmt.Sprintf("REGISTER sip:%s SIP/2.0\nFrom: <sip:u@%[1]s>;tag=1\nTo: <sip:u@%[1]s>", host))
	if res := h.Call(m, r, "auth_challenge"); res.Err != nil || res.Value.Num != 1 {
		t.Fatalf("%+v", res)
	}
	found := regexp.MustCompile(`realm="([^"]*)"`).FindStringSubmatch(h.Sent()[0].Text)
	if found == nil {
		t.Fatal("no challenge")
	}
	return found[1]
}

// TestLongRealm has a canonical name that fills its column.
func TestLongRealm(t *testing.T) {
	run := func(t *testing.T, c *cli) {
		name := ""
		for len(name) < maxDomain-8 {
			name += "abcdefg."
		}
		name += "abcdefgh"
		c.ok("", "domain", "add", name, "--did", "d")
		c.ok("", "domain", "add", "other.example", "--did", "D") // another domain: S2-042
		c.ok("pw", "user", "add", "u@"+name)
		c.want("SELECT realm FROM credentials", name)
		c.want("SELECT COUNT(*) FROM domain WHERE did = 'd'", "1")
		c.ok("", "domain", "attr", "set", name, "gw", "x")
		c.ok("", "domain", "attr", "set", "other.example", "gw", "x")
		c.ok("", "domain", "attr", "add", "other.example", "GW", "X")
		c.want("SELECT did, name, value FROM domain_attrs ORDER BY id", "d|gw|x", "D|gw|x", "D|GW|X")
		c.fails(exitFault, "exists already", "domain", "add", "OTHER.example")
	}
	t.Run("sqlite", func(t *testing.T) { run(t, sqlite(t)) })
	t.Run("mysql", func(t *testing.T) { run(t, newCLI(t, coretest.MariaDB(t))) })
}
