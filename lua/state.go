package lua

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"sipr/core"
)

// state is one Lua state with the script loaded. It runs one request at a time.
type state struct {
	p      *Program
	L      *glua.LState
	routes map[string]*glua.LFunction
	req    *core.Request // the request of the run in progress
	args   core.Args
	budget int
	stop   bool
	method glua.LValue // the present value of the global method
	interned
}

// stopRun is raised to end a run: by drop and exit, or out of budget.
type stopRun struct{ err error }

func (p *Program) newState() (*state, error) {
	p.states.Add(1)
	st := &state{p: p, routes: map[string]*glua.LFunction{}}
	st.L = glua.NewState(glua.Options{
		SkipOpenLibs: true, CallStackSize: 200, RegistrySize: 1024,
		RegistryMaxSize: 64 << 10, RegistryGrowStep: 1024,
	})
	st.interned.init()
	st.openLibs()
	st.bind()
	st.budget = p.opts.Budget
	if err := st.exec(""); err != nil {
		st.L.Close()
		p.states.Add(-1)
		return nil, err
	}
	st.freeze()
	return st, nil
}

// exec runs a chunk: the script, or a file that it requires.
func (st *state) exec(name string) error {
	L := st.L
	L.Push(L.NewFunctionFromProto(st.p.chunks[name]))
	if err := L.PCall(0, 0, nil); err != nil {
		return st.failure(err)
	}
	return nil
}

// run runs one route.
func (st *state) run(r *core.Request, route string) error {
	fn := st.routes[route]
	if fn == nil {
		return ErrNoRoute
	}
	st.req, st.budget, st.stop = r, st.p.opts.Budget, false
	L := st.L
	if m := st.bytes(r.MethodName()); m != st.method {
		st.method = m
		L.G.Global.RawSetString("method", m)
	}
	L.Push(fn)
	err := L.PCall(0, 0, nil)
	L.SetTop(0)
	st.req = nil
	if err == nil || st.stop {
		return nil
	}
	return st.failure(err)
}

// failure turns gopher-lua's error into an Error.
func (st *state) failure(err error) error {
	var ae *glua.ApiError
	if !errors.As(err, &ae) {
		return err
	}
	msg := ae.Object.String()
	if ud, ok := ae.Object.(*glua.LUserData); ok {
		if s, ok := ud.Value.(*stopRun); ok && s.err != nil {
			return s.err
		}
	}
	if ae.Object == glua.LNil && ae.Cause != nil {
		msg = ae.Cause.Error()
	}
	return parsePosition(st.p.File, msg)
}

// parsePosition splits "file:line: message".
func parsePosition(file, msg string) *Error {
	if i := strings.Index(msg, ".lua:"); i >= 0 && !strings.Contains(msg[:i], " ") {
		rest := msg[i+5:]
		if j := strings.IndexByte(rest, ':'); j > 0 {
			if line, err := strconv.Atoi(rest[:j]); err == nil {
				return &Error{msg[:i+4], line, strings.TrimSpace(rest[j+1:])}
			}
		}
	}
	return &Error{file, 0, msg}
}

// raise ends the run with an error at the script's present line.
func (st *state) raise(format string, args ...any) {
	st.L.RaiseError(format, args...)
}

// end ends the run without an error.
func (st *state) end() {
	st.stop = true
	ud := st.L.NewUserData()
	ud.Value = &stopRun{}
	st.L.Error(ud, 0)
}

// charge takes n from the budget.
func (st *state) charge(n int) {
	st.budget -= n
	if st.budget < 0 {
		st.outOfBudget()
	}
}

func (st *state) outOfBudget() {
	pos := parsePosition(st.p.File, st.L.Where(1)+" ")
	pos.Msg = fmt.Sprintf("the script used up its budget of %d steps; is there an endless loop?", st.p.opts.Budget)
	ud := st.L.NewUserData()
	ud.Value = &stopRun{err: pos}
	st.L.Error(ud, 0)
}

// interned keeps Lua values of texts that come again and again, since making
// a Lua string of bytes costs two allocations.
type interned struct {
	texts map[string]glua.LValue
	ints  [700]glua.LValue
}

const (
	maxInterned    = 4096
	maxInternedLen = 64
)

func (in *interned) init() {
	in.texts = make(map[string]glua.LValue)
	for i := range in.ints {
		in.ints[i] = glua.LNumber(i)
	}
}

func (in *interned) bytes(b []byte) glua.LValue {
	if v, ok := in.texts[string(b)]; ok {
		return v
	}
	return in.add(string(b))
}

func (in *interned) text(s string) glua.LValue {
	if v, ok := in.texts[s]; ok {
		return v
	}
	return in.add(s)
}

func (in *interned) add(s string) glua.LValue {
	v := glua.LValue(glua.LString(s))
	if len(s) <= maxInternedLen {
		if len(in.texts) >= maxInterned {
			clear(in.texts)
		}
		in.texts[s] = v
	}
	return v
}

func (in *interned) int(n int64) glua.LValue {
	if n >= 0 && n < int64(len(in.ints)) {
		return in.ints[n]
	}
	return glua.LNumber(n)
}

// value makes a Lua value.
func (in *interned) value(v core.Value) glua.LValue {
	switch v.Kind {
	case core.KindBool:
		return glua.LBool(v.Num != 0)
	case core.KindInt:
		return in.int(v.Num)
	case core.KindText:
		if v.Raw != nil {
			return in.bytes(v.Raw)
		}
		return in.text(v.Str)
	}
	return glua.LNil
}
