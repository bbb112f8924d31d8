package registrar

import (
	"errors"
	"testing"

	"sipr/core"
)

// part follows names, and list positions, into a reply.
func part(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case int:
			v = v.([]any)[p]
		case string:
			found := false
			for _, m := range v.(*core.Struct).Members {
				if m.Name == p {
					v, found = m.Value, true
				}
			}
			if !found {
				t.Fatalf("no %s in %+v", p, v)
			}
		}
	}
	return v
}

func TestULCommands(t *testing.T) {
	p := memoryOnly(t)
	run := func(name string, params ...any) any {
		t.Helper()
		c, err := p.h.Command(p.m, name, params...)
		if err != nil {
			t.Fatalf("%s %v: %v", name, params, err)
		}
		if len(c.Reply) == 0 {
			return nil
		}
		return c.Reply[0]
	}
	// As kamctl calls it: numbers for what is not used here.
	run("ul.add", "location", "bob@example.com", "sip:bob@192.0.2.9", int64(120), "0.5", "", int64(0), int64(0), int64(4294967295))
	run("ul.add", "location", "sip:bob@example.net", "sip:bob@192.0.2.10", int64(60), 1.0, "<sip:edge.example.com;lr>")

	got := run("ul.lookup", "location", "bob@example.net") // any name of the domain
	if aor := part(t, got, "AoR"); aor != "bob@d1" {
		t.Error(aor)
	}
	if n := len(part(t, got, "Contacts").([]any)); n != 2 {
		t.Fatalf("%d contacts", n)
	}
	for i, want := range []map[string]any{
		{"Address": "sip:bob@192.0.2.9", "Expires": int64(120), "Q": 0.5, "Path": unset, "Received": unset, "User-Agent": unset, "Call-ID": "ul.add"},
		{"Address": "sip:bob@192.0.2.10", "Expires": int64(60), "Q": 1.0, "Path": "<sip:edge.example.com;lr>"},
	} {
		for name, v := range want {
			if have := part(t, got, "Contacts", i, "Contact", name); have != v {
				t.Errorf("contact %d: %s is %v, not %v", i, name, have, v)
			}
		}
	}
	dump := run("ul.dump")
	if v := part(t, dump, "Domains", 0, "Domain", "AoRs", 0, "Info", "Contacts", 0, "Contact", "Address"); v != "sip:bob@192.0.2.9" {
		t.Error(v)
	}
	if v := part(t, dump, "Domains", 0, "Domain", "Stats", "Records"); v != int64(1) {
		t.Error(v)
	}
	if v := part(t, run("ul.dump", "brief"), "Domains", 0, "Domain", "AoRs", 0, "Info", "ContactCount"); v != int64(2) {
		t.Error(v)
	}
	if v := part(t, run("ul.dump", int64(1), int64(1)), "Domains", 0, "Domain", "AoRs"); len(v.([]any)) != 0 {
		t.Error(v)
	}
	run("ul.rm_contact", "location", "bob@example.com", "sip:bob@192.0.2.9")
	if n := len(part(t, run("ul.lookup", "location", "bob@example.com"), "Contacts").([]any)); n != 1 {
		t.Errorf("%d contacts", n)
	}
	run("ul.rm", "location", "bob@example.com")
	run("ul.flush")

	for _, bad := range []struct {
		code   int
		name   string
		params []any
	}{
		{404, "ul.lookup", []any{"location", "bob@example.com"}},
		{404, "ul.rm", []any{"location", "bob@example.com"}},
		{404, "ul.rm_contact", []any{"location", "bob@example.com", "sip:x@y"}},
		{400, "ul.rm_contact", []any{"location", "bob@example.com"}},
		{404, "ul.lookup", []any{"aliases", "bob@example.com"}},
		{400, "ul.lookup", nil},
		{400, "ul.lookup", []any{"location"}},
		{404, "ul.lookup", []any{"location", "bob@foreign.example"}},
		{400, "ul.add", []any{"location", "bob@example.com"}},
		{400, "ul.add", []any{"location", "bob@example.com", "sip:x@y", int64(60), "2"}},
		{400, "ul.add", []any{"location", "bob@example.com", "sip:x@y", int64(60), "1", "sip:edge"}},
		{400, "ul.add", []any{"location", "bob@example.com", "sip:x@y", int64(0)}},
		{400, "ul.dump", []any{int64(5000)}},
	} {
		_, err := p.h.Command(p.m, bad.name, bad.params...)
		if f, ok := errors.AsType[*core.Fault](err); !ok || f.Code != bad.code {
			t.Errorf("%s %v: %v, want a fault %d", bad.name, bad.params, err, bad.code)
		}
	}
}
