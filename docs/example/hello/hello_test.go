package hello

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/coretest"
	"sipr/core/engine"
	"sipr/lua"
)

func TestGreet(t *testing.T) {
	h := coretest.NewHost(t)
	m := h.Load(New(), map[string]any{"greeting": "Servus", "max": 1})
	r := h.Request("OPTIONS sip:192.0.2.100 SIP/2.0\nFrom: <sip:alice@example.com>;tag=a\nTo: <sip:192.0.2.100>")

	if res := h.Call(m, r, "greet", "@from.uri.user"); res.Value.Num != 1 {
		t.Errorf("greet: %+v", res)
	}
	if err := r.AnswerWith(200, "OK"); err != nil {
		t.Fatal(err)
	}
	if sent := h.Sent(); len(sent) != 1 || !strings.Contains(sent[0].Text, "X-Greeting: Servus alice\r\n") {
		t.Errorf("sent: %v", sent)
	}
	if res := h.Call(m, r, "greet", "bob"); res.Why != "enough" {
		t.Errorf("greet: %+v", res)
	}
	if c, err := h.Command(m, "count"); err != nil || c.Reply[0] != int64(2) {
		t.Errorf("count: %v, %v", c, err)
	}
	if err := h.TryLoad(New(), map[string]any{"greeting": ""}); err == nil {
		t.Error("an empty greeting is taken")
	}
}

// TestInTheEngine loads the module by name and checks a script that uses it.
func TestInTheEngine(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"sipr.lua":  "listen \"udp:127.0.0.1:5060\"\nloadmodule \"hello\"\nmodparam(\"hello\", \"greeting\", \"Servus\")\nroute \"route.lua\"\n",
		"route.lua": "function request_route()\n  greet(from.uri.user)\n  return sl_reply(200)\nend\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := lua.LoadSettings(filepath.Join(dir, "sipr.lua"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = engine.New(s, engine.Options{
		Modules: []func() core.Module{New}, Clock: clock.NewFake(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPage: the page about writing a module shows this package as it is.
func TestPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "writing-a-module.md"))
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("hello.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```go\n"+string(code)+"```\n") {
		t.Error("docs/writing-a-module.md does not show docs/example/hello/hello.go as it is: copy the file into its first block of Go")
	}
}
