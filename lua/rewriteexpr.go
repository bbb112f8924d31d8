package lua

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"sipr/core"
)

// selectRoots are the names under which a script reads selects.
var selectRoots = map[string]bool{
	"ruri": true, "from": true, "to": true, "contact": true, "via": true, "cseq": true, "msg": true,
	"src": true, "dst": true, "auth": true, "method": true, "call_id": true, "status": true,
	"reason": true, "dst_uri": true, "max_forwards": true, "request_uri": true, "next_hop": true,
	"refer_to": true, "rpid": true, "rr": true, "route": true, "sys": true, "hf_value": true, "cfg_get": true,
}

// libraryNames are the globals that every script has.
var libraryNames = func() map[string]bool {
	m := map[string]bool{"print": true, "try": true, "strempty": true, "defined": true, "strlen": true,
		"require": true, "shared": true, "table": true, "string": true, "math": true}
	for _, n := range allowed[""] {
		m[n] = true
	}
	return m
}()

func (w *rewriter) exprs(es []ast.Expr) {
	for i := range es {
		es[i] = w.expr(es[i])
	}
}

func (w *rewriter) expr(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.IdentExpr:
		return w.ident(e)
	case *ast.AttrGetExpr:
		return w.attrGet(e)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			if f.Key != nil {
				f.Key = w.expr(f.Key)
			}
			key := ""
			if k, ok := f.Key.(*ast.StringExpr); ok && w.unit != nil {
				key = w.unitKey + "." + k.Value
			}
			w.within(key, func() { f.Value = w.expr(f.Value) })
		}
	case *ast.FuncCallExpr:
		return w.call(e)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = w.expr(e.Lhs), w.expr(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = w.expr(e.Lhs), w.expr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = w.expr(e.Lhs), w.expr(e.Rhs)
	case *ast.StringConcatOpExpr:
		e.Lhs, e.Rhs = w.expr(e.Lhs), w.expr(e.Rhs)
		if w.loops > 0 {
			return w.hidden(hiddenConcat, e.Line(), e.Lhs, e.Rhs)
		}
	case *ast.UnaryMinusOpExpr:
		e.Expr = w.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = w.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = w.expr(e.Expr)
	case *ast.FunctionExpr:
		return w.function(e, true)
	}
	return e
}

// hidden makes a call of a hidden function.
func (w *rewriter) hidden(name string, line int, args ...ast.Expr) ast.Expr {
	c := &ast.FuncCallExpr{Func: w.fixed(name, line), Args: args, AdjustRet: true}
	c.SetLine(line)
	c.SetLastLine(line)
	return c
}

func (w *rewriter) ident(e *ast.IdentExpr) ast.Expr {
	name := e.Value
	w.mention(name, "")
	if _, ok := w.find(name); ok {
		return e
	}
	if name == "method" { // a plain global, set before each run
		return e
	}
	if selectRoots[name] {
		text := "@" + name
		w.constant(text, e.Line())
		return w.hidden(hiddenGet+text, e.Line())
	}
	if x := w.p.binding.funcs[name]; x != nil {
		w.useExport(x, e.Line())
		return w.fixed(name, e.Line())
	}
	if w.known(name) {
		return e
	}
	w.fail(e.Line(), "there is no %s%s", name, w.advice(name))
	return nil
}

func (w *rewriter) known(name string) bool {
	return w.p.globals[name] || libraryNames[name] || w.p.binding.funcs[name] != nil || w.p.binding.modules[name]
}

// advice says what to do about a name that does not exist.
func (w *rewriter) advice(name string) string {
	switch name {
	case "pcall", "xpcall":
		return ": use try(f, …), which returns nil and a message"
	case "KSR":
		return ": sipr's functions are globals: is_local(…), t_relay()"
	case "io", "os", "debug", "coroutine", "package", "load", "loadstring", "dofile", "loadfile",
		"_G", "rawset", "rawget", "setfenv", "getfenv", "getmetatable", "setmetatable", "collectgarbage":
		return ": the sandbox has none"
	case "attr":
		return ": attributes are read by name, attr.f.did or attr.g.name"
	}
	var all []string
	for n := range w.p.globals {
		all = append(all, n)
	}
	for n := range libraryNames {
		all = append(all, n)
	}
	for n := range w.p.binding.funcs {
		all = append(all, n)
	}
	return Suggest(name, all)
}

// selectText returns "@ruri.host" or "$fd.did" for an expression that names
// one.
func (w *rewriter) selectText(e *ast.AttrGetExpr) (string, bool) {
	var keys []string
	var obj ast.Expr = e
	for {
		a, ok := obj.(*ast.AttrGetExpr)
		if !ok {
			break
		}
		k, ok := selectKey(a.Key)
		if !ok {
			return "", false
		}
		keys = append([]string{k}, keys...)
		obj = a.Object
	}
	root, ok := obj.(*ast.IdentExpr)
	if !ok {
		return "", false
	}
	if _, shadowed := w.find(root.Value); shadowed {
		return "", false
	}
	if root.Value == "attr" {
		return attrText(keys), true
	}
	if !selectRoots[root.Value] {
		return "", false
	}
	var b strings.Builder
	b.WriteString("@" + root.Value)
	for _, k := range keys {
		if isNumber(k) {
			fmt.Fprintf(&b, "[%s]", k)
		} else {
			fmt.Fprintf(&b, "[%q]", k)
		}
	}
	text := b.String()
	if !strings.ContainsAny(strings.Join(keys, ""), ".[]\"- ") {
		text = "@" + root.Value + "." + strings.Join(keys, ".")
	}
	return text, true
}

// selectKey returns a key that is written out: a text or a whole number.
func selectKey(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.StringExpr:
		return e.Value, true
	case *ast.NumberExpr:
		return e.Value, isNumber(e.Value)
	case *ast.UnaryMinusOpExpr:
		if n, ok := e.Expr.(*ast.NumberExpr); ok && isNumber(n.Value) {
			return "-" + n.Value, true
		}
	}
	return "", false
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// attrText returns the text form of attr.fd.gw, attr.fd.gw[1] and
// attr.all.fd.gw.
func attrText(keys []string) string {
	tail := ""
	if n := len(keys) - 1; n > 0 {
		if keys[0] == "all" {
			keys, tail = keys[1:], "[]"
		} else if isNumber(keys[n]) {
			keys, tail = keys[:n], "["+keys[n]+"]"
		}
	}
	return "$" + strings.Join(keys, ".") + tail
}

func (w *rewriter) attrGet(e *ast.AttrGetExpr) ast.Expr {
	if x := w.exportOf(e); x != nil { // before selects: auth is a module and a select
		w.useExport(x, e.Line())
		return ident(x.Name, e.Line())
	}
	if text, ok := w.selectText(e); ok {
		w.constant(text, e.Line())
		return w.hidden(hiddenGet+text, e.Line())
	}
	if id, ok := e.Object.(*ast.IdentExpr); ok {
		if lib := w.libraryField(id, e); lib != nil {
			return lib
		}
	}
	if w.isHeaderTable(e.Object) { // msg.header[name]
		return w.hidden(hiddenHeader, e.Line(), w.expr(e.Key))
	}
	id, named := e.Object.(*ast.IdentExpr)
	if k, ok := e.Key.(*ast.StringExpr); ok && named && w.visible(id.Value) { // M.name
		w.mention(id.Value, k.Value)
		return e
	}
	e.Object, e.Key = w.expr(e.Object), w.expr(e.Key)
	return e
}

// visible tells whether a name is a local or a global of the script: one that
// stays as it is.
func (w *rewriter) visible(name string) bool {
	_, ok := w.find(name)
	return ok || w.p.globals[name]
}

// libraryField resolves string.find, domain.is_local and the like to the
// function itself.
func (w *rewriter) libraryField(id *ast.IdentExpr, e *ast.AttrGetExpr) ast.Expr {
	key, ok := e.Key.(*ast.StringExpr)
	if !ok {
		return nil
	}
	if _, shadowed := w.find(id.Value); shadowed || w.p.globals[id.Value] {
		return nil
	}
	switch {
	case id.Value == "table" || id.Value == "string" || id.Value == "math":
		for _, n := range allowed[id.Value] {
			if n == key.Value {
				return w.fixed(hiddenLib+id.Value+"."+n, e.Line())
			}
		}
		w.fail(e.Line(), "there is no %s.%s%s", id.Value, key.Value, Suggest(key.Value, allowed[id.Value]))
	case id.Value == "shared":
		switch key.Value {
		case "get", "set", "add":
			return w.fixed(hiddenLib+"shared."+key.Value, e.Line())
		}
		w.fail(e.Line(), "there is no shared.%s: get, set and add are", key.Value)
	case w.p.binding.modules[id.Value]:
		if x := w.p.binding.funcs[id.Value+"."+key.Value]; x != nil {
			w.useExport(x, e.Line())
			return w.fixed(key.Value, e.Line())
		}
		w.fail(e.Line(), "module %s has no function %s", id.Value, key.Value)
	}
	return nil
}

func (w *rewriter) isHeaderTable(e ast.Expr) bool {
	a, ok := e.(*ast.AttrGetExpr)
	if !ok {
		return false
	}
	id, ok := a.Object.(*ast.IdentExpr)
	if !ok || id.Value != "msg" {
		return false
	}
	_, shadowed := w.find("msg")
	key, ok := a.Key.(*ast.StringExpr)
	return ok && key.Value == "header" && !shadowed
}

func (w *rewriter) call(e *ast.FuncCallExpr) ast.Expr {
	if e.Receiver != nil {
		if id, ok := e.Receiver.(*ast.IdentExpr); ok && w.visible(id.Value) {
			w.mention(id.Value, e.Method)
		} else {
			e.Receiver = w.expr(e.Receiver)
		}
		w.exprs(e.Args)
		return e
	}
	export := w.exportOf(e.Func)
	e.Func = w.expr(e.Func)
	if export == nil {
		w.exprs(e.Args)
		return e
	}
	w.checkCall(export, e)
	return e
}

// exportOf returns the export that an expression names, or nil.
func (w *rewriter) exportOf(f ast.Expr) *core.Export {
	switch f := f.(type) {
	case *ast.IdentExpr:
		if _, shadowed := w.find(f.Value); !shadowed {
			return w.p.binding.funcs[f.Value]
		}
	case *ast.AttrGetExpr:
		id, ok1 := f.Object.(*ast.IdentExpr)
		key, ok2 := f.Key.(*ast.StringExpr)
		if ok1 && ok2 {
			if _, shadowed := w.find(id.Value); !shadowed && !w.p.globals[id.Value] {
				return w.p.binding.funcs[id.Value+"."+key.Value]
			}
		}
	}
	return nil
}

func arity(x *core.Export, n int) string {
	var names []string
	for _, a := range x.Args {
		if a.Optional {
			names = append(names, "["+a.Name+"]")
		} else {
			names = append(names, a.Name)
		}
	}
	return fmt.Sprintf("%s(%s) is called with %d arguments", x.Name, strings.Join(names, ", "), n)
}

// checkCall checks the arguments of an export as far as they are literal, and
// rewrites them.
func (w *rewriter) checkCall(x *core.Export, e *ast.FuncCallExpr) {
	required := 0
	for _, a := range x.Args {
		if !a.Optional {
			required++
		}
	}
	open := false // the last argument may bring several values
	if n := len(e.Args); n > 0 {
		switch e.Args[n-1].(type) {
		case *ast.FuncCallExpr, *ast.Comma3Expr:
			open = true
		}
	}
	if len(e.Args) > len(x.Args) || len(e.Args) < required && !open {
		w.fail(e.Line(), "%s", arity(x, len(e.Args)))
	}
	for i, a := range e.Args {
		arg := x.Args[i]
		switch a := a.(type) {
		case *ast.StringExpr:
			e.Args[i] = w.literal(x, arg, i, a)
		case *ast.AttrGetExpr, *ast.IdentExpr:
			e.Args[i] = w.selectArg(arg, a)
		case *ast.NumberExpr, *ast.TrueExpr, *ast.FalseExpr, *ast.TableExpr, *ast.FunctionExpr:
			if !literalFits(arg.Kind, a) {
				w.fail(e.Line(), "argument %d (%s) of %s: a %s is expected", i+1, arg.Name, x.Name, kindName(arg.Kind))
			}
			e.Args[i] = w.expr(a)
		default:
			e.Args[i] = w.expr(a)
		}
	}
}

func literalFits(k core.ArgKind, e ast.Expr) bool {
	switch e.(type) {
	case *ast.NumberExpr:
		return k == core.ArgText || k == core.ArgString || k == core.ArgInt || k == core.ArgBool
	case *ast.TrueExpr, *ast.FalseExpr:
		return k == core.ArgBool
	}
	return false
}

// literal checks a literal text and, if it names a select or an attribute and
// the argument is dynamic, replaces it by that.
func (w *rewriter) literal(x *core.Export, arg core.Arg, i int, s *ast.StringExpr) ast.Expr {
	bad := func(format string, args ...any) {
		w.fail(s.Line(), "argument %d (%s) of %s: %s", i+1, arg.Name, x.Name, fmt.Sprintf(format, args...))
	}
	dynamic := len(s.Value) > 1 && (s.Value[0] == '@' || s.Value[0] == '$')
	switch arg.Kind {
	case core.ArgText, core.ArgInt:
		if dynamic {
			w.oneValue(s.Value, s.Line())
			return w.fixed(hiddenArg+s.Value, s.Line())
		}
		if arg.Kind == core.ArgInt {
			if _, ok := core.TextValue(s.Value).Int(); !ok {
				bad("a number is expected, not %q", s.Value)
			}
		}
	case core.ArgRoute:
		if s.Value == ReplyRoute {
			bad("reply_route runs for every response by itself; name another function")
		}
		if !w.p.globals[s.Value] {
			var names []string
			for n := range w.p.globals {
				names = append(names, n)
			}
			bad("the script has no function %q%s", s.Value, Suggest(s.Value, names))
		}
	case core.ArgAttr:
		if arg.Check == nil {
			_, _, err1 := core.ParseAttrGroup(s.Value)
			_, err2 := core.ParseAttrRef(s.Value)
			if err1 != nil && err2 != nil {
				bad("%s", err2.Error())
			}
		}
	case core.ArgBool:
		bad("a boolean is expected, not %q", s.Value)
	}
	if arg.Check != nil {
		if err := arg.Check(s.Value); err != nil {
			bad("%s", err.Error())
		}
	}
	return s
}

// selectArg passes a select to a dynamic argument as it is, which saves the
// making of a Lua string.
func (w *rewriter) selectArg(arg core.Arg, e ast.Expr) ast.Expr {
	if arg.Kind != core.ArgText {
		return w.expr(e)
	}
	text := ""
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		text, _ = w.selectText(e)
	case *ast.IdentExpr:
		if _, shadowed := w.find(e.Value); !shadowed && selectRoots[e.Value] {
			text = "@" + e.Value
		}
	}
	if text == "" {
		return w.expr(e)
	}
	w.oneValue(text, e.Line())
	return w.fixed(hiddenArg+text, e.Line())
}

// oneValue compiles a select or attribute that is an argument.
func (w *rewriter) oneValue(text string, line int) {
	if c := w.constant(text, line); c.ref != nil && c.ref.All {
		w.fail(line, "%s stands for several values, and one is expected here", text)
	}
}
