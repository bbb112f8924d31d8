package core

// RouteKind is the kind of route that a script function runs as.
type RouteKind uint8

// The kinds of route; an Export's Routes is a set of them.
const (
	RequestRoute RouteKind = 1 << iota
	FailureRoute
	BranchRoute
	ReplyRoute
	// ResponseRoute is the script's reply_route, which sees every response
	// before it is known what it belongs to: there is no request, and nothing
	// may wait. It is no part of AnyRoute; a function must allow it by itself.
	ResponseRoute
	AnyRoute = RequestRoute | FailureRoute | BranchRoute | ReplyRoute
)

// ArgKind says what an argument of an export may be.
type ArgKind uint8

// The kinds of argument.
const (
	// ArgText is text that may be a select ("@ruri.host") or an attribute
	// ("$fd.did"), whose value is then taken at each call; read it with Bytes.
	ArgText ArgKind = iota
	// ArgString is literal text.
	ArgString
	// ArgInt is a whole number; its decimal text is taken too, as in SER.
	ArgInt
	// ArgBool is a boolean.
	ArgBool
	// ArgRoute is the name of a route function of the script.
	ArgRoute
	// ArgAttr names an attribute or a group of attributes and is not
	// evaluated: "$fd", "$f.did".
	ArgAttr
)

// Arg describes one argument of an export.
type Arg struct {
	Name, Doc string
	Kind      ArgKind
	Optional  bool
	// Check, if set, judges a literal when the script is loaded.
	Check func(string) error
}

// Text, String, Int, Bool, RouteName and AttrName make required arguments.
func Text(name, doc string) Arg      { return Arg{Name: name, Doc: doc, Kind: ArgText} }
func String(name, doc string) Arg    { return Arg{Name: name, Doc: doc, Kind: ArgString} }
func Int(name, doc string) Arg       { return Arg{Name: name, Doc: doc, Kind: ArgInt} }
func Bool(name, doc string) Arg      { return Arg{Name: name, Doc: doc, Kind: ArgBool} }
func RouteName(name, doc string) Arg { return Arg{Name: name, Doc: doc, Kind: ArgRoute} }
func AttrName(name, doc string) Arg  { return Arg{Name: name, Doc: doc, Kind: ArgAttr} }

// Opt makes an argument optional.
func (a Arg) Opt() Arg { a.Optional = true; return a }

// Checked gives an argument a check of its literals.
func (a Arg) Checked(f func(string) error) Arg { a.Check = f; return a }

// Export is a function that a module offers to the script.
type Export struct {
	Name, Doc string
	Args      []Arg
	// Routes is where the function may be called.
	Routes RouteKind
	// Fn runs it. It must not keep a, nor anything a or r hand out, after it
	// has returned.
	Fn func(r *Request, a *Args) Result
}

// Func declares an export. It may be called from any route; see In.
func Func(name string, fn func(*Request, *Args) Result, doc string, args ...Arg) Export {
	return Export{Name: name, Doc: doc, Args: args, Routes: AnyRoute, Fn: fn}
}

// In restricts an export to some kinds of route.
func (e Export) In(k RouteKind) Export { e.Routes = k; return e }

// MaxArgs is how many arguments an export may have.
const MaxArgs = 8

// Args holds the arguments of one call, checked and evaluated.
type Args struct {
	n       int
	v       [MaxArgs]Value
	scratch []byte
}

// Reset prepares a for n arguments.
func (a *Args) Reset() { a.n = 0; a.scratch = a.scratch[:0] }

// Push adds an argument.
func (a *Args) Push(v Value) {
	a.v[a.n] = v
	a.n++
}

// Len returns how many arguments were given.
func (a *Args) Len() int { return a.n }

// Has tells whether argument i was given and has a value: a select or
// attribute that is not there has none.
func (a *Args) Has(i int) bool { return i < a.n && a.v[i].Kind != KindNil }

// Value returns argument i as it is.
func (a *Args) Value(i int) Value {
	if i >= a.n {
		return Value{}
	}
	return a.v[i]
}

// Bytes returns argument i as text, valid until the call returns; nil if it
// was not given. Numbers appear in decimal.
func (a *Args) Bytes(i int) []byte {
	if i >= a.n {
		return nil
	}
	v := &a.v[i]
	if v.Kind == KindText && v.Raw != nil {
		return v.Raw
	}
	if v.Kind == KindNil {
		return nil
	}
	start := len(a.scratch)
	a.scratch = v.Append(a.scratch)
	return a.scratch[start:]
}

// String returns argument i as a string; it allocates where the value lies in
// a message.
func (a *Args) String(i int) string {
	if i >= a.n {
		return ""
	}
	return a.v[i].String()
}

// Int returns argument i as a number, or def if it was not given.
func (a *Args) Int(i int, def int64) int64 {
	if i >= a.n {
		return def
	}
	if n, ok := a.v[i].Int(); ok {
		return n
	}
	return def
}

// Bool returns argument i, or def if it was not given.
func (a *Args) Bool(i int, def bool) bool {
	if i >= a.n || a.v[i].Kind == KindNil {
		return def
	}
	return a.v[i].Kind != KindBool || a.v[i].Num != 0
}

// Result is what an export returns to the script.
type Result struct {
	Value Value
	// Why is the second value beside false: a short word.
	Why string
	// Err is set where the export failed: it has no answer. The script is
	// ended and the request gets 500, unless the script used try().
	Err error
	// Stop ends the script's run, as drop and exit do.
	Stop bool
}

// True, False, Done and the other constructors make results.
var (
	True = Result{Value: Value{Kind: KindBool, Num: 1}}
	// Nothing is the result of an export that returns no value.
	Nothing = Result{}
)

// False is the answer no, with a short word that says why.
func False(why string) Result { return Result{Value: Value{Kind: KindBool}, Why: why} }

// Is is True or a False without a reason.
func Is(ok bool) Result {
	if ok {
		return True
	}
	return Result{Value: Value{Kind: KindBool}}
}

// Number is a whole number as a result.
func Number(n int64) Result { return Result{Value: Value{Kind: KindInt, Num: n}} }

// Fail is the result of an export that could not find an answer.
func Fail(err error) Result { return Result{Err: err} }
