package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// freeze makes everything that the script made at file level read-only, and
// collects its route functions. Lua states are pooled: what a request could
// write there, another one would read.
func (st *state) freeze() {
	f := &freezer{st: st, tables: map[*glua.LTable]*glua.LTable{}, funcs: map[*glua.LFunction]bool{}}
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
			g.RawSet(p.k, f.table(t))
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
	funcs  map[*glua.LFunction]bool
}

// function freezes the tables that a function sees as upvalues.
func (f *freezer) function(fn *glua.LFunction) {
	if f.funcs[fn] || fn.IsG {
		return
	}
	f.funcs[fn] = true
	for _, up := range fn.Upvalues {
		switch v := up.Value().(type) {
		case *glua.LTable:
			up.SetValue(f.table(v))
		case *glua.LFunction:
			f.function(v)
		}
	}
}

// table returns the read-only view of a table, whose own tables are frozen
// too.
func (f *freezer) table(t *glua.LTable) *glua.LTable {
	if view, ok := f.tables[t]; ok {
		return view
	}
	L := f.st.L
	view := L.NewTable()
	f.tables[t] = view
	f.tables[view] = view
	var subs [][2]glua.LValue
	t.ForEach(func(k, v glua.LValue) {
		switch v := v.(type) {
		case *glua.LTable:
			subs = append(subs, [2]glua.LValue{k, f.table(v)})
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
		f.st.raise("this table was made when the script was loaded and is read-only; use shared for data that lasts")
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
				st.raise("this table was made when the script was loaded and is read-only")
			}
			return g(L)
		}
	}
}
