package test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Requirements have numbers. A test that shows one carries its number in its
// name: TestS2_041_WhatItShows, TestRFC3261_16_7_5_WhatItShows; TestS2_070_S2_071_…
// shows two.
//
// A line of a list is a number and a sentence. It may end with "[not shown:
// reason]". A line that begins with "  off: " says of the requirement before it
// how it was switched off in the source, and which tests failed then.
var lists = []struct {
	family    *regexp.Regexp // of the first part of a number
	file, doc string
	intro     string
}{
	{regexp.MustCompile(`^S2$`), "requirements/s2.txt", "../docs/requirements.md", "# Requirements and their tests\n\n" +
		"What sipr promises of virtual domains, attributes and their management, and the tests that show it.\n"},
	{regexp.MustCompile(`^RFC\d+$`), "requirements/rfc3261.txt", "../docs/conformance.md", "# The rules of SIP and their tests\n\n" +
		"The rules for proxies and transactions of RFC 3261 §16 to §18, with RFC 6026, RFC 4320, RFC 5393 and RFC 3263, and the tests that show\n" +
		"that sipr follows them: conversations on the wire, in virtual time. Where a rule was switched off in the source to see what happens, the\n" +
		"last column says how, and which tests failed.\n"},
}

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// requirement is one line of a list, and the tests that show it.
type requirement struct {
	id, text, not string
	off           []string
	tests         []string // "modules/domain TestS2_001_Opaque"
}

func readRequirements(t *testing.T, family *regexp.Regexp, file string) []requirement {
	t.Helper()
	var list []requirement
	for i, line := range strings.Split(strings.TrimSpace(read(t, file)), "\n") {
		if off, ok := strings.CutPrefix(line, "  off: "); ok && len(list) > 0 {
			r := &list[len(list)-1]
			r.off = append(r.off, off)
			continue
		}
		id, text, ok := strings.Cut(line, " ")
		first, _, _ := strings.Cut(id, "-")
		if !ok || !family.MatchString(first) || text == "" {
			t.Fatalf("%s:%d: a number and a sentence are expected, not %q", file, i+1, line)
		}
		r := requirement{id: id, text: text}
		if before, not, ok := strings.Cut(strings.TrimSuffix(text, "]"), " [not shown: "); ok {
			r.text, r.not = before, not
		}
		list = append(list, r)
	}
	return list
}

// shown returns the numbers that a test's name begins with: "S2-070" and
// "S2-071", "RFC3261-16.7.5".
func shown(family *regexp.Regexp, name string) (ids []string) {
	parts := strings.Split(strings.TrimPrefix(name, "Test"), "_")
	for len(parts) > 0 && family.MatchString(parts[0]) {
		n := 1
		for n < len(parts) && section.MatchString(parts[n]) {
			n++
		}
		if n > 1 {
			ids = append(ids, parts[0]+"-"+strings.Join(parts[1:n], "."))
		}
		parts = parts[n:]
	}
	return ids
}

// section is one part of a section's number: digits, or the letter of a timer.
var section = regexp.MustCompile(`^(\d+|[A-Z])$`)

// TestGeneratedRequirements compares the tables in docs with the lists and the
// tests; every number needs a test.
func TestGeneratedRequirements(t *testing.T) {
	for _, l := range lists {
		list := readRequirements(t, l.family, l.file)
		index := map[string]int{}
		for i, r := range list {
			if _, twice := index[r.id]; twice {
				t.Errorf("%s stands twice in %s", r.id, l.file)
			}
			index[r.id] = i
		}
		eachTest(t, func(s *source, name string) {
			for _, id := range shown(l.family, name) {
				if i, ok := index[id]; ok {
					list[i].tests = append(list[i].tests, s.pkg+" "+name)
				} else {
					t.Errorf("%s: %s shows %s, which is not in %s", s.path, name, id, l.file)
				}
			}
		})
		var b bytes.Buffer
		b.WriteString(l.intro + "This file is made from `test/" + l.file + "` and the names of the tests; `make generate` writes it anew.\n\n")
		writeTable(t, &b, list)
		compareGenerated(t, l.doc, b.Bytes())
	}
}

func eachTest(t *testing.T, f func(s *source, name string)) {
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				f(&s, fn.Name.Name)
			}
		}
	}
}

func writeTable(t *testing.T, b *bytes.Buffer, list []requirement) {
	off := slices.ContainsFunc(list, func(r requirement) bool { return len(r.off) > 0 })
	head, rule := "| Number | Requirement | Tests |", "|---|---|---|"
	if off {
		head, rule = head+" Switched off |", rule+"---|"
	}
	fmt.Fprintf(b, "%s\n%s\n", head, rule)
	escape := strings.NewReplacer("|", `\|`)
	for _, r := range list {
		slices.Sort(r.tests)
		var names []string
		for _, name := range r.tests {
			pkg, fn, _ := strings.Cut(name, " ")
			names = append(names, fmt.Sprintf("`%s` (%s)", fn, pkg))
		}
		switch {
		case len(names) == 0 && r.not == "":
			t.Errorf("%s has no test: %s", r.id, r.text)
		case len(names) > 0 && r.not != "":
			t.Errorf("%s has a test: it need not be excused", r.id)
		case r.not != "":
			names = append(names, "none: "+r.not)
		}
		fmt.Fprintf(b, "| %s | %s | %s |", r.id, escape.Replace(r.text), escape.Replace(strings.Join(names, ", ")))
		if off {
			fmt.Fprintf(b, " %s |", escape.Replace(strings.Join(r.off, "; ")))
		}
		b.WriteByte('\n')
	}
}

// compareGenerated compares a generated file with what it should be, or
// writes it with -update.
func compareGenerated(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.FromSlash(file), want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the tests and the list say (%v): run make generate", file, err)
	}
}
