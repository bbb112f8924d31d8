package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"

	"sipr/core"
)

// constant is a select or an attribute that the script names literally. Its
// getter reads it, its setter (if it may be written) writes it.
type constant struct {
	sel core.Select
	ref *core.AttrRef
	set func(r *core.Request, v core.Value) error
}

func (c *constant) get(r *core.Request) core.Value {
	if c.ref != nil {
		v, _ := r.Attrs.Get(c.ref)
		return v
	}
	return c.sel(r)
}

// Hidden globals carry what the rewriter puts into a script; no script can
// spell their names.
const (
	hiddenGet    = "@get:"   // a function that returns a constant's value
	hiddenSet    = "@set:"   // a function that writes it
	hiddenArg    = "@arg:"   // the constant as an argument
	hiddenTick   = "@tick"   // charges the budget
	hiddenConcat = "@concat" // the .. operator inside loops
	hiddenHeader = "@header" // the value of a header field by name
	hiddenLib    = "@lib:"   // a function of a library table
	hiddenLocal  = "@local:" // a local that holds one of these, or an export
)

// bind makes the exports and constants of the program known to the state.
func (st *state) bind() {
	L := st.L
	modules := map[string]*glua.LTable{}
	for name, e := range st.p.binding.funcs {
		fn := L.NewFunction(st.caller(e))
		if module, short, ok := strings.Cut(name, "."); ok {
			if modules[module] == nil {
				modules[module] = L.NewTable()
			}
			modules[module].RawSetString(short, fn)
			continue
		}
		L.SetGlobal(name, fn)
	}
	for module, t := range modules {
		if L.GetGlobal(module) == glua.LNil {
			L.SetGlobal(module, t)
		}
	}
	for name, c := range st.p.consts {
		ud := L.NewUserData()
		ud.Value = c
		L.SetGlobal(hiddenArg+name, ud)
		L.SetGlobal(hiddenGet+name, L.NewFunction(st.getter(c)))
		if c.set != nil {
			L.SetGlobal(hiddenSet+name, L.NewFunction(st.setter(c)))
		}
	}
	L.SetGlobal(hiddenTick, L.NewFunction(func(L *glua.LState) int {
		st.charge(int(L.Get(1).(glua.LNumber)))
		return 0
	}))
	L.SetGlobal(hiddenHeader, L.NewFunction(st.header))
	L.SetGlobal(hiddenConcat, L.NewFunction(func(L *glua.LState) int {
		a, b := L.Get(1), L.Get(2)
		if !joinable(a) || !joinable(b) {
			st.raise("attempt to concatenate a %s value", kindOf(a, b))
		}
		s := a.String() + b.String()
		st.charge(len(s) / 64)
		if len(s) > maxText {
			st.raise("a text of %d bytes is too long", len(s))
		}
		L.Push(glua.LString(s))
		return 1
	}))
}

// header returns the value of the header field that its argument names.
func (st *state) header(L *glua.LState) int {
	name := L.CheckString(1)
	if st.req == nil {
		st.raise("the message cannot be read while the script is loaded: there is none")
	}
	m := st.req.Message()
	i := m.Find(name, 0)
	if i < 0 {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(st.bytes(m.Value(i)))
	return 1
}

func joinable(v glua.LValue) bool {
	return v.Type() == glua.LTString || v.Type() == glua.LTNumber
}

func kindOf(a, b glua.LValue) string {
	if joinable(a) {
		return b.Type().String()
	}
	return a.Type().String()
}

func (st *state) getter(c *constant) glua.LGFunction {
	return func(L *glua.LState) int {
		if st.req == nil {
			st.raise("the message cannot be read while the script is loaded: there is none")
		}
		if c.ref != nil && c.ref.All {
			L.Push(st.table(c.ref))
			return 1
		}
		L.Push(st.value(c.get(st.req)))
		return 1
	}
}

// table makes a table of the values of an attribute, the oldest first.
func (st *state) table(ref *core.AttrRef) *glua.LTable {
	var buf [16]core.Value
	values := st.req.Attrs.Values(buf[:0], ref)
	st.charge(len(values))
	t := st.L.CreateTable(len(values), 0)
	for _, v := range values {
		t.Append(st.value(v))
	}
	return t
}

func (st *state) setter(c *constant) glua.LGFunction {
	return func(L *glua.LState) int {
		if st.req != nil && st.req.Route == core.ResponseRoute {
			st.raise("reply_route has no request that could be changed")
		}
		v, ok := toValue(L.Get(1))
		if !ok {
			st.raise("a text, a number or nil is expected, not a %s", L.Get(1).Type())
		}
		if err := c.set(st.req, v); err != nil {
			st.raise("%s", err.Error())
		}
		return 0
	}
}

// toValue makes a core.Value of a Lua value; tables and functions have none.
func toValue(v glua.LValue) (core.Value, bool) {
	switch v := v.(type) {
	case glua.LString:
		return core.TextValue(string(v)), true
	case glua.LNumber:
		return core.IntValue(int64(v)), true
	case glua.LBool:
		return core.BoolValue(bool(v)), true
	case *glua.LNilType:
		return core.Value{}, true
	}
	return core.Value{}, false
}

// caller makes the Lua function of an export.
func (st *state) caller(e *core.Export) glua.LGFunction {
	required := 0
	for _, a := range e.Args {
		if !a.Optional {
			required++
		}
	}
	checked := new([core.MaxArgs]string)
	return func(L *glua.LState) int {
		r := st.req
		if r == nil {
			st.raise("%s cannot be called while the script is loaded: there is no request", e.Name)
		}
		if e.Routes&r.Route == 0 {
			st.raise("%s may not be called from %s", e.Name, routeName(r.Route))
		}
		n := L.GetTop()
		if n < required || n > len(e.Args) {
			st.raise("%s", arity(e, n))
		}
		st.args.Reset()
		for i := 0; i < n; i++ {
			st.pushArg(e, i, L.Get(i+1), r, checked)
		}
		res := e.Fn(r, &st.args)
		if res.Err != nil {
			st.raise("%s: %s", e.Name, res.Err.Error())
		}
		if res.Stop {
			st.end()
		}
		if res.Value.Kind == core.KindNil && res.Why == "" {
			return 0
		}
		L.Push(st.value(res.Value))
		if res.Why == "" {
			return 1
		}
		L.Push(st.text(res.Why))
		return 2
	}
}

// pushArg checks and adds an argument. checked holds the texts that the
// arguments' own checks have passed last, most of which are literals.
func (st *state) pushArg(e *core.Export, i int, v glua.LValue, r *core.Request, checked *[core.MaxArgs]string) {
	kind := e.Args[i].Kind
	if ud, ok := v.(*glua.LUserData); ok {
		if c, ok := ud.Value.(*constant); ok {
			st.args.Push(c.get(r))
			return
		}
	}
	val, ok := toValue(v)
	if !ok {
		st.raise("argument %d (%s) of %s: a %s is expected, not a %s", i+1, e.Args[i].Name, e.Name, kindName(kind), v.Type())
	}
	switch {
	case val.Kind == core.KindNil:
	case kind == core.ArgInt:
		n, ok := val.Int()
		if !ok || val.Kind == core.KindBool {
			st.raise("argument %d (%s) of %s: a number is expected, not %q", i+1, e.Args[i].Name, e.Name, val.String())
		}
		val = core.IntValue(n)
	case kind == core.ArgBool:
		val = core.BoolValue(glua.LVAsBool(v))
	case kind != core.ArgText && val.Kind == core.KindBool:
		st.raise("argument %d (%s) of %s: a %s is expected, not a boolean", i+1, e.Args[i].Name, e.Name, kindName(kind))
	}
	if kind == core.ArgRoute && val.Kind == core.KindText && !st.p.Has(val.Str) && val.Str != "" {
		st.raise("argument %d of %s: the script has no function %q", i+1, e.Name, val.Str)
	}
	if check := e.Args[i].Check; check != nil && val.Kind == core.KindText && kind != core.ArgText && val.Str != checked[i] {
		checked[i] = val.Str
		if err := check(val.Str); err != nil {
			checked[i] = ""
			st.raise("argument %d (%s) of %s: %s", i+1, e.Args[i].Name, e.Name, err.Error())
		}
	}
	st.args.Push(val)
}

func kindName(k core.ArgKind) string {
	switch k {
	case core.ArgInt:
		return "number"
	case core.ArgBool:
		return "boolean"
	case core.ArgRoute:
		return "name of a route function"
	case core.ArgAttr:
		return "attribute name"
	}
	return "text"
}

func routeName(k core.RouteKind) string {
	switch k {
	case core.RequestRoute:
		return "a request route"
	case core.FailureRoute:
		return "a failure route"
	case core.BranchRoute:
		return "a branch route"
	case core.ReplyRoute:
		return "a reply route"
	case core.ResponseRoute:
		return ReplyRoute
	}
	return "this route"
}
