package lua

import (
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"sipr/core"
)

// ReplyRoute is the function that runs for every response, if the script has it.
const ReplyRoute = "reply_route"

// unit is one function of a file's top level with all inside it, or another
// value that is given a name there.
type unit struct {
	mentions []string // keys of other units, by the first place
	uses     []use    // of what reply_route may not use
}

// use is a place where a unit does what belongs to a request.
type use struct {
	file string
	line int
	what string
}

// key returns what a name at file level is known by: a global by its name,
// whichever file defines it, a local of a file by both.
func (w *rewriter) key(name string) string {
	if _, ok := w.find(name); ok {
		return w.file + "\x00" + name
	}
	return name
}

// within runs f, which rewrites what is given a name at file level.
func (w *rewriter) within(key string, f func()) {
	if w.depth > 0 || key == "" {
		f()
		return
	}
	was := w.unit
	if w.unit = w.p.units[key]; w.unit == nil {
		w.unit = &unit{}
		w.p.units[key] = w.unit
	}
	wasKey := w.unitKey
	w.unitKey = key
	f()
	w.unit, w.unitKey = was, wasKey
}

// fieldKey returns the key of an expression such as M.name, or "".
func (w *rewriter) fieldKey(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.IdentExpr:
		return w.key(e.Value)
	case *ast.AttrGetExpr:
		id, ok1 := e.Object.(*ast.IdentExpr)
		k, ok2 := e.Key.(*ast.StringExpr)
		if ok1 && ok2 {
			return w.key(id.Value) + "." + k.Value
		}
	}
	return ""
}

// mention notes that the present unit may call what a name, or one field of it,
// stands for.
func (w *rewriter) mention(name, field string) {
	if w.unit == nil {
		return
	}
	if d, ok := w.find(name); ok && d > 0 {
		return
	}
	key := w.key(name)
	if field != "" {
		key += "." + field
	}
	w.unit.mentions = append(w.unit.mentions, key)
}

// useExport notes the use of a function that does not allow reply_route.
func (w *rewriter) useExport(x *core.Export, line int) {
	if w.unit != nil && x.Routes&core.ResponseRoute == 0 {
		w.unit.uses = append(w.unit.uses, use{w.file, line, x.Name +
			" may not be called from reply_route, which has no request and may not wait: t_on_reply names a route that has one"})
	}
}

// useSelect notes the use of a select or attribute that only a request has.
func (w *rewriter) useSelect(text string, line int) {
	if w.unit == nil {
		return
	}
	root, _, _ := strings.Cut(strings.TrimPrefix(text, "@"), ".")
	root, _, _ = strings.Cut(root, "[")
	switch root {
	case "ruri", "request_uri", "r", "dst_uri", "next_hop", "auth", "max_forwards":
	default:
		if text[0] != '$' {
			return
		}
		text = "attribute " + text
	}
	w.unit.uses = append(w.unit.uses, use{w.file, line, text +
		" belongs to a request, and reply_route has none: t_on_reply names a route that has one"})
}

// checkReplyRoute follows what reply_route calls and refuses what has no place
// there. Functions that are reached by computed names are refused when they run.
func (p *Program) checkReplyRoute() error {
	by := map[string]string{ReplyRoute: ""}
	for queue := []string{ReplyRoute}; len(queue) > 0; queue = queue[1:] {
		key := queue[0]
		u := p.units[key]
		if u == nil {
			continue
		}
		if len(u.uses) > 0 {
			bad := u.uses[0]
			path := ""
			for k := key; k != ReplyRoute; k = by[k] {
				path = " → " + k[strings.IndexByte(k, 0)+1:] + path
			}
			if path != "" {
				path = " (" + ReplyRoute + path + ")"
			}
			return &Error{bad.file, bad.line, bad.what + path}
		}
		for _, m := range u.mentions {
			if _, seen := by[m]; !seen {
				by[m] = key
				queue = append(queue, m)
			}
		}
	}
	return nil
}
