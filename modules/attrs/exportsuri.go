package attrs

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"sipr/core"
	"sipr/core/sipmsg"
)

// uriParts maps SER's names of parts of the Request-URI to those of
// core.SetURIPart; three more are made of the present user part.
var uriParts = map[string]string{
	"uri": "uri", "username": "user", "user": "user", "usernamepassword": "userinfo", "password": "password",
	"domain": "host", "host": "host", "domainport": "hostport", "hostport": "hostport", "port": "port", "params": "params",
	"prefix": "prefix", "strip": "strip", "strip_tail": "strip_tail",
}

func partNames() []string {
	var names []string
	for n := range uriParts {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func checkPart(s string) error {
	if _, ok := uriParts[s]; !ok {
		return fmt.Errorf("%q is no part of a URI: %s are", s, strings.Join(partNames(), ", "))
	}
	return nil
}

func (m *Module) attr2uri(r *core.Request, a *core.Args) core.Result {
	ref, err := core.ParseAttrRef(a.String(0))
	if err != nil {
		return core.Fail(err)
	}
	part := "uri"
	if a.Has(1) {
		if err := checkPart(a.String(1)); err != nil {
			return core.Fail(err)
		}
		part = uriParts[a.String(1)]
	}
	v, ok := r.Attrs.Get(&ref)
	if !ok {
		return core.False("undefined")
	}
	if err := setPart(r, part, v); err != nil {
		return core.False("invalid")
	}
	return core.True
}

func setPart(r *core.Request, part string, v core.Value) error {
	switch part {
	case "userinfo":
		user, password, ok := bytes.Cut(v.Append(nil), []byte{':'})
		if err := core.SetURIPart(r, "user", core.RawValue(user)); err != nil {
			return err
		}
		v = core.Value{}
		if ok {
			v = core.RawValue(password)
		}
		return core.SetURIPart(r, "password", v)
	case "prefix", "strip", "strip_tail":
		return changeUser(r, part, v)
	}
	return core.SetURIPart(r, part, v)
}

// changeUser puts text before the user part or takes characters off it.
func changeUser(r *core.Request, part string, v core.Value) error {
	u, err := r.Msg.RURI()
	if err != nil {
		return err
	}
	user := sipmsg.AppendUnescaped(nil, u.User)
	if part == "prefix" {
		return core.SetURIPart(r, "user", core.RawValue(append(v.Append(nil), user...)))
	}
	n, ok := v.Int()
	if !ok || n < 0 || n > int64(len(user)) {
		return fmt.Errorf("%s of %s characters", part, v.String())
	}
	if part == "strip" {
		user = user[n:]
	} else {
		user = user[:int64(len(user))-n]
	}
	return core.SetURIPart(r, "user", core.RawValue(user))
}

func (m *Module) attrDestination(r *core.Request, a *core.Args) core.Result {
	ref, err := core.ParseAttrRef(a.String(0))
	if err != nil {
		return core.Fail(err)
	}
	v, ok := r.Attrs.Get(&ref)
	if !ok {
		return core.False("undefined")
	}
	text := v.Append(nil)
	if n, err := sipmsg.ParseNameAddr(text); err == nil && n.Bracketed {
		text = n.URIText
	}
	if !sipmsg.EqualFold(text[:min(len(text), 4)], "sip:") && !sipmsg.EqualFold(text[:min(len(text), 5)], "sips:") {
		text = append([]byte("sip:"), text...)
	}
	u, err := sipmsg.ParseURI(text)
	if err != nil || len(u.Host) == 0 {
		return core.False("invalid")
	}
	r.Main.NextHop = r.Keep(text)
	return core.True
}
