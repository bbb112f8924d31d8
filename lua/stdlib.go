package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// maxText bounds the texts that the library makes.
const maxText = 1 << 20

// allowed are the functions of Lua's own library that a script may use.
var allowed = map[string][]string{
	"":       {"assert", "error", "ipairs", "next", "pairs", "select", "tonumber", "tostring", "type", "unpack"},
	"table":  {"concat", "insert", "maxn", "remove", "sort"},
	"string": {"byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse", "sub", "upper"},
	"math": {"abs", "ceil", "floor", "fmod", "max", "min", "mod", "modf", "pow", "random", "sqrt", "huge", "pi",
		"log", "log10", "exp"},
}

// openLibs opens the libraries and takes away what the sandbox forbids.
func (st *state) openLibs() {
	L := st.L
	for _, lib := range []struct {
		name string
		open glua.LGFunction
	}{{glua.BaseLibName, glua.OpenBase}, {glua.TabLibName, glua.OpenTable}, {glua.StringLibName, glua.OpenString}, {glua.MathLibName, glua.OpenMath}} {
		L.Push(L.NewFunction(lib.open))
		L.Push(glua.LString(lib.name))
		L.Call(1, 0)
	}
	base := L.G.Global
	keep(base, append([]string{"table", "string", "math"}, allowed[""]...))
	for _, lib := range []string{"table", "string", "math"} {
		t := L.GetGlobal(lib).(*glua.LTable)
		keep(t, allowed[lib])
	}
	strs := L.GetGlobal("string").(*glua.LTable)
	for _, name := range []string{"find", "match", "gmatch", "gsub"} {
		st.wrap(strs, name, st.pricePattern)
	}
	st.wrap(strs, "rep", func(L *glua.LState) {
		n := len(L.CheckString(1)) * max(L.CheckInt(2), 0)
		if n > maxText {
			st.raise("a text of %d bytes is too long", n)
		}
		st.charge(n / 64)
	})
	st.wrap(strs, "format", func(L *glua.LState) {
		f := L.CheckString(1)
		if strings.ContainsAny(f, "0123456789") && wideFormat(f) {
			st.raise("format: widths above 99 are not allowed")
		}
		for i := 2; i <= L.GetTop(); i++ {
			if s, ok := L.Get(i).(glua.LString); ok {
				st.charge(len(s) / 64)
			}
		}
	})
	// A string's methods (s:find) go by the string type's metatable.
	if mt, ok := L.GetMetatable(glua.LString("")).(*glua.LTable); ok {
		mt.RawSetString("__index", strs)
	}
	tabs := L.GetGlobal("table").(*glua.LTable)
	for _, name := range []string{"concat", "sort"} {
		st.wrap(tabs, name, func(L *glua.LState) { st.charge(L.CheckTable(1).Len()) })
	}
	L.SetGlobal("print", L.NewFunction(st.print))
	L.SetGlobal("try", L.NewFunction(st.try))
	L.SetGlobal("strempty", L.NewFunction(func(L *glua.LState) int {
		v := L.Get(1)
		L.Push(glua.LBool(v == glua.LNil || v == glua.LString("")))
		return 1
	}))
	L.SetGlobal("defined", L.NewFunction(func(L *glua.LState) int {
		L.Push(glua.LBool(L.Get(1) != glua.LNil))
		return 1
	}))
	L.SetGlobal("strlen", L.NewFunction(func(L *glua.LState) int {
		n := 0
		if v := L.Get(1); v != glua.LNil {
			n = len(v.String())
		}
		L.Push(st.int(int64(n)))
		return 1
	}))
	L.SetGlobal("require", L.NewFunction(st.require))
	st.bindShared()
	for _, lib := range []string{"table", "string", "math", "shared"} {
		t, ok := L.GetGlobal(lib).(*glua.LTable)
		if !ok {
			continue
		}
		t.ForEach(func(k, v glua.LValue) { L.SetGlobal(hiddenLib+lib+"."+k.String(), v) })
	}
}

func keep(t *glua.LTable, names []string) {
	ok := map[string]bool{}
	for _, n := range names {
		ok[n] = true
	}
	var gone []glua.LValue
	t.ForEach(func(k, _ glua.LValue) {
		if !ok[k.String()] {
			gone = append(gone, k)
		}
	})
	for _, k := range gone {
		t.RawSet(k, glua.LNil)
	}
}

// wrap runs price before a library function.
func (st *state) wrap(t *glua.LTable, name string, price func(*glua.LState)) {
	fn := t.RawGetString(name).(*glua.LFunction)
	inner := fn.GFunction
	if inner == nil {
		return
	}
	env := fn.Env
	ups := fn.Upvalues
	w := st.L.NewFunction(func(L *glua.LState) int {
		price(L)
		return inner(L)
	})
	w.Env, w.Upvalues = env, ups
	t.RawSetString(name, w)
}

// pricePattern charges a pattern search by what it may cost at worst: each
// repetition may look at the whole text again.
func (st *state) pricePattern(L *glua.LState) {
	text, pattern := L.CheckString(1), L.CheckString(2)
	cost := len(text)/64 + 1
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '%':
			i++
		case '*', '+', '-':
			cost *= len(text)/16 + 1
			if cost > 1<<30 {
				cost = 1 << 30
			}
		}
	}
	st.charge(cost)
}

// wideFormat tells whether a format has a width or precision above 99.
func wideFormat(f string) bool {
	digits := 0
	for i := 0; i < len(f); i++ {
		if f[i] >= '0' && f[i] <= '9' {
			if digits++; digits > 2 {
				return true
			}
			continue
		}
		digits = 0
	}
	return false
}

func (st *state) print(L *glua.LState) int {
	var b strings.Builder
	for i := 1; i <= L.GetTop(); i++ {
		if i > 1 {
			b.WriteByte('\t')
		}
		b.WriteString(L.Get(i).String())
	}
	st.p.binding.Log(b.String())
	return 0
}

// try calls a function and returns its results, or nil and the message of the
// error that it raised. Running out of budget, drop and exit are not caught.
func (st *state) try(L *glua.LState) int {
	n := L.GetTop()
	if n == 0 {
		st.raise("try needs a function")
	}
	err := L.PCall(n-1, glua.MultRet, nil)
	if err == nil {
		return L.GetTop()
	}
	if ae, ok := err.(*glua.ApiError); ok {
		if ud, ok := ae.Object.(*glua.LUserData); ok {
			if _, ok := ud.Value.(*stopRun); ok {
				L.Error(ud, 0)
			}
		}
	}
	L.SetTop(0)
	L.Push(glua.LNil)
	L.Push(glua.LString(st.failure(err).Error()))
	return 2
}

// require runs a file of the script's folder once for each state.
func (st *state) require(L *glua.LState) int {
	name := L.CheckString(1)
	key := "@module:" + name
	if v := L.GetGlobal(key); v != glua.LNil {
		L.Push(v)
		return 1
	}
	proto := st.p.chunks[name]
	if proto == nil {
		st.raise("require %q: only file-level code may require, with a literal name", name)
	}
	L.Push(L.NewFunctionFromProto(proto))
	L.Call(0, 1)
	v := L.Get(-1)
	if v == glua.LNil {
		v = glua.LTrue
		L.Pop(1)
		L.Push(v)
	}
	L.SetGlobal(key, v)
	return 1
}
