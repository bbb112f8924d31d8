package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sipr/modules"
)

// The house rules: which package may know which, and what is not done anywhere.
// Where a rule needs an exception, it stands here with its reason.

// arrows says what a package may import of this module; a * stands for one
// name. Everything else is forbidden. Tests may import more.
var arrows = []struct{ from, to string }{
	{"cmd/*", "core core/* lua modules modules/*"},
	{"core", "core/sipmsg core/clock"},
	{"core/clock", ""},
	{"core/sipmsg", ""},
	{"core/engine", "core core/* lua"},
	{"core/coretest/sim", "core core/* lua"}, // whole routers, for tests
	{"core/*", "core core/sipmsg core/clock"},
	{"lua", "core core/sipmsg core/clock"},
	{"modules", "core core/database modules/*"},
	{"modules/*", "core core/sipmsg core/clock core/resolve core/database modules/*"},
	{"docs/example/*", "core core/sipmsg core/clock core/resolve core/database"},
}

// confined says which packages may import what comes from elsewhere.
var confined = map[string]string{
	"github.com/yuin/gopher-lua":     "lua",
	"github.com/go-sql-driver/mysql": "core/database",
	"modernc.org/sqlite":             "core/database",
	"github.com/jmoiron/sqlx":        "core/database modules/* cmd/*",
	"github.com/emiago/sipgo":        "core core/sipmsg modules/uac",
	"github.com/spf13/cobra":         "cmd/*",
	"github.com/dchest/siphash":      "core/engine modules/*",
	"github.com/coder/websocket":     "core/transport",
	"github.com/miekg/dns":           "core/resolve",
	"golang.org/x/sys":               "core/transport core/control cmd/*",
}

// owned lists names of the standard library whose use belongs to few packages:
// time and network are dependencies, so that an engine runs in virtual time on
// a virtual network.
var owned = []struct {
	pkg, names string
	// allowed are the packages that may use them, with the reason.
	allowed map[string]string
}{
	{"time", "Now Since Until Sleep After AfterFunc NewTimer NewTicker Tick", map[string]string{
		"core/clock":     "it is the clock",
		"core/transport": "the deadlines of connections are wall-clock times",
		"cmd/*":          "a command line runs in real time",
	}},
	{"net", "Dial DialTimeout DialTCP DialUDP DialUnix DialIP Dialer Listen ListenConfig ListenPacket ListenTCP ListenUDP ListenUnix " +
		"LookupHost LookupAddr LookupIP LookupSRV LookupNetIP Resolver DefaultResolver", map[string]string{
		"core/transport": "it owns the sockets",
		"core/control":   "the doors of management and its client",
		"core/resolve":   "it asks DNS servers",
		"cmd/*":          "a command line runs on the real network",
	}},
	{"math/rand", "", nil},
	{"math/rand/v2", "", map[string]string{
		"modules/tm":      "branches and tags, from the runtime's own random numbers",
		"core/resolve":    "the order of servers by their SRV weights",
		"modules/gateway": "the order of gateways of one weight; seeded with the router's secret",
	}},
	{"os/exec", "", map[string]string{
		"core/coretest": "it starts a database server for tests",
	}},
}

// longFiles may have more than maxLines lines.
var longFiles = map[string]string{}

const maxLines = 600

// undocumented methods say enough by the interface that they implement.
var undocumented = map[string]string{
	"Error": "error", "Unwrap": "errors.Unwrap", "Is": "errors.Is", "String": "fmt.Stringer", "Set": "pflag.Value", "Type": "pflag.Value",
}

// unwanted is what does not belong into code or text: folders of somebody's
// machine, and what was left to do.
var unwanted = regexp.MustCompile(`(?i)/home/[a-z]|/root/|\bissue #\d|\b(TODO|FIXME|HACK)\b`)

// source is one Go file of the module.
type source struct {
	path, pkg string // relative to the module, with slashes
	test      bool
	file      *ast.File
	lines     int
}

var policyFiles = token.NewFileSet()

// sources parses every Go file but those of nested modules.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	eachFile(t, func(name string) {
		if !strings.HasSuffix(name, ".go") {
			return
		}
		f, err := parser.ParseFile(policyFiles, filepath.Join("..", name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, source{
			path: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			file: f, lines: policyFiles.File(f.FileStart).LineCount(),
		})
	})
	if len(list) < 100 {
		t.Fatalf("only %d Go files were found", len(list))
	}
	return list
}

// eachFile calls f with the name of every file of the module.
func eachFile(t *testing.T, f func(name string)) {
	t.Helper()
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel("..", p)
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if name == ".git" || name == "bin" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && name != "." {
				return filepath.SkipDir
			}
			return nil
		}
		f(name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// allows tells whether a list of patterns names a package.
func allows(patterns, pkg string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(p string) bool {
		ok, err := path.Match(p, pkg)
		return err == nil && ok
	})
}

func imported(s *ast.ImportSpec) string {
	p, _ := strconv.Unquote(s.Path.Value)
	return p
}

func TestPolicyImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.pkg == "test" {
			continue
		}
		for _, spec := range s.file.Imports {
			imp := imported(spec)
			first, _, _ := strings.Cut(imp, "/")
			switch {
			case first == "sipr":
				to := strings.TrimPrefix(imp, "sipr/")
				i := slices.IndexFunc(arrows, func(a struct{ from, to string }) bool { return allows(a.from, s.pkg) })
				if i < 0 {
					t.Errorf("%s: package %s has no place among the arrows", s.path, s.pkg)
				} else if !allows(arrows[i].to, to) || strings.HasPrefix(to, "core/coretest") {
					t.Errorf("%s imports %s: %s may import %s", s.path, to, arrows[i].from, arrows[i].to)
				}
			case strings.Contains(first, "."):
				if !mayImport(s.pkg, imp) {
					t.Errorf("%s imports %s, which is not confined to %s", s.path, imp, s.pkg)
				}
			}
		}
	}
}

func mayImport(pkg, imp string) bool {
	for prefix, where := range confined {
		if imp == prefix || strings.HasPrefix(imp, prefix+"/") {
			return allows(where, pkg)
		}
	}
	return false
}

// TestPolicyModulesByInterface lets a module use another one's exported types
// only: its functions and its state are its own.
func TestPolicyModulesByInterface(t *testing.T) {
	list := sources(t)
	types := map[string]bool{}
	for _, s := range list {
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE || !strings.HasPrefix(s.pkg, "modules/") {
				continue
			}
			for _, spec := range g.Specs {
				types[s.pkg+"."+spec.(*ast.TypeSpec).Name.Name] = true
			}
		}
	}
	for _, s := range list {
		if s.test || !strings.HasPrefix(s.pkg, "modules/") {
			continue
		}
		uses(s, func(imp, name string, pos token.Position) {
			other, ok := strings.CutPrefix(imp, "sipr/")
			if ok && strings.HasPrefix(other, "modules/") && (name == "Module" || !types[other+"."+name]) {
				t.Errorf("%s:%d uses %s.%s: only types of its API may be used", s.path, pos.Line, other, name)
			}
		})
	}
}

// uses calls f for every name of another package that a file uses.
func uses(s source, f func(imp, name string, pos token.Position)) {
	names := map[string]string{}
	for _, spec := range s.file.Imports {
		imp := imported(spec)
		name := path.Base(imp)
		if name == "v2" {
			name = path.Base(path.Dir(imp))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imp
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil && names[id.Name] != "" {
			f(names[id.Name], sel.Sel.Name, policyFiles.Position(sel.Pos()))
		}
		return true
	})
}

func TestPolicyTimeAndNetwork(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.pkg == "test" {
			continue
		}
		uses(s, func(imp, name string, pos token.Position) {
			for _, o := range owned {
				if o.pkg != imp || o.names != "" && !slices.Contains(strings.Fields(o.names), name) {
					continue
				}
				ok := false
				for where := range o.allowed {
					pkg, only, limited := strings.Cut(where, " ")
					ok = ok || allows(pkg, s.pkg) && (!limited || only == name)
				}
				if !ok {
					t.Errorf("%s:%d: %s.%s is not for package %s", s.path, pos.Line, imp, name, s.pkg)
				}
			}
		})
	}
}

// TestPolicyNoHiddenState: nothing happens before main, and a module's state
// is in its value.
func TestPolicyNoHiddenState(t *testing.T) {
	list := sources(t)
	vars := map[string]bool{} // package variables of modules
	for _, s := range list {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: there is an init function", s.path)
			}
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR || !strings.HasPrefix(s.pkg, "modules") {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if name.Name == "_" {
						continue
					}
					vars[s.pkg+"."+name.Name] = true
					if why := mutable(v, i); why != "" {
						t.Errorf("%s: variable %s %s: it belongs into the module's value", s.path, name.Name, why)
					}
				}
			}
		}
	}
	for _, s := range list {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			var targets []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					targets = n.Lhs
				}
			case *ast.IncDecStmt:
				targets = []ast.Expr{n.X}
			}
			for _, e := range targets {
				if id := rootOf(e); id != nil && vars[s.pkg+"."+id.Name] && packageLevel(s.file, id) {
					t.Errorf("%s: the package variable %s is changed", policyFiles.Position(id.Pos()), id.Name)
				}
			}
			return true
		})
	}
}

// mutable says why a variable's declaration looks like state.
func mutable(v *ast.ValueSpec, i int) string {
	if v.Type != nil {
		text := fmt.Sprint(nameOf(v.Type))
		if text == "embed.FS" {
			return ""
		}
		if strings.HasPrefix(text, "sync.") || strings.HasPrefix(text, "atomic.") {
			return "is a " + text
		}
	}
	if i >= len(v.Values) {
		return "has no value"
	}
	why := ""
	ast.Inspect(v.Values[i], func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.CallExpr:
			if name := nameOf(n.Fun); name == "make" || name == "new" {
				why = "is made to be filled"
			}
		case *ast.SelectorExpr:
			if name := nameOf(n); strings.HasPrefix(name, "sync.") || strings.HasPrefix(name, "atomic.") {
				why = "holds a " + name
			}
		}
		return true
	})
	return why
}

// nameOf returns the name that an expression is, as far as it is one.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	}
	return ""
}

// rootOf returns the variable that an assignment changes.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// packageLevel tells whether a name is not a local one.
func packageLevel(f *ast.File, id *ast.Ident) bool {
	return id.Obj == nil || f.Scope.Lookup(id.Name) == id.Obj
}

func TestPolicyFileSizes(t *testing.T) {
	over := 0
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if s.lines > 400 {
			over++
			t.Logf("%s has %d lines", s.path, s.lines)
		}
		if s.lines > maxLines && longFiles[s.path] == "" {
			t.Errorf("%s has %d lines: at most %d", s.path, s.lines, maxLines)
		}
	}
	t.Logf("%d files have more than 400 lines", over)
}

func TestPolicyDocumented(t *testing.T) {
	commented := map[string]bool{}
	list := sources(t)
	for _, s := range list {
		if s.file.Doc != nil {
			commented[s.pkg] = true
		}
	}
	for _, s := range list {
		if s.test || s.pkg == "test" {
			continue
		}
		if !commented[s.pkg] {
			t.Errorf("package %s has no comment", s.pkg)
			commented[s.pkg] = true
		}
		var last string // the last comment, which may be for several declarations
		rest := token.Pos(s.file.FileEnd)
		for _, c := range s.file.Comments {
			if strings.HasPrefix(c.Text(), "The rest implements") {
				rest = c.Pos()
			}
		}
		for _, d := range s.file.Decls {
			if d.Pos() > rest {
				break
			}
			for _, name := range bare(d, &last) {
				t.Errorf("%s: %s has no comment", s.path, name)
			}
		}
	}
}

// bare returns the exported names of a declaration that no comment explains.
func bare(d ast.Decl, last *string) (names []string) {
	// A comment may explain a row of declarations if it names them.
	told := func(name string) bool {
		ok, _ := regexp.MatchString(`\b`+name+`\b`, *last)
		return ok
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc != nil {
			*last = d.Doc.Text()
			return nil
		}
		name := d.Name.Name
		if d.Recv != nil {
			if !ast.IsExported(receiver(d)) || undocumented[name] != "" {
				return nil
			}
		}
		if ast.IsExported(name) && !told(name) {
			names = append(names, name)
		}
	case *ast.GenDecl:
		if d.Doc != nil {
			*last = d.Doc.Text()
			return nil
		}
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Doc == nil && spec.Name.IsExported() {
					names = append(names, spec.Name.Name)
				}
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					if spec.Doc == nil && spec.Comment == nil && n.IsExported() {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	if x, ok := e.(*ast.IndexExpr); ok {
		e = x.X
	}
	return nameOf(e)
}

func TestPolicyWords(t *testing.T) {
	skip := map[string]bool{"test/policy_test.go": true, "go.sum": true, "LICENSE": true}
	kinds := []string{".go", ".md", ".lua", ".sql", ".sh", ".service", ".cfg", ".xml", ".mod", ".yml", ".yaml", ".json", ".txt", "", ".conf"}
	eachFile(t, func(name string) {
		if skip[name] || !slices.Contains(kinds, path.Ext(name)) {
			return
		}
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if w := unwanted.FindString(line); w != "" {
				t.Errorf("%s:%d: %q does not belong here", name, i+1, w)
			}
		}
	})
}

// TestPolicyModulesAreComplete: a module is its folder, one line in the list,
// a page of the reference and, if it has tables, a line in the list of schemas.
func TestPolicyModulesAreComplete(t *testing.T) {
	listed := map[string]bool{}
	for _, f := range modules.All() {
		listed[f().Describe().Name] = true
	}
	schemas := map[string]bool{}
	for _, m := range modules.Migrations() {
		schemas[m.Module] = true
	}
	exists := func(parts ...string) bool {
		_, err := os.Stat(filepath.Join(append([]string{".."}, parts...)...))
		return err == nil
	}
	folders, err := os.ReadDir(filepath.Join("..", "modules"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range folders {
		name := d.Name()
		if d.IsDir() && !listed[name] && exists("modules", name, name+".go") {
			t.Errorf("modules/%s is not in modules.All()", name)
		}
	}
	for name := range listed {
		if !exists("modules", name, name+".go") {
			t.Errorf("module %s has no modules/%s/%s.go", name, name, name)
		}
		if !exists("docs", "modules", name+".md") {
			t.Errorf("module %s has no page in docs/modules: run make generate", name)
		}
		if exists("modules", name, "migrations") != schemas[name] {
			t.Errorf("module %s: a folder migrations and an entry in modules.Migrations() go together", name)
		}
	}
}
