package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipr/modules"
)

// TestGeneratedPages fails where the module reference in docs does not say
// what the modules say.
func TestGeneratedPages(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "modules")
	pages := markdownPages(specs())
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("docs/modules/%s is missing: run make generate", name)
		} else if diff := cmp.Diff(string(have), pages[name]); diff != "" {
			t.Errorf("docs/modules/%s is out of date: run make generate\n%s", name, diff)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if _, ok := pages[filepath.Base(f)]; !ok {
			t.Errorf("%s belongs to no module: run make generate", f)
		}
	}
}

func TestWriteMarkdown(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gone.md", generated+"# gone\n")
	write("own.md", "somebody's own page\n")
	if err := writeMarkdown(dir, specs()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"gone.md": false, "own.md": true, "README.md": true, "core.md": true, "domain.md": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s exists: %v", name, err == nil)
		}
	}
	page, _ := os.ReadFile(filepath.Join(dir, "domain.md"))
	for _, want := range []string{"| `db_mode` | int | `1` |", "### lookup_domain\n", "`lookup_domain(attr_group, domain)`", "| `domain.reload` |", "CREATE TABLE IF NOT EXISTS domain ("} {
		if !strings.Contains(string(page), want) {
			t.Errorf("domain.md lacks %q", want)
		}
	}
}

func TestDoc(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"lookup_domain", "lookup_domain(attr_group, domain)   function of module domain; in request, failure routes"},
		{"domain.lookup_domain", "lookup_domain(attr_group, domain)"},
		{"domain", `modparam("domain", "db_mode", …)   int, default 1`},
		{"uid_domain", "module domain: "},
		{"domain.reload", "sipr ctl domain.reload\n"},
		{"core.script_budget", "int, default 1000000"},
		{"sl_reply", "code         number: "},
	} {
		var b bytes.Buffer
		if err := printDoc(&b, specs(), tt.name); err != nil || !strings.Contains(b.String(), tt.want) {
			t.Errorf("sipr doc %s lacks %q: %v\n%s", tt.name, tt.want, err, b.String())
		}
	}
	err := printDoc(io.Discard, specs(), "lokup_domain")
	if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "did you mean lookup_domain?") {
		t.Error(err)
	}
}

// TestStubsTellTheTruth compiles a script that uses what the stubs declare:
// every select, an attribute of each group and every function as a field of
// its module.
func TestStubsTellTheTruth(t *testing.T) {
	dir := t.TempDir()
	settings := "listen \"udp:127.0.0.1:5060\"\nroute \"route.lua\"\nmodparam(\"core\", \"db_url\", \"sqlite:x.db\")\n"
	for _, f := range modules.All() {
		settings += fmt.Sprintf("loadmodule %q\n", f().Describe().Name)
	}
	var b strings.Builder
	b.WriteString("local function use(...) end\nfunction request_route()\n")
	names := declared(t)
	if len(names) < 50 {
		t.Fatalf("only %d selects and attributes are declared: %q", len(names), names)
	}
	for _, n := range names {
		fmt.Fprintf(&b, "  use(%s)\n", n)
	}
	for _, s := range specs() {
		for _, e := range s.Exports {
			fmt.Fprintf(&b, "  use(%s, %s.%s)\n", e.Name, s.Name, e.Name)
		}
	}
	b.WriteString("  return sl_reply(200)\nend\n")
	for name, text := range map[string]string{"sipr.lua": settings, "route.lua": b.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := &options{file: filepath.Join(dir, "sipr.lua")}
	if _, err := o.newEngine(slog.New(slog.DiscardHandler), nil); err != nil {
		t.Error(err)
	}
	var out bytes.Buffer
	writeStubs(&out, specs())
	for _, want := range []string{"---@meta\n", "---@param attr_group string $fd, ", "function lookup_domain(attr_group, domain) end\n", "function t_relay(uri) end\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the stubs lack %q", want)
		}
	}
}

// declared returns the selects and attributes that stubs.lua declares.
func declared(t *testing.T) []string {
	t.Helper()
	fields := map[string][]string{} // of a class, with their types
	types := map[string]string{}    // of a field
	class, typ := "", ""
	var names []string
	var expand func(name, class string)
	expand = func(name, class string) {
		for _, f := range fields[class] {
			path := name + "." + f
			switch ft := types[class+"."+f]; {
			case strings.HasPrefix(ft, "sipr."):
				names = append(names, path)
				expand(path, ft)
			case strings.HasPrefix(ft, "table<"):
				names = append(names, path+".some")
			default:
				names = append(names, path)
			}
		}
	}
	field := regexp.MustCompile(`^---@field (\w+) (\S+)`)
	global := regexp.MustCompile(`^(\w+) = `)
	for line := range strings.Lines(stubsHead) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "---@class "):
			class = strings.Fields(line)[1]
		case strings.HasPrefix(line, "---@type "):
			typ = strings.TrimSuffix(strings.Fields(line)[1], "?")
		case field.MatchString(line):
			m := field.FindStringSubmatch(line)
			fields[class] = append(fields[class], m[1])
			types[class+"."+m[1]] = strings.TrimSuffix(m[2], "?")
		case global.MatchString(line):
			name := global.FindStringSubmatch(line)[1]
			if typ == "" { // the class above is the global's
				typ = class
			}
			if name != "attr" && name != "shared" && name != "auth" {
				names = append(names, name)
			}
			if name == "shared" {
				names = append(names, "shared.get")
			}
			expand(name, typ)
			typ = ""
		}
	}
	return names
}
