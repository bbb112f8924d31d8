package control

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sipr/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTable holds one command for each kind of reply.
func testTable(t *testing.T) *Table {
	t.Helper()
	table := NewTable()
	add := func(name string, run func(context.Context, *core.Call) error) {
		t.Helper()
		if err := table.Add("test", core.Command{Name: name, Doc: "Doc of " + name + ".", Args: "<x>", Run: run}); err != nil {
			t.Fatal(err)
		}
	}
	add("echo", func(_ context.Context, c *core.Call) error { c.Reply = c.Params; return nil })
	add("struct", func(_ context.Context, c *core.Call) error {
		c.Struct().Add("now", "20:12, today").Add("up", int64(2)).Add("contact", "<sip:a@b>")
		return nil
	})
	add("repeat", func(_ context.Context, c *core.Call) error {
		c.Struct().Add("domain", "a").Add("flags", int64(1)).Add("domain", "b")
		return nil
	})
	add("nested", func(_ context.Context, c *core.Call) error {
		d := c.Struct().Struct("Domains").Struct("Domain").Add("Domain", "location").Add("Size", int64(1024))
		d.Struct("AoRs")
		d.Struct("Stats").Add("Records", int64(0)).Add("Max-Slots", int64(0))
		return nil
	})
	add("data", func(_ context.Context, c *core.Call) error {
		c.Add("text")
		c.Data = map[string]any{"k": []int{1, 2}}
		return nil
	})
	add("fault", func(context.Context, *core.Call) error { return &core.Fault{Code: 404, Reason: "No such\ndomain"} })
	add("fail", func(context.Context, *core.Call) error { return errors.New("table domain: disk full") })
	add("panic", func(context.Context, *core.Call) error { panic("boom") })
	add("big", func(_ context.Context, c *core.Call) error { c.Add(strings.Repeat("x", 4<<20)); return nil })
	return table
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestTable(t *testing.T) {
	table := NewTable()
	run := func(context.Context, *core.Call) error { return nil }
	if err := table.Add("domain", core.Command{Name: "dump", Doc: "Shows it.", Args: "[name]", Run: run}); err != nil {
		t.Fatal(err)
	}
	bad := []struct {
		module string
		c      core.Command
		want   string
	}{
		{"domain", core.Command{Name: "dump", Run: run}, "command domain.dump is already defined"},
		{"system", core.Command{Name: "listMethods", Run: run}, "command system.listMethods is already defined"},
		{"domain", core.Command{Run: run}, `command "domain." has no full name`},
		{"", core.Command{Name: "x", Run: run}, `command ".x" has no full name`},
		{"domain", core.Command{Name: "x"}, "command domain.x has no function"},
	}
	for _, tt := range bad {
		if err := table.Add(tt.module, tt.c); err == nil || err.Error() != tt.want {
			t.Errorf("Add(%q, %q) = %v, want %q", tt.module, tt.c.Name, err, tt.want)
		}
	}
	want := []string{"domain.dump", "system.listMethods", "system.methodHelp"}
	if diff := cmp.Diff(want, table.Names()); diff != "" {
		t.Error(diff)
	}
	call, err := table.Run(t.Context(), "system.listMethods", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(want), call.Data); diff != "" {
		t.Error(diff)
	}
	call, err = table.Run(t.Context(), "system.methodHelp", []any{"domain.dump"})
	if err != nil || call.String(0) != "domain.dump" || call.Reply[0] != "domain.dump [name]\nShows it." {
		t.Errorf("help: %v, %v", call, err)
	}
	for name, params := range map[string][]any{"nosuch.x": nil, "system.methodHelp": {"nosuch.x"}} {
		var f *core.Fault
		if _, err := table.Run(t.Context(), name, params); !errors.As(err, &f) || *f != (core.Fault{Code: 500, Reason: "command nosuch.x not found"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFormatText(t *testing.T) {
	tests := []struct{ in, want string }{
		{`"text"`, "text\n"},
		{`12345678901234567890`, "12345678901234567890\n"},
		{`["a",1,true,2.5]`, "a\n1\ntrue\n2.5\n"},
		{`{}`, ""},
		{`[]`, ""},
		{`{"a":1,"b":"x y"}`, "{\n\ta: 1\n\tb: x y\n}\n"},
		{`{"z":1,"d":["a","b"],"a":null}`, "{\n\tz: 1\n\td: a\n\td: b\n\ta: <null string>\n}\n"},
		{`[{"a":1},{"a":2}]`, "{\n\ta: 1\n}\n{\n\ta: 2\n}\n"},
		{`{"a":{"b":{"c":1},"e":{}}}`, "{\n\ta: {\n\t\tb: {\n\t\t\tc: 1\n\t\t}\n\t\te: {\n\t\t}\n\t}\n}\n"},
		{`"usage\ndoc"`, "usage\ndoc\n"},
		{`{"ua":"\u001b[2Jx\ny"}`, "{\n\tua: \\x1b[2Jx\\ny\n}\n"},
		{`{"a":`, "{\"a\":\n"},
	}
	for _, tt := range tests {
		if got := FormatText([]byte(tt.in)); got != tt.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.in, got, tt.want)
		}
	}
}
