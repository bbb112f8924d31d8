package attrs

import (
	"context"
	"fmt"

	"sipr/core"
)

func (m *Module) commands() []core.Command {
	list := []core.Command{
		{Name: "reload", Doc: "Reads global attributes and types anew and forgets what is remembered of users and addresses.", Run: m.cmdReload},
		{Name: "flush", Args: "[uid]", Doc: "Forgets what is remembered of a user, or of all users and addresses.", Run: m.cmdFlush},
		{Name: "global.reload", Doc: "Reads global attributes anew.", Run: m.cmdGlobalReload},
		{Name: "global.dump", Doc: "Lists the global attributes that requests see.", Run: m.cmdGlobalDump},
		{Name: "gflags.set", Args: "<n>", Doc: "Sets a global flag, 0 to 31.", Run: m.cmdGFlag(func(bit uint32) { m.gflags.Or(bit) })},
		{Name: "gflags.reset", Args: "<n>", Doc: "Clears a global flag.", Run: m.cmdGFlag(func(bit uint32) { m.gflags.And(^bit) })},
		{Name: "gflags.is_set", Args: "<n>", Doc: "Tells whether a global flag is set: 1 or 0.", Run: m.cmdGFlagIsSet},
		{Name: "gflags.dump", Doc: "Shows the global flags as one number.", Run: m.cmdGFlagDump},
	}
	for _, o := range m.owners() {
		list = append(list,
			core.Command{Name: o.kind + "_list", Args: o.usage, Doc: "Lists the attributes of " + o.what + " in the database.", Run: m.cmdList(o)},
			core.Command{Name: o.kind + "_set", Args: join(o.usage, "<name> <value>"), Doc: "Gives an attribute of " + o.what + " one value in place of those that it has.", Run: m.cmdWrite(o, true)},
			core.Command{Name: o.kind + "_add", Args: join(o.usage, "<name> <value>"), Doc: "Gives an attribute of " + o.what + " one more value.", Run: m.cmdWrite(o, false)},
			core.Command{Name: o.kind + "_rm", Args: join(o.usage, "<name> [value]"), Doc: "Removes an attribute of " + o.what + ", or one value of it.", Run: m.cmdRemove(o)},
		)
	}
	return list
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// owner is whose attributes a command works on.
type owner struct {
	kind, usage, what string
	params            int
	table             func() *table
	// keys makes the values of the table's key columns of the parameters.
	keys func(c *core.Call) []any
	// changed is called after a change.
	changed func(ctx context.Context, keys []any) error
}

func (m *Module) owners() []owner {
	return []owner{
		{"user", "<uid>", "a user", 1, func() *table { return m.store.user },
			func(c *core.Call) []any { return []any{c.String(0)} },
			func(_ context.Context, k []any) error { m.Forget(k[0].(string)); return nil }},
		{"uri", "<did> <user name>", "an address", 2, func() *table { return m.store.uri },
			func(c *core.Call) []any { return []any{c.String(0), c.String(1), "sip"} },
			func(_ context.Context, k []any) error {
				m.cache.forget(string(uriKey) + k[0].(string) + "\x00" + k[1].(string))
				return nil
			}},
		{"global", "", "the router", 0, func() *table { return m.store.global },
			func(*core.Call) []any { return nil },
			func(ctx context.Context, _ []any) error { return m.reloadGlobal(ctx) }},
	}
}

// prepare checks that a call has at least min parameters, none of them empty
// but the value, and that the table is in use.
func (o *owner) prepare(c *core.Call, min int) (*table, error) {
	t := o.table()
	if t == nil {
		return nil, &core.Fault{Code: 400, Reason: "the table of these attributes is switched off"}
	}
	if len(c.Params) < min {
		return nil, &core.Fault{Code: 400, Reason: fmt.Sprintf("%d parameters are expected", min)}
	}
	for i := range o.params {
		if c.String(i) == "" {
			return nil, &core.Fault{Code: 400, Reason: "an empty parameter"}
		}
	}
	if len(c.Params) > o.params && !core.ValidAttrName(c.String(o.params)) {
		return nil, &core.Fault{Code: 400, Reason: fmt.Sprintf("%q cannot be the name of an attribute", c.String(o.params))}
	}
	return t, nil
}

func (m *Module) cmdList(o owner) func(context.Context, *core.Call) error {
	return func(ctx context.Context, c *core.Call) error {
		t, err := o.prepare(c, o.params)
		if err != nil {
			return err
		}
		list, err := t.read(ctx, o.keys(c)...)
		addAttrs(c, list)
		return err
	}
}

func (m *Module) cmdWrite(o owner, replace bool) func(context.Context, *core.Call) error {
	return func(ctx context.Context, c *core.Call) error {
		t, err := o.prepare(c, o.params+2)
		if err != nil {
			return err
		}
		name, value := c.String(o.params), c.String(o.params+1)
		if name == t.owner {
			return &core.Fault{Code: 400, Reason: name + " is no attribute that can be set"}
		}
		typ, known := m.types.Load().of(name)
		if err := typ.check(name, value); err != nil {
			return err
		}
		if known && !typ.multi && !replace {
			return &core.Fault{Code: 400, Reason: name + " has one value only: use " + o.kind + "_set"}
		}
		keys := o.keys(c)
		if err := t.write(ctx, keys, name, typ.raw, value, typ.flags|flagLoad, replace); err != nil {
			return err
		}
		return o.changed(ctx, keys)
	}
}

func (m *Module) cmdRemove(o owner) func(context.Context, *core.Call) error {
	return func(ctx context.Context, c *core.Call) error {
		t, err := o.prepare(c, o.params+1)
		if err != nil {
			return err
		}
		var value *string
		if len(c.Params) > o.params+1 {
			v := c.String(o.params + 1)
			value = &v
		}
		keys := o.keys(c)
		n, err := t.delete(ctx, keys, c.String(o.params), value)
		if err != nil {
			return err
		}
		c.Struct().Add("removed", n)
		return o.changed(ctx, keys)
	}
}

// addAttrs adds attributes to a reply: each with its name and its value.
func addAttrs(c *core.Call, list []core.Attr) {
	for _, a := range list {
		s := c.Struct().Add("name", a.Name)
		if a.Value.Kind == core.KindInt {
			s.Add("value", a.Value.Num)
		} else {
			s.Add("value", a.Value.Str)
		}
	}
}

func (m *Module) cmdReload(ctx context.Context, _ *core.Call) error {
	return reloadFault(m.Reload(ctx))
}

func (m *Module) cmdGlobalReload(ctx context.Context, _ *core.Call) error {
	return reloadFault(m.reloadGlobal(ctx))
}

func reloadFault(err error) error {
	if err != nil {
		return &core.Fault{Code: 400, Reason: "Attributes Reload Failed: " + err.Error()}
	}
	return nil
}

func (m *Module) cmdFlush(_ context.Context, c *core.Call) error {
	var n int
	if uid := c.String(0); uid != "" {
		n = m.cache.forget(string(userKey) + uid)
	} else {
		n = m.cache.flush()
	}
	c.Struct().Add("forgotten", int64(n))
	return nil
}

func (m *Module) cmdGlobalDump(_ context.Context, c *core.Call) error {
	addAttrs(c, m.global.Load().All())
	return nil
}

func gflagParam(c *core.Call) (uint32, error) {
	n := c.Int(0, -1)
	if n < 0 || n > 31 {
		return 0, &core.Fault{Code: 400, Reason: "a global flag from 0 to 31 is expected"}
	}
	return 1 << n, nil
}

func (m *Module) cmdGFlag(change func(bit uint32)) func(context.Context, *core.Call) error {
	return func(_ context.Context, c *core.Call) error {
		bit, err := gflagParam(c)
		if err == nil {
			change(bit)
		}
		return err
	}
}

func (m *Module) cmdGFlagIsSet(_ context.Context, c *core.Call) error {
	bit, err := gflagParam(c)
	if err != nil {
		return err
	}
	c.Add(core.BoolValue(m.gflags.Load()&bit != 0).Num)
	return nil
}

func (m *Module) cmdGFlagDump(_ context.Context, c *core.Call) error {
	c.Add(int64(m.gflags.Load()))
	return nil
}
