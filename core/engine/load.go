package engine

import (
	"errors"
	"fmt"

	"sipr/core"
	"sipr/lua"
)

// loadModules makes a value of each module that the settings name, and of the
// engine's own.
func (e *Engine) loadModules() error {
	known := map[string]func() core.Module{}
	var names []string
	for _, f := range e.opts.Modules {
		spec := f().Describe()
		for _, n := range append([]string{spec.Name}, spec.Also...) {
			known[n] = f
			names = append(names, n)
		}
	}
	own := &coreModule{e: e}
	if err := e.add(own, own.Describe(), lua.Pos{}); err != nil {
		return err
	}
	for _, s := range e.settings.Modules {
		if e.byName[s.Name] != nil {
			continue // named twice, or a part of one that is there
		}
		f := known[s.Name]
		if f == nil {
			return s.Errorf("there is no module %s%s", s.Name, lua.Suggest(s.Name, names))
		}
		m := f()
		if err := e.add(m, m.Describe(), s.Pos); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) add(m core.Module, spec core.Spec, pos lua.Pos) error {
	l := &loaded{e: e, module: m, spec: spec, pos: pos}
	e.loaded = append(e.loaded, l)
	for _, n := range append([]string{spec.Name}, spec.Also...) {
		e.byName[n] = l
	}
	return nil
}

// setParams gives every modparam to its module.
func (e *Engine) setParams() error {
	for _, s := range e.settings.Params {
		l := e.byName[s.Module]
		if l == nil {
			return s.Errorf("modparam: module %s is not loaded; loadmodule %q comes first", s.Module, s.Module)
		}
		var p *core.Param
		var names []string
		for i := range l.spec.Params {
			names = append(names, l.spec.Params[i].Name)
			if l.spec.Params[i].Name == s.Name {
				p = &l.spec.Params[i]
			}
		}
		if p == nil {
			return s.Errorf("module %s has no parameter %s%s", l.spec.Name, s.Name, lua.Suggest(s.Name, names))
		}
		if err := p.Set(s.Value); err != nil {
			return s.Errorf("%s: %s", s.Name, err)
		}
	}
	return nil
}

// sortModules orders the modules so that each comes after what it needs and
// wants.
func (e *Engine) sortModules() error {
	var order []*loaded
	state := map[*loaded]int{} // 1: being placed, 2: placed
	var place func(l *loaded) error
	place = func(l *loaded) error {
		switch state[l] {
		case 1:
			return l.pos.Errorf("modules need each other in a circle through %s", l.spec.Name)
		case 2:
			return nil
		}
		state[l] = 1
		for _, n := range l.spec.Needs {
			dep := e.byName[n]
			if dep == nil {
				return l.pos.Errorf("module %s needs module %s: add loadmodule %q", l.spec.Name, n, n)
			}
			if err := place(dep); err != nil {
				return err
			}
		}
		for _, n := range l.spec.Wants {
			if dep := e.byName[n]; dep != nil && state[dep] != 1 {
				if err := place(dep); err != nil {
					return err
				}
			}
		}
		state[l] = 2
		order = append(order, l)
		return nil
	}
	for _, l := range e.loaded {
		if err := place(l); err != nil {
			return err
		}
	}
	e.loaded = order
	return nil
}

func (e *Engine) configure() error {
	e.binding = lua.NewBinding()
	e.binding.Shared = lua.NewShared(e.clock, e.params.sharedEntries)
	e.binding.Log = func(line string) { e.log.Info("script", "line", line) }
	for _, l := range e.loaded {
		if c, ok := l.module.(core.Configurer); ok {
			if err := c.Configure(&host{l}); err != nil {
				return l.pos.Errorf("module %s: %s", l.spec.Name, err)
			}
		}
		if err := e.binding.Add(l.spec.Name, l.spec.Exports); err != nil {
			return l.pos.Errorf("%s", err)
		}
		for _, c := range l.spec.Commands {
			if err := e.control.Add(l.spec.Name, c); err != nil {
				return l.pos.Errorf("%s", err)
			}
		}
	}
	return nil
}

func (e *Engine) compile() (*lua.Program, error) {
	s := e.settings
	if s.Route == "" {
		return nil, fmt.Errorf("%s: there is no routing script: add route \"route.lua\"", s.File)
	}
	p, err := lua.Compile(e.path(s.Route), e.binding, lua.Options{Budget: e.params.budget, MaxStates: e.params.maxScripts})
	var pos *lua.Error
	if err != nil && !errors.As(err, &pos) {
		return nil, s.RoutePos.Errorf("route: %s", err)
	}
	return p, err
}
