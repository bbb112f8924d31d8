// Package hello is a complete module: it greets callers and counts them.
package hello

import (
	"context"
	"errors"

	"sipr/core"
)

// Module is the state of one router's hello.
type Module struct {
	greeting string
	max      int

	greeted *core.Counter
}

var _ core.Configurer = (*Module)(nil)

// New returns the module with its defaults.
func New() core.Module { return &Module{greeting: "Hello", max: 1000} }

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:    "hello",
		Summary: "Greets callers.",
		Params: []core.Param{
			core.StringParam(&m.greeting, "greeting", "what callers are greeted with", notEmpty),
			core.IntParam(&m.max, "max", "how many are greeted", core.Between(1, 1_000_000)),
		},
		Exports: []core.Export{
			core.Func("greet", m.greet, "Adds a greeting to this router's responses. False (enough) once max were greeted.",
				core.Text("name", `whom to greet, such as "@from.uri.user"`)).In(core.RequestRoute),
		},
		Commands: []core.Command{{Name: "count", Doc: "how many were greeted", Run: m.cmdCount}},
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.greeted = h.Counter("greeted")
	return nil
}

func notEmpty(s string) error {
	if s == "" {
		return errors.New("a greeting is expected")
	}
	return nil
}

func (m *Module) greet(r *core.Request, a *core.Args) core.Result {
	if m.greeted.Add(1) > int64(m.max) {
		return core.False("enough")
	}
	r.AddReplyHeader([]byte("X-Greeting"), []byte(m.greeting+" "+a.String(0)))
	return core.True
}

func (m *Module) cmdCount(_ context.Context, c *core.Call) error {
	c.Add(m.greeted.Load())
	return nil
}
