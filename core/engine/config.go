package engine

import (
	"strconv"

	"sipr/core"
)

var _ core.Config = (*Engine)(nil)

// Config implements core.Config.
func (e *Engine) Config(module, name string) core.Value {
	l := e.byName[module]
	if l == nil {
		return core.Value{}
	}
	p, err := l.param(name)
	if err != nil {
		return core.Value{}
	}
	text := p.Get()
	if text == "***" { // a secret
		return core.Value{}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && p.Type != "string" {
		return core.IntValue(n)
	}
	return core.TextValue(text)
}
