package lua

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"sipr/core"
)

// rewriter checks a script and makes it fit to run: see the package comment.
type rewriter struct {
	p    *Program
	file string
	top  bool // the script itself, not a file that it requires

	scopes   []map[string]int // local name → depth of the function it belongs to
	depth    int              // functions around the present place
	loops    int              // loops, or functions that may recurse, around it
	requires []required
	calls    map[string][]string // global function → global functions it calls
	hoisted  map[string]bool
	hoists   []string // globals that functions use and that never change
	unit     *unit    // what the present place belongs to, nil for none
	unitKey  string
}

type required struct {
	name string
	line int
}

// fail ends the rewriting; chunk recovers it.
func (w *rewriter) fail(line int, format string, args ...any) {
	panic(&Error{w.file, line, fmt.Sprintf(format, args...)})
}

// chunk rewrites a whole file.
func (w *rewriter) chunk(stmts []ast.Stmt) (out []ast.Stmt, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			err = e
		}
	}()
	if w.p.globals == nil {
		w.p.globals = map[string]bool{}
	}
	w.survey(stmts)
	for _, req := range w.requires {
		if err := w.p.loadRequired(w.file, req); err != nil {
			return nil, err
		}
	}
	w.push()
	out = w.block(stmts)
	w.pop()
	return w.hoist(out), nil
}

// maxHoists leaves room for the script's own locals, of which Lua allows 200.
const maxHoists = 100

// fixed returns an expression for a global that never changes: an export, a
// library function or a select. Inside functions it is a local of the file,
// which costs a tenth of looking a global up.
func (w *rewriter) fixed(name string, line int) ast.Expr {
	if w.depth == 0 {
		return ident(name, line)
	}
	if !w.hoisted[name] {
		if len(w.hoists) == maxHoists {
			return ident(name, line)
		}
		if w.hoisted == nil {
			w.hoisted = map[string]bool{}
		}
		w.hoisted[name] = true
		w.hoists = append(w.hoists, name)
	}
	return ident(hiddenLocal+name, line)
}

// hoist declares the locals that fixed has used.
func (w *rewriter) hoist(stmts []ast.Stmt) []ast.Stmt {
	if len(w.hoists) == 0 {
		return stmts
	}
	s := &ast.LocalAssignStmt{}
	s.SetLine(1)
	s.SetLastLine(1)
	for _, name := range w.hoists {
		s.Names = append(s.Names, hiddenLocal+name)
		s.Exprs = append(s.Exprs, ident(name, 1))
	}
	return append([]ast.Stmt{s}, stmts...)
}

// survey notes the file's globals, its requires and which of its functions
// call which, before anything is judged.
func (w *rewriter) survey(stmts []ast.Stmt) {
	w.calls = map[string][]string{}
	var walk func(ss []ast.Stmt)
	walk = func(ss []ast.Stmt) {
		for _, s := range ss {
			switch s := s.(type) {
			case *ast.FuncDefStmt:
				if id, ok := s.Name.Func.(*ast.IdentExpr); ok {
					w.declare(id.Value, s.Line())
					w.calls[id.Value] = calledNames(s.Func.Stmts)
				}
			case *ast.AssignStmt:
				for _, l := range s.Lhs {
					if id, ok := l.(*ast.IdentExpr); ok {
						w.declare(id.Value, s.Line())
					}
				}
			case *ast.DoBlockStmt:
				walk(s.Stmts)
			case *ast.IfStmt:
				walk(s.Then)
				walk(s.Else)
			}
		}
	}
	walk(stmts)
	visitExprs(stmts, func(e ast.Expr) {
		call, ok := e.(*ast.FuncCallExpr)
		if !ok || call.Func == nil || len(call.Args) == 0 {
			return
		}
		if id, ok := call.Func.(*ast.IdentExpr); ok && id.Value == "require" {
			if s, ok := call.Args[0].(*ast.StringExpr); ok {
				w.requires = append(w.requires, required{s.Value, call.Line()})
			}
		}
	})
}

// declare notes a global of the script, unless its name is taken.
func (w *rewriter) declare(name string, line int) {
	if _, taken := w.p.binding.funcs[name]; taken {
		w.fail(line, "%s is a function of sipr; choose another name", name)
	}
	if selectRoots[name] || libraryNames[name] || name == "attr" {
		w.fail(line, "%s is a name of sipr; choose another one", name)
	}
	w.p.globals[name] = true
}

// recursive tells whether a global function may call itself, directly or not.
func (w *rewriter) recursive(name string) bool {
	seen := map[string]bool{}
	var reach func(n string) bool
	reach = func(n string) bool {
		for _, c := range w.calls[n] {
			if c == name {
				return true
			}
			if !seen[c] {
				seen[c] = true
				if reach(c) {
					return true
				}
			}
		}
		return false
	}
	return reach(name)
}

func (w *rewriter) push() { w.scopes = append(w.scopes, map[string]int{}) }
func (w *rewriter) pop()  { w.scopes = w.scopes[:len(w.scopes)-1] }

func (w *rewriter) local(name string) { w.scopes[len(w.scopes)-1][name] = w.depth }

// find returns the depth of the function that a local belongs to.
func (w *rewriter) find(name string) (int, bool) {
	for i := len(w.scopes) - 1; i >= 0; i-- {
		if d, ok := w.scopes[i][name]; ok {
			return d, true
		}
	}
	return 0, false
}

func (w *rewriter) block(stmts []ast.Stmt) []ast.Stmt {
	out := make([]ast.Stmt, 0, len(stmts))
	for _, s := range stmts {
		out = append(out, w.stmt(s))
		if l, ok := s.(*ast.LabelStmt); ok {
			out = append(out, tick(l.Line(), 10))
		}
	}
	return out
}

// scoped rewrites a block in a scope of its own.
func (w *rewriter) scoped(stmts []ast.Stmt, names ...string) []ast.Stmt {
	w.push()
	for _, n := range names {
		w.local(n)
	}
	out := w.block(stmts)
	w.pop()
	return out
}

// loop rewrites the body of a loop, which charges the budget each time round.
func (w *rewriter) loop(line int, stmts []ast.Stmt, names ...string) []ast.Stmt {
	w.loops++
	cost := size(stmts)
	body := w.scoped(stmts, names...)
	w.loops--
	return append([]ast.Stmt{tick(line, cost)}, body...)
}

func (w *rewriter) stmt(s ast.Stmt) ast.Stmt {
	switch s := s.(type) {
	case *ast.AssignStmt:
		return w.assign(s)
	case *ast.LocalAssignStmt:
		if len(s.Exprs) == 1 && len(s.Names) == 1 {
			if fn, ok := s.Exprs[0].(*ast.FunctionExpr); ok { // local function f
				w.local(s.Names[0])
				w.within(w.key(s.Names[0]), func() { s.Exprs[0] = w.function(fn, true) })
				return s
			}
		}
		for i := range s.Exprs {
			name := s.Names[min(i, len(s.Names)-1)]
			w.within(w.file+"\x00"+name, func() { s.Exprs[i] = w.expr(s.Exprs[i]) })
		}
		for _, n := range s.Names {
			w.local(n)
		}
	case *ast.FuncCallStmt:
		s.Expr = w.expr(s.Expr)
	case *ast.DoBlockStmt:
		s.Stmts = w.scoped(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = w.expr(s.Condition)
		s.Stmts = w.loop(s.Line(), s.Stmts)
	case *ast.RepeatStmt:
		w.push()
		w.loops++
		cost := size(s.Stmts)
		s.Stmts = append([]ast.Stmt{tick(s.Line(), cost)}, w.block(s.Stmts)...)
		s.Condition = w.expr(s.Condition)
		w.loops--
		w.pop()
	case *ast.IfStmt:
		s.Condition = w.expr(s.Condition)
		s.Then = w.scoped(s.Then)
		s.Else = w.scoped(s.Else)
	case *ast.NumberForStmt:
		s.Init, s.Limit = w.expr(s.Init), w.expr(s.Limit)
		if s.Step != nil {
			s.Step = w.expr(s.Step)
		}
		s.Stmts = w.loop(s.Line(), s.Stmts, s.Name)
	case *ast.GenericForStmt:
		w.exprs(s.Exprs)
		s.Stmts = w.loop(s.Line(), s.Stmts, s.Names...)
	case *ast.FuncDefStmt:
		w.funcDef(s)
	case *ast.ReturnStmt:
		w.exprs(s.Exprs)
	}
	return s
}

func (w *rewriter) funcDef(s *ast.FuncDefStmt) {
	id, ok := s.Name.Func.(*ast.IdentExpr)
	if !ok || s.Name.Method != "" {
		if s.Name.Func != nil {
			s.Name.Func = w.expr(s.Name.Func)
		}
		if s.Name.Receiver != nil {
			s.Name.Receiver = w.expr(s.Name.Receiver)
			s.Func.ParList.Names = append([]string(nil), s.Func.ParList.Names...)
		}
		key := w.fieldKey(s.Name.Func)
		if id, ok := s.Name.Receiver.(*ast.IdentExpr); ok {
			key = w.key(id.Value) + "." + s.Name.Method
		}
		w.within(key, func() { s.Func = w.function(s.Func, true, "self") })
		return
	}
	if d, ok := w.find(id.Value); ok {
		if d == 0 && w.depth > 0 {
			w.fail(s.Line(), "%s is a local of the file: a function may not change it, since nothing in a script lasts from one request to the next; "+lasting, id.Value)
		}
		w.within(w.key(id.Value), func() { s.Func = w.function(s.Func, true) })
		return
	}
	if w.depth > 0 {
		w.fail(s.Line(), "function %s would be global: write local function %s", id.Value, id.Value)
	}
	w.within(id.Value, func() { s.Func = w.function(s.Func, w.recursive(id.Value)) })
}

// function rewrites a function's body. One that may recurse charges the
// budget at each call.
func (w *rewriter) function(fn *ast.FunctionExpr, charge bool, extra ...string) *ast.FunctionExpr {
	w.depth++
	outer := w.loops
	w.loops = 0
	if charge {
		w.loops = 1
	}
	cost := size(fn.Stmts)
	names := append(extra, fn.ParList.Names...)
	fn.Stmts = w.scoped(fn.Stmts, names...)
	if charge {
		fn.Stmts = append([]ast.Stmt{tick(fn.Line(), cost)}, fn.Stmts...)
	}
	w.loops = outer
	w.depth--
	return fn
}

// lasting says where data goes that a local cannot hold.
const lasting = "what lasts as long as the request belongs into attr, what all requests see into shared"

func (w *rewriter) assign(s *ast.AssignStmt) ast.Stmt {
	for i := range s.Rhs {
		w.within(w.fieldKey(s.Lhs[min(i, len(s.Lhs)-1)]), func() { s.Rhs[i] = w.expr(s.Rhs[i]) })
	}
	for i, l := range s.Lhs {
		switch l := l.(type) {
		case *ast.IdentExpr:
			if d, ok := w.find(l.Value); ok {
				if d == 0 && w.depth > 0 {
					w.fail(l.Line(), "%s is a local of the file: a function may not assign to it, since nothing in a script lasts from one request to the next; "+lasting, l.Value)
				}
				continue
			}
			if name := l.Value; selectRoots[name] {
				return w.setSelect(s, l, "@"+name)
			}
			if w.depth > 0 && w.p.globals[l.Value] {
				w.fail(l.Line(), "%s is a global of the script: a function may not assign to it, since nothing in a script lasts from one request to the next; "+lasting, l.Value)
			}
			if w.depth > 0 {
				w.fail(l.Line(), "%s would be a global: declare it with local; "+lasting, l.Value)
			}
		case *ast.AttrGetExpr:
			if text, ok := w.selectText(l); ok {
				return w.setSelect(s, l, text)
			}
			s.Lhs[i] = w.expr(l)
		}
	}
	return s
}

// setSelect turns an assignment to a select or attribute into a call of its
// setter.
func (w *rewriter) setSelect(s *ast.AssignStmt, l ast.Expr, text string) ast.Stmt {
	if len(s.Lhs) != 1 || len(s.Rhs) != 1 {
		w.fail(l.Line(), "%s must be assigned to on its own", strings.TrimPrefix(text, "@"))
	}
	c := w.constant(text, l.Line())
	if c.set == nil {
		w.fail(l.Line(), "%s cannot be written", strings.TrimPrefix(text, "@"))
	}
	call := &ast.FuncCallExpr{Func: w.fixed(hiddenSet+text, l.Line()), Args: s.Rhs}
	call.SetLine(l.Line())
	call.SetLastLine(l.Line())
	st := &ast.FuncCallStmt{Expr: call}
	st.SetLine(l.Line())
	st.SetLastLine(l.Line())
	return st
}

// constant compiles a select or attribute.
func (w *rewriter) constant(text string, line int) *constant {
	w.useSelect(text, line)
	if c := w.p.consts[text]; c != nil {
		return c
	}
	c := &constant{}
	if text[0] == '$' {
		ref, err := core.ParseAttrRef(text)
		if err != nil {
			w.fail(line, "%s", err.Error())
		}
		c.ref = &ref
		if ref.Index == 0 && !ref.All {
			c.set = func(r *core.Request, v core.Value) error { return r.Attrs.Set(&ref, v) }
		}
	} else {
		sel, err := core.CompileSelect(text)
		if err != nil {
			w.fail(line, "%s", err.Error())
		}
		c.sel = sel
		c.set = selectSetter(text)
	}
	w.p.consts[text] = c
	return c
}

func selectSetter(text string) func(*core.Request, core.Value) error {
	if text == "@dst_uri" {
		return func(r *core.Request, v core.Value) error {
			r.Main.NextHop = nil
			if v.Kind != core.KindNil {
				r.Main.NextHop = r.Keep(v.Append(nil))
			}
			return nil
		}
	}
	part, ok := strings.CutPrefix(text, "@ruri.")
	if text == "@ruri" {
		part, ok = "uri", true
	}
	if !ok {
		return nil
	}
	switch part {
	case "uri", "user", "password", "host", "port", "hostport", "params":
		return func(r *core.Request, v core.Value) error { return core.SetURIPart(r, part, v) }
	}
	return nil
}

func ident(name string, line int) *ast.IdentExpr {
	id := &ast.IdentExpr{Value: name}
	id.SetLine(line)
	id.SetLastLine(line)
	return id
}

// tick is the statement that charges the budget.
func tick(line, cost int) ast.Stmt {
	n := &ast.NumberExpr{Value: strconv.Itoa(cost)}
	n.SetLine(line)
	n.SetLastLine(line)
	call := &ast.FuncCallExpr{Func: ident(hiddenTick, line), Args: []ast.Expr{n}}
	call.SetLine(line)
	call.SetLastLine(line)
	s := &ast.FuncCallStmt{Expr: call}
	s.SetLine(line)
	s.SetLastLine(line)
	return s
}
