package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"

	"sipr/core/sipmsg"
)

// freeze makes everything that the script made at file level read-only, and
// collects its route functions. Lua states are pooled: what a request could
// write there, another one would read.
func (st *state) freeze() {
	f := &freezer{st: st, tables: map[*glua.LTable]*glua.LTable{}, names: map[*glua.LTable]string{}, funcs: map[*glua.LFunction]bool{}}
	g := st.L.G.Global
	type pair struct{ k, v glua.LValue }
	var all []pair
	g.ForEach(func(k, v glua.LValue) { all = append(all, pair{k, v}) })
	for _, p := range all {
		name := p.k.String()
		if fn, ok := p.v.(*glua.LFunction); ok {
			if !fn.IsG {
				st.routes[name] = fn
				st.p.noteRoute(name)
			}
			f.function(fn)
			continue
		}
		if t, ok := p.v.(*glua.LTable); ok && name != "_G" {
			g.RawSet(p.k, f.table(t, name))
		}
	}
	st.thaw(f)
}

// noteRoute records a global function; the first state does it for all.
func (p *Program) noteRoute(name string) {
	if p.states.Load() == 1 && !strings.HasPrefix(name, "@") {
		p.routes[name] = true
	}
}

type freezer struct {
	st     *state
	tables map[*glua.LTable]*glua.LTable
	names  map[*glua.LTable]string // what the views were called first
	funcs  map[*glua.LFunction]bool
}

// function freezes the tables that a function sees as upvalues.
func (f *freezer) function(fn *glua.LFunction) {
	if f.funcs[fn] || fn.IsG {
		return
	}
	f.funcs[fn] = true
	for i, up := range fn.Upvalues {
		switch v := up.Value().(type) {
		case *glua.LTable:
			name := "this table"
			if i < len(fn.Proto.DbgUpvalues) {
				name = fn.Proto.DbgUpvalues[i]
			}
			up.SetValue(f.table(v, name))
		case *glua.LFunction:
			f.function(v)
		}
	}
}

// field is how a key looks behind the name of its table.
func field(k glua.LValue) string {
	s, ok := k.(glua.LString)
	switch {
	case ok && sipmsg.IsToken([]byte(s)) && len(s) < 40:
		return "." + string(s)
	case ok || k.Type() != glua.LTNumber:
		return "[…]"
	}
	return "[" + k.String() + "]"
}

// table returns the read-only view of a table, whose own tables are frozen
// too. name is what the script calls it.
func (f *freezer) table(t *glua.LTable, name string) *glua.LTable {
	if view, ok := f.tables[t]; ok {
		return view
	}
	L := f.st.L
	view := L.NewTable()
	f.tables[t] = view
	f.tables[view] = view
	f.names[view] = name
	var subs [][2]glua.LValue
	t.ForEach(func(k, v glua.LValue) {
		switch v := v.(type) {
		case *glua.LTable:
			subs = append(subs, [2]glua.LValue{k, f.table(v, name+field(k))})
		case *glua.LFunction:
			f.function(v)
		}
	})
	for _, s := range subs {
		t.RawSet(s[0], s[1])
	}
	mt := L.NewTable()
	mt.RawSetString("__index", t)
	mt.RawSetString("__metatable", glua.LString("read-only"))
	mt.RawSetString("__newindex", L.NewFunction(func(L *glua.LState) int {
		f.st.raise("%s cannot be written: %s was made when the script was loaded and is read-only; "+lasting, name+field(L.Get(2)), name)
		return 0
	}))
	mt.RawSetString("__len", L.NewFunction(func(L *glua.LState) int {
		L.Push(glua.LNumber(t.Len()))
		return 1
	}))
	view.Metatable = mt
	return view
}

// thaw replaces the library functions that look into tables past metatables,
// so that they see a read-only table's content and refuse to change it.
func (st *state) thaw(f *freezer) {
	inner := map[*glua.LTable]*glua.LTable{}
	for t, view := range f.tables {
		if t != view {
			inner[view] = t
		}
	}
	if len(inner) == 0 {
		return
	}
	L := st.L
	read := func(env *glua.LTable, name string) {
		fn := env.RawGetString(name).(*glua.LFunction)
		g := fn.GFunction
		fn.GFunction = func(L *glua.LState) int {
			if t, ok := L.Get(1).(*glua.LTable); ok {
				if in := inner[t]; in != nil {
					L.Replace(1, in)
				}
			}
			return g(L)
		}
	}
	for _, name := range []string{"pairs", "ipairs", "next", "unpack"} {
		read(L.G.Global, name)
	}
	lib := L.G.Global.RawGetString("table").(*glua.LTable)
	if in := inner[lib]; in != nil {
		lib = in
	}
	read(lib, "concat")
	read(lib, "maxn")
	for _, name := range []string{"insert", "remove", "sort"} {
		fn := lib.RawGetString(name).(*glua.LFunction)
		g := fn.GFunction
		fn.GFunction = func(L *glua.LState) int {
			if t, ok := L.Get(1).(*glua.LTable); ok && inner[t] != nil {
				st.raise("table.%s: %s was made when the script was loaded and is read-only; "+lasting, name, f.names[t])
			}
			return g(L)
		}
	}
}
