package engine

import (
	"context"
	"fmt"
	"strings"

	"sipr/core"
	"sipr/lua"
)

func (m *coreModule) cfgCommands() []core.Command {
	set := "Changes a parameter until the router stops; 403 if that needs a restart."
	return []core.Command{
		{Name: "cfg.list", Args: "[module]", Doc: "Shows the parameters of all modules, or of one, with their values; secrets as ***.", Run: m.cmdCfgList},
		{Name: "cfg.get", Args: "<module> [parameter]", Doc: "Shows the value of a parameter, or of all of a module.", Run: m.cmdCfgGet},
		{Name: "cfg.set", Args: "<module> <parameter> <value>", Doc: set, Run: m.cmdCfgSet},
		{Name: "cfg.seti", Args: "<module> <parameter> <number>", Doc: "cfg.set under Kamailio's name for numbers.", Run: m.cmdCfgSet},
		{Name: "cfg.sets", Args: "<module> <parameter> <text>", Doc: "cfg.set under Kamailio's name for text.", Run: m.cmdCfgSet},
		{Name: "cfg.help", Args: "<module> <parameter>", Doc: "Tells what a parameter is for, its type and default, and whether cfg.set can change it.", Run: m.cmdCfgHelp},
	}
}

// module returns the loaded module that a command names.
func (m *coreModule) module(name string) (*loaded, error) {
	l := m.e.byName[name]
	if l == nil {
		names := make([]string, 0, len(m.e.byName))
		for n := range m.e.byName {
			names = append(names, n)
		}
		return nil, &core.Fault{Code: 404, Reason: fmt.Sprintf("module %s is not loaded%s", name, lua.Suggest(name, names))}
	}
	return l, nil
}

// cfgName reads the names at the begin of a command's parameters: "tm fr_timer"
// or "tm.fr_timer"; parameter is "" if there is none. rest is what follows.
func (m *coreModule) cfgName(c *core.Call) (l *loaded, parameter string, rest []any, err error) {
	module, rest := c.String(0), c.Params[min(1, len(c.Params)):]
	if module == "" {
		return nil, "", nil, &core.Fault{Code: 400, Reason: "the name of a module is expected"}
	}
	module, parameter, dotted := strings.Cut(module, ".")
	if !dotted {
		parameter = c.String(1)
		rest = rest[min(1, len(rest)):]
	}
	l, err = m.module(module)
	return l, parameter, rest, err
}

func (l *loaded) param(name string) (*core.Param, error) {
	var names []string
	for i := range l.spec.Params {
		if p := &l.spec.Params[i]; p.Name == name {
			return p, nil
		}
		names = append(names, l.spec.Params[i].Name)
	}
	if name == "" {
		return nil, &core.Fault{Code: 400, Reason: "the name of a parameter is expected"}
	}
	return nil, &core.Fault{Code: 404, Reason: fmt.Sprintf("module %s has no parameter %s%s", l.spec.Name, name, lua.Suggest(name, names))}
}

func (m *coreModule) cmdCfgList(_ context.Context, c *core.Call) error {
	list := m.e.loaded
	if name := c.String(0); name != "" {
		l, err := m.module(strings.TrimSuffix(name, "."))
		if err != nil {
			return err
		}
		list = []*loaded{l}
	}
	s := c.Struct()
	for _, l := range list {
		for i := range l.spec.Params {
			p := &l.spec.Params[i]
			s.Add(l.spec.Name+"."+p.Name, p.Get())
		}
	}
	return nil
}

func (m *coreModule) cmdCfgGet(_ context.Context, c *core.Call) error {
	l, name, _, err := m.cfgName(c)
	if err != nil {
		return err
	}
	if name == "" {
		s := c.Struct()
		for i := range l.spec.Params {
			s.Add(l.spec.Params[i].Name, l.spec.Params[i].Get())
		}
		return nil
	}
	p, err := l.param(name)
	if err != nil {
		return err
	}
	c.Add(p.Get())
	return nil
}

func (m *coreModule) cmdCfgSet(_ context.Context, c *core.Call) error {
	l, name, rest, err := m.cfgName(c)
	if err != nil {
		return err
	}
	p, err := l.param(name)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return &core.Fault{Code: 400, Reason: "one value is expected"}
	}
	if !p.Live {
		return &core.Fault{Code: 403, Reason: fmt.Sprintf("parameter %s.%s needs a restart: change it in the settings", l.spec.Name, name)}
	}
	value := rest[0]
	if f, ok := value.(float64); ok { // what only text can say, such as 1.5
		value = fmt.Sprint(f)
	}
	m.e.cfg.Lock() // a check may read what another call sets
	defer m.e.cfg.Unlock()
	was := p.Get()
	if err := p.Set(value); err != nil {
		return &core.Fault{Code: 400, Reason: fmt.Sprintf("%s.%s: %s", l.spec.Name, name, err)}
	}
	m.e.log.Warn("parameter changed until the next start", "parameter", l.spec.Name+"."+name, "was", was, "value", p.Get())
	c.Add(p.Get())
	return nil
}

func (m *coreModule) cmdCfgHelp(_ context.Context, c *core.Call) error {
	l, name, _, err := m.cfgName(c)
	if err != nil {
		return err
	}
	p, err := l.param(name)
	if err != nil {
		return err
	}
	change := "needs a restart"
	if p.Live {
		change = "cfg.set"
	}
	c.Struct().Add("parameter", l.spec.Name+"."+p.Name).Add("type", p.Type).Add("default", p.Default).
		Add("value", p.Get()).Add("change", change).Add("description", p.Doc)
	return nil
}
