package attrs

import (
	"fmt"
	"slices"
	"strings"

	"sipr/core"
)

func (m *Module) exports() []core.Export {
	const change = core.RequestRoute | core.FailureRoute | core.BranchRoute
	attr := core.AttrName("attr", `the attribute: "$f.x", "$fu.x", "$fu.x[1]"`).Checked(checkAttr)
	every := core.AttrName("attr", `the attribute; with [] all of its values: "$f.x", "$fu.x[1]", "$fu.x[]"`).Checked(checkAttr)
	flag := core.String("flag", "dialog_cookie, or a name that parameter avpflags has set").Checked(m.checkFlag)
	value := core.Text("value", "text or number")
	gflag := core.Int("n", "0 to 31")
	list := []core.Export{
		core.Func("load_attrs", m.loadAttrs, "Loads the attributes of a user or of an address into a group, in place of those that it had. False: empty (there is no id), or foreign (an address that is none of ours).",
			core.AttrName("attr_group", "$fu or $tu for those of a user, $fr or $tr for those of an address").Checked(checkLoadGroup),
			core.Text("id", `the user's uid ("$fu.uid") or the address ("@from.uri")`)).In(core.RequestRoute | core.FailureRoute),
		core.Func("add_attr", m.addAttr, "Gives an attribute one more value for this request; it is the newest then.", attr, value),
		core.Func("remove_attr", m.removeAttr, "Takes an attribute, or the one value that an index names, away from this request.", attr),
		core.Func("attr_exists", m.attrExists, "Tells whether an attribute has a value.", attr),
		core.Func("attr_equals", m.attrEquals, "Tells whether an attribute's value, or with [] any of its values, equals a text or number.", every, value),
		core.Func("attr2uri", m.attr2uri, "Writes an attribute's value into the Request-URI. False: undefined, or invalid if no URI comes of it.", attr,
			core.String("part", strings.Join(partNames(), ", ")+"; the whole URI if left out").Checked(checkPart).Opt()).In(change),
		core.Func("attr_destination", m.attrDestination, "Sends the request to where an attribute says, a URI or a host with or without port, whatever the Request-URI says. False: undefined or invalid.", attr).In(change),
	}
	for _, names := range [][2]string{{"set_attr_flag", "setavpflag"}, {"reset_attr_flag", "resetavpflag"}, {"is_attr_flag", "isavpflagset"}} {
		for i, name := range names {
			var f core.Export
			switch names[0] {
			case "set_attr_flag":
				f = core.Func(name, m.setAttrFlag, "Sets a flag of an attribute's value for this request. False: undefined.", every, flag)
			case "reset_attr_flag":
				f = core.Func(name, m.resetAttrFlag, "Clears a flag of an attribute's value for this request. False: undefined.", every, flag)
			default:
				f = core.Func(name, m.isAttrFlag, "Tells whether an attribute's value has a flag.", attr, flag)
			}
			if i == 1 {
				f.Doc = names[0] + " under SER's name."
			}
			list = append(list, f)
		}
	}
	return append(list,
		core.Func("del_attr", m.removeAttr, "remove_attr under SER's name.", attr),
		core.Func("set_gflag", m.setGFlag, "Sets one of the router's 32 global flags, for all requests.", gflag),
		core.Func("reset_gflag", m.resetGFlag, "Clears a global flag.", gflag),
		core.Func("is_gflag", m.isGFlag, "Tells whether a global flag is set.", gflag))
}

func checkAttr(s string) error { _, err := core.ParseAttrRef(s); return err }

func checkLoadGroup(s string) error { _, _, err := loadGroup(s); return err }

func (m *Module) addAttr(r *core.Request, a *core.Args) core.Result {
	ref, err := core.ParseAttrRef(a.String(0))
	if err == nil {
		err = r.Attrs.Add(&ref, a.Value(1))
	}
	if err != nil {
		return core.Fail(err)
	}
	return core.Is(a.Has(1))
}

func (m *Module) removeAttr(r *core.Request, a *core.Args) core.Result {
	ref, err := core.ParseAttrRef(a.String(0))
	if err != nil {
		return core.Fail(err)
	}
	_, had := r.Attrs.Get(&ref)
	if err := r.Attrs.Remove(&ref); err != nil {
		return core.Fail(err)
	}
	return core.Is(had)
}

func (m *Module) attrExists(r *core.Request, a *core.Args) core.Result {
	ref, err := core.ParseAttrRef(a.String(0))
	if err != nil {
		return core.Fail(err)
	}
	_, ok := r.Attrs.Get(&ref)
	return core.Is(ok)
}

func (m *Module) attrEquals(r *core.Request, a *core.Args) core.Result {
	ref, err := core.ParseAttrRef(a.String(0))
	if err != nil {
		return core.Fail(err)
	}
	want := a.Value(1)
	if !ref.All {
		v, ok := r.Attrs.Get(&ref)
		return core.Is(ok && sameValue(&v, &want))
	}
	var buf [16]core.Value
	for _, v := range r.Attrs.Values(buf[:0], &ref) {
		if sameValue(&v, &want) {
			return core.True
		}
	}
	return core.Is(false)
}

// sameValue compares two values; a number equals its decimal text.
func sameValue(v, w *core.Value) bool {
	if v.Kind == core.KindNil || w.Kind == core.KindNil {
		return false
	}
	if v.Kind != core.KindText && w.Kind != core.KindText {
		return v.Num == w.Num
	}
	var bufs [2][32]byte
	return string(textOf(v, bufs[0][:0])) == string(textOf(w, bufs[1][:0]))
}

func textOf(v *core.Value, buf []byte) []byte {
	if v.Raw != nil {
		return v.Raw
	}
	return v.Append(buf)
}

// flagBits returns the bit of a flag by its name.
func (m *Module) flagBits(name string) (uint32, bool) {
	if name == cookieFlag {
		return core.AttrCookie, true
	}
	for i, n := range m.flagNames {
		if n == name {
			return core.AttrCookie << (i + 1), true
		}
	}
	return 0, false
}

const cookieFlag = "dialog_cookie"

func (m *Module) checkFlag(name string) error {
	if _, ok := m.flagBits(name); !ok {
		return fmt.Errorf("there is no flag %q of attributes: %s are; parameter avpflags adds to them", name, strings.Join(append([]string{cookieFlag}, m.flagNames...), ", "))
	}
	return nil
}

func flagName(s string) error {
	if !core.ValidAttrName(s) {
		return fmt.Errorf("%q cannot be the name of a flag", s)
	}
	return nil
}

func (m *Module) checkFlagNames() error {
	if len(m.flagNames) > 31 {
		return fmt.Errorf("avpflags names %d flags; there can be 31", len(m.flagNames))
	}
	for i, n := range m.flagNames {
		if n == cookieFlag || slices.Contains(m.flagNames[:i], n) {
			return fmt.Errorf("avpflags names %s twice", n)
		}
	}
	return nil
}

// flagArgs reads the arguments of the functions of flags.
func (m *Module) flagArgs(a *core.Args) (ref core.AttrRef, bits uint32, err error) {
	if ref, err = core.ParseAttrRef(a.String(0)); err != nil {
		return ref, 0, err
	}
	name := a.String(1)
	bits, ok := m.flagBits(name)
	if !ok {
		err = m.checkFlag(name)
	}
	return ref, bits, err
}

func (m *Module) setAttrFlag(r *core.Request, a *core.Args) core.Result {
	return m.changeFlag(r, a, true)
}

func (m *Module) resetAttrFlag(r *core.Request, a *core.Args) core.Result {
	return m.changeFlag(r, a, false)
}

func (m *Module) changeFlag(r *core.Request, a *core.Args, on bool) core.Result {
	ref, bits, err := m.flagArgs(a)
	if err != nil {
		return core.Fail(err)
	}
	n, err := r.Attrs.SetFlags(&ref, bits, on)
	if err != nil {
		return core.Fail(err)
	}
	if n == 0 {
		return core.False("undefined")
	}
	return core.True
}

func (m *Module) isAttrFlag(r *core.Request, a *core.Args) core.Result {
	ref, bits, err := m.flagArgs(a)
	if err != nil {
		return core.Fail(err)
	}
	at, ok := r.Attrs.GetAttr(&ref)
	return core.Is(ok && at.Flags&bits != 0)
}

func gflag(a *core.Args) (uint32, error) {
	n := a.Int(0, -1)
	if n < 0 || n > 31 {
		return 0, fmt.Errorf("there is no global flag %d: 0 to 31 are", n)
	}
	return 1 << n, nil
}

func (m *Module) setGFlag(_ *core.Request, a *core.Args) core.Result {
	bit, err := gflag(a)
	if err != nil {
		return core.Fail(err)
	}
	m.gflags.Or(bit)
	return core.True
}

func (m *Module) resetGFlag(_ *core.Request, a *core.Args) core.Result {
	bit, err := gflag(a)
	if err != nil {
		return core.Fail(err)
	}
	m.gflags.And(^bit)
	return core.True
}

func (m *Module) isGFlag(_ *core.Request, a *core.Args) core.Result {
	bit, err := gflag(a)
	if err != nil {
		return core.Fail(err)
	}
	return core.Is(m.gflags.Load()&bit != 0)
}
