package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/control"
)

// runCtl runs sipr ctl with args.
func runCtl(args ...string) (stdout string, err error) {
	root := &cobra.Command{Use: "sipr", SilenceErrors: true, SilenceUsage: true}
	o := &options{}
	o.flags(root)
	root.AddCommand(ctlCommand(o))
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err = root.Execute()
	return out.String(), err
}

func TestCtl(t *testing.T) {
	table := control.NewTable()
	for name, run := range map[string]func(context.Context, *core.Call) error{
		"echo": func(_ context.Context, c *core.Call) error { c.Reply = c.Params; return nil },
		"dump": func(_ context.Context, c *core.Call) error {
			c.Struct().Add("domain", "a.example").Add("contact", "<sip:a>").Add("domain", "b.example")
			return nil
		},
		"fault": func(context.Context, *core.Call) error { return &core.Fault{Code: 404, Reason: "No such domain"} },
	} {
		if err := table.Add("test", core.Command{Name: name, Doc: "Does it.", Run: run}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	u, err := control.ListenUnix(socket, 0, table, nil, clock.NewReal())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close(context.Background())
	mute, err := net.Listen("unix", filepath.Join(t.TempDir(), "m"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()

	names := "system.listMethods\nsystem.methodHelp\ntest.dump\ntest.echo\ntest.fault\n"
	tests := []struct {
		args string
		code int
		want string // output or error
	}{
		{"", 0, "system.listMethods\n    Lists the names of all commands.\nsystem.methodHelp <command>\n    Tells the parameters of a command and what it does.\ntest.dump\n    Does it.\ntest.echo\n    Does it.\ntest.fault\n    Does it.\n"},
		{"system.listMethods", 0, names},
		{"system.methodHelp test.dump", 0, "test.dump\nDoes it.\n"},
		{"test.echo", 0, ""},
		{"test.echo a 1 -5 s:1", 0, "a\n1\n-5\n1\n"},
		{"-o json test.echo a 1 -5 s:1 0049 1.5 1.10 -o text", 0,
			"[\n  \"a\",\n  1,\n  -5,\n  \"1\",\n  \"0049\",\n  1.5,\n  \"1.10\",\n  \"-o\",\n  \"text\"\n]\n"},
		{"test.dump", 0, "{\n\tdomain: a.example\n\tdomain: b.example\n\tcontact: <sip:a>\n}\n"},
		{"-o json test.dump", 0, "{\n  \"domain\": [\n    \"a.example\",\n    \"b.example\"\n  ],\n  \"contact\": \"<sip:a>\"\n}\n"},
		{"test.fault", exitFault, "error: 404 - No such domain"},
		{"nosuch.x", exitFault, "error: 500 - command nosuch.x not found"},
		{"-o table test.dump", 0, "domain   a.example, b.example\ncontact  <sip:a>\n"},
		{"-o table test.echo a b", 0, "a\nb\n"},
		{"-o xml test.dump", exitUsage, "-o xml: text, json or table is expected"},
		{"--timeout 0s test.dump", exitUsage, "--timeout 0s: must be longer than 0"},
		{"--nosuch", exitUsage, "sipr ctl: unknown flag: --nosuch"},
		{"-s " + socket + ".none test.dump", exitConnect, "cannot connect to " + socket + ".none: "},
		{"-s " + mute.Addr().String() + " --timeout 10ms test.dump", exitTimeout, mute.Addr().String() + ": no answer within 10ms"},
	}
	for _, tt := range tests {
		args := append([]string{"ctl", "-s", socket}, strings.Fields(tt.args)...)
		got, err := runCtl(args...)
		if err != nil {
			got = err.Error()
		}
		if code := exitCode(err); code != tt.code || err == nil && got != tt.want || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: exit %d\ngot  %q\nwant %q", tt.args, code, got, tt.want)
		}
	}
	if _, err := runCtl("ctl", "-s", socket+".none", "x"); err == nil || !strings.Contains(err.Error(), `start the router with "sipr run"`) {
		t.Errorf("no hint: %v", err)
	}

	got, err := runCtl("__complete", "ctl", "-s", socket, "test.d")
	if err != nil || !strings.HasPrefix(got, "test.dump\tDoes it.\n:4\n") {
		t.Errorf("completion: %q, %v", got, err)
	}
	if got, _ = runCtl("__complete", "ctl", "-s", socket+".none", "test.d"); !strings.HasPrefix(got, ":4\n") {
		t.Errorf("completion without a router: %q", got)
	}
}

func TestCtlParam(t *testing.T) {
	for arg, want := range map[string]any{
		"1": int64(1), "-1": int64(-1), "0": int64(0), "1.5": 1.5, "-0.25": -0.25,
		"+1": "+1", "-0": "-0", "007": "007", "1e3": "1e3", "1.0": "1.0", "0x10": "0x10", "1.2.3": "1.2.3",
		"inf": "inf", "99999999999999999999": "99999999999999999999",
		"s:1": "1", "s:": "", "s:s:x": "s:x", "": "", "sip:a@b": "sip:a@b",
	} {
		if diff := cmp.Diff(want, ctlParam(arg)); diff != "" {
			t.Errorf("%q: %s", arg, diff)
		}
	}
}

func TestFormatTable(t *testing.T) {
	for _, tt := range []struct{ result, want string }{
		{`[{"id":1,"remote":"a"},{"id":22,"idle":3}]`, "ID  REMOTE  IDLE\n1   a       \n22          3\n"},
		{`{"domains":[{"did":"d","names":[{"domain":"x","flags":1}]}]}`, "DID  NAMES\nd    domain=x flags=1\n"},
		{`{"a":1,"b":{"c":null,"d":true}}`, "a  1\nb  c= d=true\n"},
		{`"text"`, "text\n"},
		{`"a\u001b[2Jb"`, "a?[2Jb\n"},
		{`[]`, ""},
		{`{}`, ""},
		{`[1,"x"]`, "1\nx\n"},
	} {
		if got, err := formatTable([]byte(tt.result)); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.result, got, err, tt.want)
		}
	}
}

// TestExitCodes has one case for each code that the documentation promises, through the
// whole command line.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.lua")
	if err := os.WriteFile(bad, []byte("listen \"udp:127.0.54.1:5060\"\nloadmodule \"nosuch\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	u, err := control.ListenUnix(socket, 0, control.NewTable(), nil, clock.NewReal())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close(context.Background())
	mute, err := net.Listen("unix", filepath.Join(dir, "m"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, tt := range []struct {
		code int
		args []string
	}{
		{0, []string{"ctl", "-s", socket, "system.listMethods"}},
		{0, []string{"completion", "bash"}},
		{0, []string{"completion", "zsh"}},
		{0, []string{"completion", "fish"}},
		{exitFault, []string{"ctl", "-s", socket, "no.such"}},
		{exitUsage, []string{"ctl", "--nosuch"}},
		{exitUsage, []string{"nosuch"}},
		{exitUsage, nil},
		{exitConnect, []string{"ctl", "-s", socket + "x", "core.uptime"}},
		{exitSettings, []string{"check", "-f", bad}},
		{exitSettings, []string{"check", "-f", bad + "x"}},
		{exitTimeout, []string{"ctl", "-s", mute.Addr().String(), "--timeout", "10ms", "core.uptime"}},
	} {
		root := rootCommand()
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		root.SetArgs(append([]string{}, tt.args...))
		if err := root.ExecuteContext(t.Context()); exitCode(err) != tt.code {
			t.Errorf("sipr %v: exit code %d, want %d: %v", tt.args, exitCode(err), tt.code, err)
		}
	}
}
