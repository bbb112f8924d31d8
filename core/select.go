package core

import (
	"fmt"
	"strings"

	"sipr/core/sipmsg"
)

// Select is a compiled select: a value of the message or of the router that a
// name such as "@ruri.host" stands for. Its result has no value where the
// message has none.
type Select func(r *Request) Value

// CompileSelect compiles "@from.uri.host", "@msg.header[\"X\"]" and the like.
func CompileSelect(text string) (Select, error) {
	parts, err := splitSelect(text)
	if err != nil {
		return nil, err
	}
	sel, rest := selectRoot(parts)
	if sel == nil || len(rest) > 0 {
		return nil, fmt.Errorf("%q is not a select: there is no %q", text, strings.Join(parts, "."))
	}
	return sel, nil
}

// splitSelect splits a select into its names; brackets may hold any text.
func splitSelect(text string) ([]string, error) {
	s, ok := strings.CutPrefix(text, "@")
	if !ok || s == "" {
		return nil, fmt.Errorf("%q is not a select", text)
	}
	var parts []string
	for s != "" {
		if s[0] == '[' {
			end := strings.IndexByte(s, ']')
			if end < 0 {
				return nil, fmt.Errorf("%q: ] is missing", text)
			}
			parts = append(parts, strings.Trim(s[1:end], `"'`))
			s = strings.TrimPrefix(s[end+1:], ".")
			continue
		}
		end := strings.IndexAny(s, ".[")
		if end < 0 {
			end = len(s)
		}
		parts = append(parts, s[:end])
		s = strings.TrimPrefix(s[end:], ".")
	}
	return parts, nil
}

func selectRoot(p []string) (Select, []string) {
	head, rest := p[0], p[1:]
	switch head {
	case "method":
		return func(r *Request) Value { return RawValue(r.MethodName()) }, rest
	case "ruri", "request_uri", "r":
		return uriSelect(func(r *Request) (*sipmsg.URI, error) { return r.Msg.RURI() }, rest)
	case "dst_uri":
		return func(r *Request) Value { return RawValue(r.Main.NextHop) }, rest
	case "from", "f":
		return addrSelect((*sipmsg.Message).From, (*sipmsg.Message).FromURI, sipmsg.HFrom, rest)
	case "to", "t":
		return addrSelect((*sipmsg.Message).To, (*sipmsg.Message).ToURI, sipmsg.HTo, rest)
	case "contact", "m":
		return contactSelect(rest)
	case "via", "v":
		return viaSelect(rest)
	case "cseq":
		return cseqSelect(rest)
	case "call_id", "callid", "i":
		return func(r *Request) Value { return RawValue(r.Message().CallID()) }, rest
	case "max_forwards":
		return func(r *Request) Value { return headerValue(r.Msg, sipmsg.HMaxForwards) }, rest
	case "msg":
		return msgSelect(rest)
	case "src":
		return addrPortSelect(func(r *Request) (addrPort, Proto) { return addrPort{r.Flow.Remote}, r.Flow.Proto() }, rest)
	case "dst":
		return addrPortSelect(func(r *Request) (addrPort, Proto) { return addrPort{r.Flow.Socket.Addr}, r.Flow.Proto() }, rest)
	case "auth":
		return authSelect(rest)
	case "status":
		return func(r *Request) Value {
			if r.Reply == nil {
				return Value{}
			}
			return IntValue(int64(r.Reply.Status))
		}, rest
	case "reason":
		return func(r *Request) Value {
			if r.Reply == nil {
				return Value{}
			}
			return RawValue(r.Reply.Reason())
		}, rest
	}
	return nil, p
}

func uriSelect(get func(*Request) (*sipmsg.URI, error), p []string) (Select, []string) {
	field := func(f func(*Request, *sipmsg.URI) Value) Select {
		return func(r *Request) Value {
			u, err := get(r)
			if err != nil {
				return Value{}
			}
			return f(r, u)
		}
	}
	text := func(f func(*sipmsg.URI) []byte) Select {
		return field(func(_ *Request, u *sipmsg.URI) Value { return RawValue(f(u)) })
	}
	if len(p) == 0 {
		return text(func(u *sipmsg.URI) []byte { return u.Raw }), nil
	}
	rest := p[1:]
	switch p[0] {
	case "user":
		return text(func(u *sipmsg.URI) []byte { return u.User }), rest
	case "password", "pwd":
		return text(func(u *sipmsg.URI) []byte { return u.Password }), rest
	case "host":
		return text(func(u *sipmsg.URI) []byte { return u.Host }), rest
	case "port":
		return field(func(_ *Request, u *sipmsg.URI) Value {
			if u.Port == 0 {
				return Value{}
			}
			return IntValue(int64(u.Port))
		}), rest
	case "hostport":
		return field(func(r *Request, u *sipmsg.URI) Value {
			port := u.Port
			if port == 0 {
				port = 5060
				if u.Scheme == sipmsg.SIPS {
					port = 5061
				}
			}
			return RawValue(r.Keep([]byte(fmt.Sprintf("%s:%d", u.Host, port))))
		}), rest
	case "type", "scheme":
		return text(func(u *sipmsg.URI) []byte {
			return u.Raw[:strings.IndexByte(string(u.Raw), ':')]
		}), rest
	case "transport":
		return text(func(u *sipmsg.URI) []byte { v, _ := u.Param("transport"); return v }), rest
	case "params":
		if len(rest) == 0 {
			return text(func(u *sipmsg.URI) []byte { return u.Params }), nil
		}
		name := rest[0]
		return text(func(u *sipmsg.URI) []byte { v, _ := u.Param(name); return v }), rest[1:]
	}
	return nil, p
}

func addrSelect(get func(*sipmsg.Message) (*sipmsg.NameAddr, error), uri func(*sipmsg.Message) (*sipmsg.URI, error), id sipmsg.HeaderID, p []string) (Select, []string) {
	if len(p) == 0 {
		return func(r *Request) Value { return headerValue(r.Message(), id) }, nil
	}
	field := func(f func(*sipmsg.NameAddr) []byte) Select {
		return func(r *Request) Value {
			n, err := get(r.Message())
			if err != nil {
				return Value{}
			}
			return RawValue(f(n))
		}
	}
	rest := p[1:]
	switch p[0] {
	case "uri":
		return uriSelect(func(r *Request) (*sipmsg.URI, error) { return uri(r.Message()) }, rest)
	case "name":
		return field(func(n *sipmsg.NameAddr) []byte { return n.Display }), rest
	case "tag":
		return field(func(n *sipmsg.NameAddr) []byte { v, _ := n.Param("tag"); return v }), rest
	case "params":
		if len(rest) == 0 {
			return field(func(n *sipmsg.NameAddr) []byte { return n.Params }), nil
		}
		name := rest[0]
		return field(func(n *sipmsg.NameAddr) []byte { v, _ := n.Param(name); return v }), rest[1:]
	}
	return nil, p
}

func contactSelect(p []string) (Select, []string) {
	first := func(r *Request) (sipmsg.NameAddr, bool) {
		v, _ := sipmsg.NextValue(r.Message().Get(sipmsg.HContact))
		n, err := sipmsg.ParseNameAddr(v)
		return n, err == nil
	}
	if len(p) == 0 {
		return func(r *Request) Value { return headerValue(r.Message(), sipmsg.HContact) }, nil
	}
	rest := p[1:]
	switch p[0] {
	case "uri":
		return uriSelect(func(r *Request) (*sipmsg.URI, error) {
			n, ok := first(r)
			if !ok {
				return nil, sipmsg.ErrNameAddr
			}
			u, err := n.URI()
			return &u, err
		}, rest)
	case "name":
		return func(r *Request) Value { n, _ := first(r); return RawValue(n.Display) }, rest
	case "params":
		if len(rest) > 0 {
			name := rest[0]
			return func(r *Request) Value {
				n, _ := first(r)
				v, _ := n.Param(name)
				return RawValue(v)
			}, rest[1:]
		}
	case "q", "expires", "methods":
		name := p[0]
		return func(r *Request) Value {
			n, _ := first(r)
			v, _ := n.Param(name)
			return RawValue(v)
		}, rest
	}
	return nil, p
}

func viaSelect(p []string) (Select, []string) {
	if len(p) == 0 {
		return func(r *Request) Value { return headerValue(r.Message(), sipmsg.HVia) }, nil
	}
	var f func(*sipmsg.Via) Value
	switch p[0] {
	case "host":
		f = func(v *sipmsg.Via) Value { return RawValue(v.Host) }
	case "port":
		f = func(v *sipmsg.Via) Value { return IntValue(int64(v.Port)) }
	case "branch":
		f = func(v *sipmsg.Via) Value { return RawValue(v.Branch) }
	case "transport":
		f = func(v *sipmsg.Via) Value { return RawValue(v.Transport) }
	case "received":
		f = func(v *sipmsg.Via) Value { return RawValue(v.Received) }
	default:
		return nil, p
	}
	return func(r *Request) Value {
		v, err := r.Message().Via()
		if err != nil {
			return Value{}
		}
		return f(v)
	}, p[1:]
}

func cseqSelect(p []string) (Select, []string) {
	if len(p) == 0 {
		return func(r *Request) Value { return headerValue(r.Message(), sipmsg.HCSeq) }, nil
	}
	switch p[0] {
	case "num":
		return func(r *Request) Value {
			n, _, err := r.Message().CSeq()
			if err != nil {
				return Value{}
			}
			return IntValue(int64(n))
		}, p[1:]
	case "method":
		return func(r *Request) Value { _, m, _ := r.Message().CSeq(); return RawValue(m) }, p[1:]
	}
	return nil, p
}

func msgSelect(p []string) (Select, []string) {
	if len(p) == 0 {
		return func(r *Request) Value { return RawValue(r.Message().Bytes()) }, nil
	}
	switch p[0] {
	case "body":
		return func(r *Request) Value { return RawValue(r.Message().Body()) }, p[1:]
	case "len":
		return func(r *Request) Value { return IntValue(int64(r.Message().Size())) }, p[1:]
	case "header":
		if len(p) < 2 {
			return nil, p
		}
		return headerSelect(p[1]), p[2:]
	}
	return headerSelect(p[0]), p[1:]
}

func headerSelect(name string) Select {
	if id := sipmsg.LookupHeader(name); id != sipmsg.HOther {
		return func(r *Request) Value { return headerValue(r.Message(), id) }
	}
	if alt := strings.ReplaceAll(name, "_", "-"); alt != name {
		if id := sipmsg.LookupHeader(alt); id != sipmsg.HOther {
			return func(r *Request) Value { return headerValue(r.Message(), id) }
		}
	}
	return func(r *Request) Value {
		m := r.Message()
		i := m.Find(name, 0)
		if i < 0 {
			return Value{}
		}
		return RawValue(m.Value(i))
	}
}

func headerValue(m *sipmsg.Message, id sipmsg.HeaderID) Value {
	i := m.First(id)
	if i < 0 {
		return Value{}
	}
	return RawValue(m.Value(i))
}

func authSelect(p []string) (Select, []string) {
	if len(p) == 0 {
		return nil, p
	}
	var f func(*Identity) string
	switch p[0] {
	case "user":
		f = func(i *Identity) string { return i.User }
	case "realm":
		f = func(i *Identity) string { return i.Realm }
	case "uid":
		f = func(i *Identity) string { return i.UID }
	case "did":
		f = func(i *Identity) string { return i.DID }
	default:
		return nil, p
	}
	return func(r *Request) Value {
		if !r.Auth.Known {
			return Value{}
		}
		return TextValue(f(&r.Auth))
	}, p[1:]
}
