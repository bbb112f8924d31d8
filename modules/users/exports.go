package users

import (
	"fmt"
	"strings"

	"sipr/core"
	"sipr/core/sipmsg"
)

func (m *Module) exports() []core.Export {
	group := core.AttrName("attr_group", "$fu or $tu: whose user attributes are set")
	return []core.Export{
		core.Func("lookup_user", m.lookupUser, "Finds the user that an address belongs to and publishes attribute uid in the user class. "+
			"False (unknown) takes the user's attributes away.",
			group.Checked(checkGroup), core.Text("uri", `an address, such as "@from.uri" or "@ruri"`)),
		core.Func("does_uri_exist", m.doesURIExist, "Tells whether an address belongs to a user.",
			core.Text("uri", "an address; the Request-URI if it is not given").Opt()),
		core.Func("alias_lookup", m.aliasLookup, "Makes the Request-URI the canonical address of its user. False: same if it is that already, unknown if nobody has it, domain if the canonical domain has no known name.").
			In(core.RequestRoute | core.FailureRoute),
	}
}

func checkGroup(s string) error {
	if _, c, err := core.ParseAttrGroup(s); err != nil {
		return err
	} else if c != core.UserClass && c != core.AnyClass {
		return fmt.Errorf("%q is not a group of a user: $fu or $tu is expected", s)
	}
	return nil
}

// address is an address of record out of a URI. ok is false if no user of this
// router can have it.
func (m *Module) address(r *core.Request, buf []byte, u *sipmsg.URI) (did string, user []byte, ok bool, err error) {
	if u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS || len(u.User) == 0 {
		return "", nil, false, nil
	}
	if m.domains != nil {
		if did, ok, err = m.domains.Lookup(r, u.Host); !ok || err != nil {
			return "", nil, false, err
		}
	} else {
		host := append([]byte(nil), u.Host...)
		lower(host)
		did = string(host)
	}
	return did, sipmsg.AppendUnescaped(buf, u.User), true, nil
}

// findURI finds the owner of the address that a URI is; nil if there is none.
func (m *Module) findURI(r *core.Request, u *sipmsg.URI) (*entry, error) {
	var buf [128]byte
	did, user, ok, err := m.address(r, buf[:0], u)
	if !ok || err != nil {
		return nil, err
	}
	e, err := m.find(r, did, user)
	if err != nil || e.set == nil {
		return nil, err
	}
	return e, nil
}

func (m *Module) lookupUser(r *core.Request, a *core.Args) core.Result {
	t, _, err := core.ParseAttrGroup(a.Value(0).Str)
	if err != nil {
		return core.Fail(err)
	}
	u, err := sipmsg.ParseURI(a.Bytes(1))
	var e *entry
	if err == nil {
		if e, err = m.findURI(r, &u); err != nil {
			return core.Fail(err)
		}
	}
	if e == nil || !usable(e.user.Flags, t) {
		r.Attrs.Publish(t, core.UserClass, nil)
		return core.False("unknown")
	}
	r.Attrs.Publish(t, core.UserClass, e.set)
	return core.True
}

// usable tells whether an address may stand in From or To. A row that carries
// neither flag may stand in both.
func usable(flags uint32, t core.Track) bool {
	if flags&(flagIsFrom|flagIsTo) == 0 {
		return true
	}
	if t == core.FromTrack {
		return flags&flagIsFrom != 0
	}
	return flags&flagIsTo != 0
}

func (m *Module) doesURIExist(r *core.Request, a *core.Args) core.Result {
	var u sipmsg.URI
	var err error
	if a.Len() > 0 {
		u, err = sipmsg.ParseURI(a.Bytes(0))
	} else {
		var p *sipmsg.URI
		p, err = r.Msg.RURI()
		u = *p
	}
	if err != nil {
		return core.False("unknown")
	}
	e, err := m.findURI(r, &u)
	if err != nil {
		return core.Fail(err)
	}
	if e == nil {
		return core.False("unknown")
	}
	return core.True
}

func (m *Module) aliasLookup(r *core.Request, _ *core.Args) core.Result {
	u, err := r.Msg.RURI()
	if err != nil {
		return core.False("unknown")
	}
	var buf [128]byte
	did, user, ok, err := m.address(r, buf[:0], u)
	if err != nil {
		return core.Fail(err)
	}
	if !ok {
		return core.False("unknown")
	}
	e, err := m.find(r, did, user)
	if err != nil {
		return core.Fail(err)
	}
	if e.set == nil {
		return core.False("unknown")
	}
	if e.user.DID == did && e.user.Name == string(user) {
		return core.False("same")
	}
	uri := append([]byte(nil), "sip:"...)
	if u.Scheme == sipmsg.SIPS {
		uri = append(uri[:0], "sips:"...)
	}
	uri = append(sipmsg.AppendEscapedUser(uri, []byte(e.user.Name)), '@')
	host, ok, err := m.hostOf(r, u, did, e.user.DID)
	if err != nil {
		return core.Fail(err)
	}
	if !ok {
		return core.False("domain")
	}
	uri = append(uri, host...)
	if _, err := sipmsg.ParseURI(uri); err != nil {
		return core.Fail(fmt.Errorf("table %s: canonical address of uid %s: %w", m.table, e.user.UID, err))
	}
	r.Msg.SetRURI(uri)
	return core.True
}

// hostOf is the host of a canonical address: the present one if it is of the
// same domain, else the domain's name.
func (m *Module) hostOf(r *core.Request, u *sipmsg.URI, did, canonical string) (host string, ok bool, err error) {
	if did == canonical {
		return string(u.Host), true, nil
	}
	if m.domains == nil {
		return canonical, true, nil
	}
	host, ok, err = m.domains.LookupName(r, canonical)
	if strings.IndexByte(host, ':') >= 0 {
		host = "[" + host + "]" // RFC 3261 §25.1: IPv6reference
	}
	return host, ok, err
}
