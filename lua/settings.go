package lua

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// Pos is a place in a settings file.
type Pos struct {
	File string
	Line int
}

// Errorf makes an Error at the position.
func (p Pos) Errorf(format string, args ...any) error {
	return &Error{p.File, p.Line, fmt.Sprintf(format, args...)}
}

// Settings is what a settings file says, in the order in which it says it.
type Settings struct {
	// File is the file's absolute name; relative names in it are relative to
	// its folder.
	File    string
	Listen  []ListenSetting
	Modules []ModuleSetting
	Params  []ParamSetting
	// Route is the name of the routing script, as written.
	Route    string
	RoutePos Pos
}

// ListenSetting is one listen line.
type ListenSetting struct {
	Pos
	// Address is "udp:127.0.0.1:5060".
	Address string
	// Options are the other fields of listen { … }.
	Options map[string]any
}

// ModuleSetting is one loadmodule line.
type ModuleSetting struct {
	Pos
	Name string
}

// ParamSetting is one modparam line.
type ParamSetting struct {
	Pos
	Module, Name string
	Value        any // string, int64 or bool
}

// LoadSettings evaluates a settings file. It opens nothing else.
func LoadSettings(file string) (*Settings, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	stmts, err := parse.Parse(strings.NewReader(string(src)), file)
	if err != nil {
		return nil, syntaxError(file, string(src), err)
	}
	proto, err := glua.Compile(stmts, file)
	if err != nil {
		return nil, syntaxError(file, string(src), err)
	}
	s := &settingsRun{Settings: &Settings{File: abs}, name: file}
	s.L = glua.NewState(glua.Options{SkipOpenLibs: true, CallStackSize: 120, RegistrySize: 4096})
	defer s.L.Close()
	s.open()
	s.L.Push(s.L.NewFunctionFromProto(proto))
	if err := s.L.PCall(0, 0, nil); err != nil {
		if ae, ok := err.(*glua.ApiError); ok {
			return nil, parsePosition(file, ae.Object.String())
		}
		return nil, err
	}
	return s.Settings, nil
}

type settingsRun struct {
	*Settings
	L    *glua.LState
	name string
}

func (s *settingsRun) open() {
	L := s.L
	for _, lib := range []struct {
		name string
		open glua.LGFunction
	}{{glua.BaseLibName, glua.OpenBase}, {glua.TabLibName, glua.OpenTable}, {glua.StringLibName, glua.OpenString}, {glua.MathLibName, glua.OpenMath}} {
		L.Push(L.NewFunction(lib.open))
		L.Push(glua.LString(lib.name))
		L.Call(1, 0)
	}
	g := L.G.Global
	keep(g, append([]string{"table", "string", "math"}, allowed[""]...))
	settings := map[string]*glua.LFunction{}
	var known []string
	for name, fn := range map[string]glua.LGFunction{
		"listen": s.listen, "loadmodule": s.loadmodule, "modparam": s.modparam, "route": s.route, "env": s.env,
	} {
		settings[name] = L.NewFunction(fn)
		known = append(known, name)
	}
	mt := L.NewTable()
	mt.RawSetString("__newindex", L.NewFunction(func(L *glua.LState) int {
		name := L.ToString(2)
		if settings[name] != nil {
			L.RaiseError("%s is called, not assigned: %s \"…\"", name, name)
		}
		L.RaiseError("%s = … sets nothing: parameters are set by modparam(module, name, value); a variable of this file is declared with local", name)
		return 0
	}))
	mt.RawSetString("__index", L.NewFunction(func(L *glua.LState) int {
		name := L.ToString(2)
		if fn := settings[name]; fn != nil {
			L.Push(fn)
			return 1
		}
		L.RaiseError("there is no setting %s%s", name, Suggest(name, known))
		return 0
	}))
	g.Metatable = mt
}

func (s *settingsRun) pos() Pos {
	p := parsePosition(s.name, s.L.Where(1)+" ")
	return Pos{p.File, p.Line}
}

func (s *settingsRun) listen(L *glua.LState) int {
	l := ListenSetting{Pos: s.pos(), Options: map[string]any{}}
	switch v := L.Get(1).(type) {
	case glua.LString:
		l.Address = string(v)
	case *glua.LTable:
		v.ForEach(func(k, val glua.LValue) {
			if k == glua.LNumber(1) {
				l.Address = val.String()
				return
			}
			x, ok := settingValue(val)
			if !ok {
				L.RaiseError("listen: option %s cannot be a %s", k, val.Type())
			}
			l.Options[k.String()] = x
		})
	}
	if l.Address == "" {
		L.RaiseError(`listen: an address such as "udp:127.0.0.1:5060" is expected`)
	}
	s.Listen = append(s.Listen, l)
	return 0
}

func (s *settingsRun) loadmodule(L *glua.LState) int {
	v, ok := L.Get(1).(glua.LString)
	if !ok {
		L.RaiseError("loadmodule: the name of a module is expected")
	}
	name := filepath.Base(string(v))
	name = strings.TrimSuffix(name, ".so")
	s.Modules = append(s.Modules, ModuleSetting{s.pos(), name})
	return 0
}

func (s *settingsRun) modparam(L *glua.LState) int {
	if L.GetTop() != 3 {
		L.RaiseError("modparam: a module, a parameter and a value are expected")
	}
	v, ok := settingValue(L.Get(3))
	if !ok {
		L.RaiseError("modparam: a text, a whole number or a boolean is expected, not %s", L.Get(3))
	}
	for _, module := range strings.Split(L.CheckString(1), "|") { // several modules at once, as in SER
		s.Params = append(s.Params, ParamSetting{s.pos(), strings.TrimSuffix(module, ".so"), L.CheckString(2), v})
	}
	return 0
}

func (s *settingsRun) route(L *glua.LState) int {
	if s.Route != "" {
		L.RaiseError("route is set already, to %q", s.Route)
	}
	s.Route, s.RoutePos = L.CheckString(1), s.pos()
	return 0
}

// env returns an environment variable, or its second argument.
func (s *settingsRun) env(L *glua.LState) int {
	name := L.CheckString(1)
	if v, ok := os.LookupEnv(name); ok {
		L.Push(glua.LString(v))
		return 1
	}
	if L.GetTop() < 2 {
		L.RaiseError("the environment has no %s, and no default is given", name)
	}
	L.Push(L.Get(2))
	return 1
}

func settingValue(v glua.LValue) (any, bool) {
	switch v := v.(type) {
	case glua.LString:
		return string(v), true
	case glua.LBool:
		return bool(v), true
	case glua.LNumber:
		if f := float64(v); f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f), true
		}
		return strconv.FormatFloat(float64(v), 'f', -1, 64), true
	}
	return nil, false
}
