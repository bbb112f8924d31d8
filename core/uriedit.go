package core

import (
	"fmt"

	"sipr/core/sipmsg"
)

// SetURIPart gives one part of the Request-URI another value: "uri", "user",
// "password", "host", "port", "hostport" or "params". No value removes the part
// where that is possible. The result must be a URI.
func SetURIPart(r *Request, part string, v Value) error {
	text := v.Append(nil)
	if part == "uri" {
		return setURI(r, text)
	}
	u, err := r.Msg.RURI()
	if err != nil {
		return err
	}
	if u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS {
		return fmt.Errorf("the Request-URI is no sip: URI, so its %s cannot be set", part)
	}
	e := newURIEdit(u)
	switch part {
	case "user":
		e.user = text
	case "password":
		e.password, e.hasPassword = text, v.Kind != KindNil
	case "host":
		e.host = text
	case "port":
		e.port = text
	case "hostport":
		e.host, e.port = text, nil
	case "params":
		e.params = text
	default:
		return fmt.Errorf("the Request-URI has no part %q that can be set", part)
	}
	return setURI(r, e.append(nil))
}

func setURI(r *Request, text []byte) error {
	if _, err := sipmsg.ParseURI(text); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	if !r.Msg.Room(len(text)) {
		return fmt.Errorf("the message has been edited too often")
	}
	r.Msg.SetRURI(text)
	return nil
}

// uriEdit is a sip: URI in parts.
type uriEdit struct {
	scheme                string
	user, password, host  []byte
	port, params, headers []byte
	hasPassword           bool
}

func newURIEdit(u *sipmsg.URI) *uriEdit {
	e := &uriEdit{scheme: "sip", user: u.User, password: u.Password, host: u.Host,
		params: u.Params, headers: u.Headers, hasPassword: u.HasPassword}
	if u.Scheme == sipmsg.SIPS {
		e.scheme = "sips"
	}
	if u.Port != 0 {
		e.port = fmt.Appendf(nil, "%d", u.Port)
	}
	return e
}

func (e *uriEdit) append(dst []byte) []byte {
	dst = append(append(dst, e.scheme...), ':')
	if len(e.user) > 0 {
		dst = sipmsg.AppendEscapedUser(dst, sipmsg.AppendUnescaped(nil, e.user))
		if e.hasPassword {
			dst = append(append(dst, ':'), e.password...)
		}
		dst = append(dst, '@')
	}
	dst = append(dst, e.host...)
	if len(e.port) > 0 {
		dst = append(append(dst, ':'), e.port...)
	}
	if len(e.params) > 0 {
		dst = append(append(dst, ';'), e.params...)
	}
	if len(e.headers) > 0 {
		dst = append(append(dst, '?'), e.headers...)
	}
	return dst
}
