package core

import (
	"bytes"
	"strconv"

	"sipr/core/sipmsg"
)

// uriMember is a part of a URI.
type uriMember uint8

const (
	uriWhole uriMember = iota
	uriUser
	uriPassword
	uriHost
	uriPort
	uriHostPort
	uriType
	uriTransport
	uriParams
	uriParam
	uriPlainUser
)

var uriMembers = map[string]uriMember{
	"user": uriUser, "rn_user": uriPlainUser, "pwd": uriPassword, "password": uriPassword, "host": uriHost,
	"port": uriPort, "hostport": uriHostPort, "type": uriType, "scheme": uriType, "transport": uriTransport, "params": uriParams,
}

// uriPath compiles what follows a URI.
func uriPath(p *selectPath) (m uriMember, param string, err error) {
	if p.end() {
		return uriWhole, "", nil
	}
	if m, err = pick(p, uriMembers); err == nil && m == uriParams && !p.end() {
		return uriParam, p.next(), nil
	}
	return m, "", err
}

// cachedURI compiles a URI that the message keeps parsed.
func cachedURI(p *selectPath, get func(*Request) (*sipmsg.URI, error)) (Select, error) {
	m, param, err := uriPath(p)
	if err != nil {
		return nil, err
	}
	return func(r *Request) Value {
		u, err := get(r)
		if err != nil {
			return Value{}
		}
		return uriValue(r, u, m, param)
	}, nil
}

// textURI compiles a URI that is parsed at each read.
func textURI(p *selectPath, get func(*Request) []byte) (Select, error) {
	m, param, err := uriPath(p)
	if err != nil {
		return nil, err
	}
	if m == uriWhole {
		return func(r *Request) Value { return RawValue(get(r)) }, nil
	}
	return func(r *Request) Value {
		text := get(r)
		if text == nil {
			return Value{}
		}
		u, err := sipmsg.ParseURI(text)
		if err != nil {
			return Value{}
		}
		return uriValue(r, &u, m, param)
	}, nil
}

func uriValue(r *Request, u *sipmsg.URI, m uriMember, param string) Value {
	switch m {
	case uriWhole:
		return RawValue(u.Raw)
	case uriUser:
		return RawValue(u.User)
	case uriPlainUser:
		return plainUser(r, u)
	case uriPassword:
		return RawValue(u.Password)
	case uriHost:
		return RawValue(u.Host)
	case uriPort:
		if u.Port == 0 {
			return Value{}
		}
		return IntValue(int64(u.Port))
	case uriHostPort:
		return hostPort(r, u)
	case uriType:
		if i := bytes.IndexByte(u.Raw, ':'); i >= 0 {
			return RawValue(u.Raw[:i])
		}
		return Value{}
	case uriTransport:
		return paramValue(u.Param("transport"))
	case uriParams:
		return RawValue(u.Params)
	case uriParam:
		return paramValue(u.Param(param))
	}
	return Value{}
}

// paramValue is the value of a parameter; one without "=" is empty text.
func paramValue(v []byte, ok bool) Value {
	switch {
	case !ok:
		return Value{}
	case v == nil:
		return TextValue("")
	}
	return RawValue(v)
}

func hostPort(r *Request, u *sipmsg.URI) Value {
	if len(u.Host) == 0 {
		return Value{}
	}
	port := uint64(u.Port)
	if port == 0 {
		port = 5060
		if u.Scheme == sipmsg.SIPS {
			port = 5061
		}
	}
	var tmp [300]byte
	b := append(append(tmp[:0], u.Host...), ':')
	return RawValue(r.Keep(strconv.AppendUint(b, port, 10)))
}

// plainUser is the user part without what only people need in a telephone
// number: its visual separators and parameters (RFC 3966 §5.1.1).
func plainUser(r *Request, u *sipmsg.URI) Value {
	user := u.User
	if i := bytes.IndexByte(user, ';'); i >= 0 {
		user = user[:i]
	}
	number, plain := len(user) > 0, true
	for i, c := range user {
		switch {
		case c >= '0' && c <= '9', c == '+' && i == 0:
		case c == '-' || c == '.' || c == '(' || c == ')':
			plain = false
		default:
			number = false
		}
	}
	if plain || !number {
		return RawValue(user)
	}
	var tmp [64]byte
	b := tmp[:0]
	for _, c := range user {
		if c == '+' || c >= '0' && c <= '9' {
			b = append(b, c)
		}
	}
	return RawValue(r.Keep(b))
}

func requestURI(p *selectPath) (Select, error) {
	return cachedURI(p, func(r *Request) (*sipmsg.URI, error) { return r.Msg.RURI() })
}

func dstURI(p *selectPath) (Select, error) {
	return textURI(p, func(r *Request) []byte { return r.Main.NextHop })
}

// nextHop is where the request goes by RFC 3261 §16.6 steps 6 and 7.
func nextHop(p *selectPath) (Select, error) {
	return textURI(p, func(r *Request) []byte {
		if r.Main.NextHop != nil {
			return r.Main.NextHop
		}
		if v := nthValue(r.Msg, sipmsg.HRoute, 1); v != nil {
			n, err := sipmsg.ParseNameAddr(v)
			if err != nil {
				return nil
			}
			return n.URIText
		}
		return r.Msg.RURIText()
	})
}
