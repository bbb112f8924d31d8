package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/control"
	"sipr/core/coretest"
)

// TestDomainCommands is a life of a domain with several names, on either dialect.
func TestDomainCommands(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { domainLife(sqlite(t)) })
	t.Run("mysql", func(t *testing.T) { domainLife(newCLI(t, coretest.MariaDB(t))) })
}

func domainLife(c *cli) {
	const names = "SELECT did, domain, flags FROM domain ORDER BY id"
	const attrs = "SELECT did, name, type, value, flags FROM domain_attrs ORDER BY id"
	c.ok("", "domain", "add", "iptel", "--name", "iptel.org", "--name", "SIP.iptel.org", "--attr", "fr_timer=5", "--attr", "gw=s:5", "--attr", "note=a=b")
	c.want(names, "iptel|iptel.org|5", "iptel|sip.iptel.org|1")
	c.want(attrs, "iptel|fr_timer|0|5|1", "iptel|gw|2|5|1", "iptel|note|2|a=b|1")
	// All or nothing.
	c.fails(exitFault, "iptel.org exists already", "domain", "add", "other", "--name", "other.org", "--name", "iptel.org")
	c.fails(exitFault, "exists already", "domain", "add", "iptel", "--name", "new.org", "--attr", "fr_timer=5")
	c.want(names, "iptel|iptel.org|5", "iptel|sip.iptel.org|1")
	c.fails(exitUsage, "NAME=VALUE", "domain", "add", "x", "--name", "x.org", "--attr", "fr_timer")
	c.fails(exitUsage, "--did is not needed", "domain", "add", "x", "--name", "x.org", "--did", "y")
	c.fails(exitUsage, "not a domain name", "domain", "add", "x", "--name", "x:y")
	c.fails(exitFault, "does not exist", "domain", "add", "x", "--name", "x.org", "--alias")

	c.ok("", "domain", "name", "add", "iptel.org", "voice.iptel.org")
	c.fails(exitFault, "exists already", "domain", "name", "add", "iptel.org", "sip.iptel.org")
	c.fails(exitFault, "does not exist", "domain", "name", "add", "nowhere.org", "x.org")
	c.ok("", "domain", "name", "remove", "voice.iptel.org")
	c.want(names, "iptel|iptel.org|5", "iptel|sip.iptel.org|1")

	c.ok("", "domain", "set", "sip.iptel.org", "--canonical")
	c.want(names, "iptel|iptel.org|1", "iptel|sip.iptel.org|5")
	c.ok("pw", "user", "add", "u@iptel.org")
	c.fails(exitFault, "realm of 1 credentials", "domain", "set", "iptel.org", "--canonical")
	c.want(names, "iptel|iptel.org|1", "iptel|sip.iptel.org|5")
	c.fails(exitUsage, "is expected", "domain", "set", "iptel.org")
	c.fails(exitUsage, "exclude each other", "domain", "set", "iptel.org", "--enable", "--disable")

	c.ok("", "domain", "set", "iptel.org", "--disable")
	c.want(names, "iptel|iptel.org|3", "iptel|sip.iptel.org|7")
	var list []domainInfo
	if err := json.Unmarshal([]byte(c.ok("", "domain", "list", "-o", "json")), &list); err != nil {
		c.t.Fatal(err)
	}
	if len(list) != 1 || !cmp.Equal(list[0].Disabled, []string{"sip.iptel.org", "iptel.org"}) || list[0].Realm != "sip.iptel.org" {
		c.t.Errorf("%+v", list)
	}
	c.ok("", "domain", "name", "add", "iptel.org", "late.iptel.org") // of a disabled domain
	c.want("SELECT flags FROM domain WHERE domain = 'late.iptel.org'", "3")
	c.ok("", "domain", "set", "late.iptel.org", "--enable")
	c.want("SELECT flags FROM domain ORDER BY id", "1", "5", "1")
	c.ok("", "domain", "add", "later.org", "--disabled")
	c.want("SELECT did, flags FROM domain WHERE domain = 'later.org'", "later.org|7")
	if out := c.ok("", "domain", "list"); !strings.Contains(out, "disabled") {
		c.t.Error(out)
	}

	c.ok("", "user", "attr", "set", "u@iptel.org", "gw_acl", "intl")
	c.ok("", "user", "attr", "add", "u@iptel.org", "gw_acl", "local")
	c.ok("", "user", "attr", "set", "u@sip.iptel.org", "fr_timer", "5", "--int")
	c.want("SELECT uid, name, type, value, flags FROM user_attrs ORDER BY id", "u@iptel|gw_acl|2|intl|1", "u@iptel|gw_acl|2|local|1", "u@iptel|fr_timer|0|5|1")
	c.ok("", "user", "attr", "remove", "u@iptel.org", "gw_acl", "intl")
	c.fails(exitFault, "no such attribute intl of user", "user", "attr", "remove", "u@iptel.org", "intl")
	if out := c.ok("", "user", "attr", "list", "u@iptel.org"); !strings.Contains(out, "local") || strings.Contains(out, "intl") {
		c.t.Error(out)
	}

	c.fails(exitFault, "has 1 users", "domain", "remove", "iptel.org", "--all")
	c.ok("", "user", "remove", "u@iptel.org")
	c.want("SELECT uid FROM user_attrs")
	c.ok("", "domain", "name", "remove", "late.iptel.org")
	c.ok("", "domain", "remove", "iptel.org", "--all")
	c.want(names, "later.org|later.org|7")
	c.want(attrs)
	c.fails(exitFault, "is the last name", "domain", "name", "remove", "later.org")
	c.ok("", "domain", "remove", "later.org")
	c.want(names)
}

func TestParseAttr(t *testing.T) {
	for text, want := range map[string]attrInfo{
		"a=b": {"a", "string", "b"}, "a=5": {"a", "int", "5"}, "a=-5": {"a", "int", "-5"}, "a=s:5": {"a", "string", "5"},
		"a=": {"a", "string", ""}, "a=05": {"a", "string", "05"}, "a=4294967296": {"a", "string", "4294967296"}, "a=1.5": {"a", "string", "1.5"},
	} {
		if got, err := parseAttr(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a", "=b", strings.Repeat("a", 33) + "=b", "a=" + strings.Repeat("b", 256)} {
		if got, err := parseAttr(text); exitCode(err) != exitUsage {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// TestTell changes things while a router runs, and while none does.
func TestTell(t *testing.T) {
	c := sqlite(t)
	var told []string
	var answer error
	table := control.NewTable()
	for _, name := range []string{"domain.reload", "users.flush", "attrs.flush", "registrar.rm"} { // no auth.flush
		err := table.Add("x", core.Command{Name: name, Run: func(_ context.Context, call *core.Call) error {
			line := name
			for i := range call.Params {
				line += " " + call.String(i)
			}
			told = append(told, line)
			return answer
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "sipr.lua")
	if err := os.WriteFile(file, []byte("modparam(\"core\", \"ctl_socket\", \"here.sock\")\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (note string, err error) {
		t.Helper()
		o := &options{schema: schema()}
		root := &cobra.Command{Use: "sipr", SilenceErrors: true, SilenceUsage: true}
		o.flags(root)
		root.AddCommand(domainCommand(o), userCommand(o), aliasCommand(o))
		root.SetArgs(append([]string{"--db", c.url, "-f", file}, args...))
		var stderr strings.Builder
		root.SetOut(&strings.Builder{})
		root.SetErr(&stderr)
		err = root.ExecuteContext(t.Context())
		return stderr.String(), err
	}
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		told = nil
	}
	if note, err := run("domain", "add", "a.example"); err != nil || !strings.Contains(note, "no router was told") || !strings.Contains(note, "sipr ctl domain.reload") {
		t.Errorf("%q, %v", note, err)
	}
	u, err := control.ListenUnix(filepath.Join(dir, "here.sock"), 0, table, nil, clock.NewReal())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close(context.Background())
	for _, step := range []struct {
		args string
		want []string
	}{
		{"domain add b.example --did a.example", []string{"domain.reload"}},
		{"domain attr set a.example gw x", []string{"domain.reload"}},
		{"domain remove b.example", []string{"domain.reload"}},
		{"domain list", nil},
		{"user add u@a.example -p x", []string{"users.flush"}},
		{"user attr set u@a.example gw x", []string{"attrs.flush u@a.example"}},
		{"alias add v@a.example u@a.example", []string{"users.flush"}},
		{"domain add quiet.example --no-reload", nil},
		{"user remove u@a.example", []string{"users.flush", "attrs.flush u@a.example", "registrar.rm u@a.example"}},
	} {
		if note, err := run(strings.Fields(step.args)...); err != nil || (step.want != nil) != strings.Contains(note, "was told") {
			t.Errorf("%s: %q, %v", step.args, note, err)
		}
		expect(step.want...)
	}
	answer = &core.Fault{Code: 200, Reason: "Server Domain Cache Disabled"} // it asks each time
	if _, err := run("domain", "add", "c.example"); err != nil {
		t.Error(err)
	}
	answer = errors.New("broken")
	if _, err := run("domain", "add", "d.example"); exitCode(err) != exitFault || !strings.Contains(err.Error(), "it is stored, but") {
		t.Error(err)
	}
	c.want("SELECT domain FROM domain WHERE domain = 'd.example'", "d.example")
}
