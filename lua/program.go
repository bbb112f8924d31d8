package lua

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"sipr/core"
)

// Options bound what a script may do.
type Options struct {
	// Budget is what one run may spend: about one unit for each step of a
	// loop or call. 0 means 1,000,000.
	Budget int
	// MaxStates bounds the Lua states of one program, and by that the
	// requests that run or wait in scripts. 0 means 4096.
	MaxStates int
}

// Program is one generation of the routing script, compiled and checked. It
// is safe for concurrent use.
type Program struct {
	// File is the script's file name.
	File string

	binding *Binding
	opts    Options
	chunks  map[string]*glua.FunctionProto // the script and what it requires
	routes  map[string]bool
	consts  map[string]*constant // selects and attributes by hidden name
	globals map[string]bool      // names that the script defines at file level
	units   map[string]*unit     // while it is being loaded
	replies bool                 // it has a reply_route
	dir     string

	mu     sync.Mutex
	free   []*state
	states atomic.Int64
}

// Error is a fault of a script or of the settings: where it is, and what is
// wrong.
type Error struct {
	File string
	Line int
	Msg  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }

// ErrNoRoute is returned when the script has no route of the name.
var ErrNoRoute = errors.New("the script has no such route")

// ErrBusy is returned when every Lua state is taken.
var ErrBusy = errors.New("too many requests are waiting in scripts")

// Compile reads, checks and compiles a script and tries it once. Errors carry
// file and line.
func Compile(file string, b *Binding, opts Options) (*Program, error) {
	if opts.Budget == 0 {
		opts.Budget = 1_000_000
	}
	if opts.MaxStates == 0 {
		opts.MaxStates = 4096
	}
	p := &Program{
		File: file, binding: b, opts: opts, dir: filepath.Dir(file),
		chunks: map[string]*glua.FunctionProto{}, routes: map[string]bool{}, consts: map[string]*constant{}, units: map[string]*unit{},
	}
	if err := p.load("", file); err != nil {
		return nil, err
	}
	if err := p.checkReplyRoute(); err != nil {
		return nil, err
	}
	p.units = nil
	st, err := p.newState()
	if err != nil {
		return nil, err
	}
	p.put(st)
	if p.replies = p.Has(ReplyRoute); p.globals[ReplyRoute] && !p.replies {
		return nil, &Error{file, 1, "reply_route is a name of sipr for the function that every response runs; choose another name"}
	}
	if !p.Has("request_route") {
		return nil, &Error{file, 1, "there is no function request_route, which every request runs"}
	}
	return p, nil
}

// load parses and compiles one file and the files that it requires. name is
// what require calls it, "" for the script itself.
func (p *Program) load(name, file string) error {
	src, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	stmts, err := parse.Parse(strings.NewReader(string(src)), file)
	if err != nil {
		return syntaxError(file, string(src), err)
	}
	p.chunks[name] = nil
	rw := &rewriter{p: p, file: file, top: name == ""}
	if stmts, err = rw.chunk(stmts); err != nil {
		return err
	}
	proto, err := glua.Compile(stmts, file)
	if err != nil {
		return syntaxError(file, string(src), err)
	}
	p.chunks[name] = proto
	return nil
}

// loadRequired loads a file that another one requires, once.
func (p *Program) loadRequired(file string, req required) error {
	if _, done := p.chunks[req.name]; done {
		return nil
	}
	path, err := p.requirePath(req.name)
	if err == nil {
		err = p.load(req.name, path)
	}
	var pos *Error
	if err == nil || errors.As(err, &pos) {
		return err
	}
	return &Error{file, req.line, err.Error()}
}

// requirePath finds the file of a required name below the script's folder.
func (p *Program) requirePath(name string) (string, error) {
	for _, part := range strings.Split(name, ".") {
		if part == "" || strings.ContainsAny(part, `/\`) {
			return "", fmt.Errorf("require %q: names below the script's folder, joined by dots, are expected", name)
		}
	}
	path := filepath.Join(p.dir, strings.ReplaceAll(name, ".", string(filepath.Separator))+".lua")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("require %q: there is no %s", name, path)
	}
	return path, nil
}

// syntaxError turns the parser's error into an Error, with advice for lines
// that were copied from a configuration in SER's own language.
func syntaxError(file, src string, err error) error {
	line, msg := 0, err.Error()
	var pe *parse.Error
	var ce *glua.CompileError
	switch {
	case errors.As(err, &pe):
		line = pe.Pos.Line
		msg = fmt.Sprintf("%s near %q", pe.Message, pe.Token)
	case errors.As(err, &ce):
		line, msg = ce.Line, ce.Message
	}
	lines := strings.Split(src, "\n")
	if line < 1 || line > len(lines) {
		line = len(lines)
	}
	for i := line - 1; i >= 0 && i >= line-2; i-- {
		text := strings.TrimSpace(lines[i])
		switch {
		case strings.HasPrefix(text, "#"):
			return &Error{file, i + 1, "comments start with -- in Lua, not with #"}
		case strings.HasPrefix(text, "//"), strings.HasPrefix(text, "/*"):
			return &Error{file, i + 1, "comments start with -- in Lua"}
		case strings.HasPrefix(text, "route{"), strings.HasPrefix(text, "route {"), strings.HasPrefix(text, "request_route {"), strings.HasPrefix(text, "request_route{"):
			return &Error{file, i + 1, "routing is a Lua function here: function request_route() … end"}
		case strings.Contains(text, "!=") && i == line-1:
			return &Error{file, i + 1, "unequal is written ~= in Lua, not !="}
		case (strings.Contains(text, "&&") || strings.Contains(text, "||")) && i == line-1:
			return &Error{file, i + 1, "Lua says and, or, not; not &&, ||, !"}
		}
	}
	return &Error{file, line, strings.TrimSpace(msg)}
}

// Has tells whether the script has a route (a global function) of that name.
func (p *Program) Has(route string) bool { return p.routes[route] }

// SeesReplies tells whether the script has a reply_route.
func (p *Program) SeesReplies() bool { return p.replies }

// Routes returns the names of the script's global functions.
func (p *Program) Routes() []string {
	var names []string
	for n := range p.routes {
		names = append(names, n)
	}
	return names
}

// States returns how many Lua states the program has made.
func (p *Program) States() int { return int(p.states.Load()) }

func (p *Program) get() (*state, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		st := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return st, nil
	}
	p.mu.Unlock()
	if p.states.Load() >= int64(p.opts.MaxStates) {
		return nil, ErrBusy
	}
	return p.newState()
}

func (p *Program) put(st *state) {
	p.mu.Lock()
	p.free = append(p.free, st)
	p.mu.Unlock()
}

// Run runs a route for r on a state from the pool. An error is a *Error with
// the script's line, ErrNoRoute or ErrBusy; the export that stopped the run (drop, exit)
// is no error.
func (p *Program) Run(r *core.Request, route string) error {
	st, err := p.get()
	if err != nil {
		return err
	}
	err = st.run(r, route)
	p.put(st)
	return err
}
