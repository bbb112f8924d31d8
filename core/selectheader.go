package core

import (
	"strings"

	"sipr/core/sipmsg"
)

func headerValue(m *sipmsg.Message, id sipmsg.HeaderID) Value {
	i := m.First(id)
	if i < 0 {
		return Value{}
	}
	return RawValue(m.Value(i))
}

func oneHeader(id sipmsg.HeaderID) buildSelect {
	return leaf(func(r *Request) Value { return headerValue(r.Message(), id) })
}

func namedHeader(name string) buildSelect {
	return leaf(func(r *Request) Value { return RawValue(nthHeader(r.Message(), name, 1)) })
}

// nthValue returns the nth of the comma-separated values of a kind of header
// field: 1 is the first, -1 the last; nil if there is none.
func nthValue(m *sipmsg.Message, id sipmsg.HeaderID, n int) []byte {
	if n < 0 {
		count := 0
		for v := m.Values(id); v.Next(); {
			count++
		}
		n += count + 1
	}
	for v := m.Values(id); n > 0 && v.Next(); n-- {
		if n == 1 {
			return v.Value
		}
	}
	return nil
}

// nthHeader returns the value of the nth header field of a name, as nthValue
// counts.
func nthHeader(m *sipmsg.Message, name string, n int) []byte {
	if n < 0 {
		for i := m.Find(name, 0); i >= 0; i = m.Find(name, i+1) {
			n++
		}
		n++
	}
	for i := m.Find(name, 0); n > 0 && i >= 0; i = m.Find(name, i+1) {
		if n == 1 {
			return m.Value(i)
		}
		n--
	}
	return nil
}

// nthNamedValue is nthValue for a header field that is known by name only.
func nthNamedValue(m *sipmsg.Message, name string, n int) []byte {
	if n < 0 {
		for i := m.Find(name, 0); i >= 0; i = m.Find(name, i+1) {
			for rest := m.Value(i); len(rest) > 0; n++ {
				_, rest = sipmsg.NextValue(rest)
			}
		}
		n++
	}
	for i := m.Find(name, 0); n > 0 && i >= 0; i = m.Find(name, i+1) {
		for rest := m.Value(i); len(rest) > 0; n-- {
			var v []byte
			if v, rest = sipmsg.NextValue(rest); n == 1 {
				return v
			}
		}
	}
	return nil
}

// headerName takes the name of a header field, in which "_" may stand for "-".
func headerName(p *selectPath) (string, error) {
	if p.end() {
		return "", p.unknown(nil)
	}
	name := strings.TrimSpace(p.next())
	if sipmsg.LookupHeader(name) == sipmsg.HOther {
		name = strings.ReplaceAll(name, "_", "-")
	}
	return name, nil
}

// nameAddrMember is a part of a name-addr.
type nameAddrMember uint8

const (
	addrURI nameAddrMember = iota
	addrName
	addrParams
	addrParam
)

// nameAddrMembers are the parts of a name-addr; those with a name are
// parameters of the header field that have one.
var nameAddrMembers = map[string]struct {
	member nameAddrMember
	param  string
}{
	"uri": {addrURI, ""}, "name": {addrName, ""}, "params": {addrParams, ""}, "tag": {addrParam, "tag"},
	"q": {addrParam, "q"}, "expires": {addrParam, "expires"}, "methods": {addrParam, "methods"},
	"received": {addrParam, "received"}, "instance": {addrParam, "+sip.instance"},
}

// nameAddrPath compiles what follows a name-addr, whose text get returns.
func nameAddrPath(p *selectPath, get func(*Request) []byte) (Select, error) {
	m, err := pick(p, nameAddrMembers)
	if err != nil {
		return nil, err
	}
	switch {
	case m.member == addrURI:
		return textURI(p, func(r *Request) []byte {
			n, err := sipmsg.ParseNameAddr(get(r))
			if err != nil {
				return nil
			}
			return n.URIText
		})
	case m.member == addrParams && !p.end():
		m.member, m.param = addrParam, p.next()
	}
	return func(r *Request) Value {
		text := get(r)
		if text == nil {
			return Value{}
		}
		n, err := sipmsg.ParseNameAddr(text)
		if err != nil {
			return Value{}
		}
		return nameAddrValue(&n, m.member, m.param)
	}, nil
}

func nameAddrValue(n *sipmsg.NameAddr, m nameAddrMember, param string) Value {
	switch m {
	case addrURI:
		return RawValue(n.URIText)
	case addrName:
		return RawValue(n.Display)
	case addrParams:
		return RawValue(n.Params)
	}
	return paramValue(n.Param(param))
}

// nameAddrHeader compiles a header field of name-addrs, whose values may be
// counted: contact[2].uri. Without anything behind it stands for the first
// field as it is.
func nameAddrHeader(id sipmsg.HeaderID) buildSelect {
	return func(p *selectPath) (Select, error) {
		if p.end() {
			return func(r *Request) Value { return headerValue(r.Message(), id) }, nil
		}
		n, err := p.index(1)
		if err != nil {
			return nil, err
		}
		get := func(r *Request) []byte { return nthValue(r.Message(), id, n) }
		if p.end() {
			return func(r *Request) Value { return RawValue(get(r)) }, nil
		}
		return nameAddrPath(p, get)
	}
}

func fromSelect(p *selectPath) (Select, error) {
	return addressHeader(p, (*sipmsg.Message).From, (*sipmsg.Message).FromURI, sipmsg.HFrom)
}

func toSelect(p *selectPath) (Select, error) {
	return addressHeader(p, (*sipmsg.Message).To, (*sipmsg.Message).ToURI, sipmsg.HTo)
}

// addressHeader compiles From or To, which the message keeps parsed.
func addressHeader(p *selectPath, get func(*sipmsg.Message) (*sipmsg.NameAddr, error), uri func(*sipmsg.Message) (*sipmsg.URI, error), id sipmsg.HeaderID) (Select, error) {
	if p.end() {
		return func(r *Request) Value { return headerValue(r.Message(), id) }, nil
	}
	m, err := pick(p, nameAddrMembers)
	if err != nil {
		return nil, err
	}
	switch {
	case m.member == addrURI:
		return cachedURI(p, func(r *Request) (*sipmsg.URI, error) { return uri(r.Message()) })
	case m.member == addrParams && !p.end():
		m.member, m.param = addrParam, p.next()
	}
	return func(r *Request) Value {
		n, err := get(r.Message())
		if err != nil {
			return Value{}
		}
		return nameAddrValue(n, m.member, m.param)
	}, nil
}

// anyHeader compiles msg.header.name[n]: the nth header field of a name, with
// its parts as those of a name-addr.
func anyHeader(p *selectPath) (Select, error) {
	name, err := headerName(p)
	if err != nil {
		return nil, err
	}
	n, err := p.index(1)
	if err != nil {
		return nil, err
	}
	get := func(r *Request) []byte { return nthHeader(r.Message(), name, n) }
	if id := sipmsg.LookupHeader(name); id != sipmsg.HOther && n == 1 {
		get = func(r *Request) []byte {
			i := r.Message().First(id)
			if i < 0 {
				return nil
			}
			return r.Message().Value(i)
		}
	}
	switch {
	case p.end():
		return func(r *Request) Value { return RawValue(get(r)) }, nil
	case p.is("nameaddr") && !p.end():
		return nameAddrPath(p, get)
	case p.is("params", "param", "p"):
		return headerParam(p, get)
	}
	return nil, p.unknown([]string{"nameaddr", "params"})
}

// headerValues compiles hf_value.name[n]: the nth comma-separated value of a
// header field.
func headerValues(p *selectPath) (Select, error) {
	name, err := headerName(p)
	if err != nil {
		return nil, err
	}
	n, err := p.index(1)
	if err != nil {
		return nil, err
	}
	get := func(r *Request) []byte { return nthNamedValue(r.Message(), name, n) }
	if id := sipmsg.LookupHeader(name); id != sipmsg.HOther {
		get = func(r *Request) []byte { return nthValue(r.Message(), id, n) }
	}
	switch {
	case p.end():
		return func(r *Request) Value { return RawValue(get(r)) }, nil
	case p.is("p", "param"):
		return headerParam(p, get)
	case p.is("nameaddr") && p.end():
		return nil, p.unknown(nil)
	}
	return nameAddrPath(p, get)
}

// headerParam compiles a parameter of any header field's value.
func headerParam(p *selectPath, get func(*Request) []byte) (Select, error) {
	if p.end() {
		return nil, p.unknown(nil)
	}
	name := p.next()
	return func(r *Request) Value {
		params := paramsOf(get(r))
		if params == nil {
			return Value{}
		}
		return paramValue(sipmsg.HeaderParam(params, name))
	}, nil
}

// paramsOf returns what follows the first semicolon of a value that stands
// neither in quotes nor in angle brackets.
func paramsOf(v []byte) []byte {
	quoted, inside := false, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			inside = true
		case c == '>':
			inside = false
		case c == ';' && !inside:
			return v[i+1:]
		}
	}
	return nil
}

// viaMember is a part of a Via.
type viaMember uint8

const (
	viaName viaMember = iota
	viaVersion
	viaTransport
	viaHost
	viaPort
	viaBranch
	viaReceived
	viaRPort
	viaParam
)

var viaMembers = map[string]struct {
	member viaMember
	param  string
}{
	"name": {viaName, ""}, "version": {viaVersion, ""}, "transport": {viaTransport, ""}, "host": {viaHost, ""}, "port": {viaPort, ""},
	"branch": {viaBranch, ""}, "received": {viaReceived, ""}, "rport": {viaRPort, ""}, "i": {viaParam, "i"}, "alias": {viaParam, "alias"},
	"ttl": {viaParam, "ttl"}, "maddr": {viaParam, "maddr"}, "params": {viaParam, ""},
}

// viaSelect compiles via and via[n]; 1 is the topmost.
func viaSelect(p *selectPath) (Select, error) {
	if p.end() {
		return func(r *Request) Value { return headerValue(r.Message(), sipmsg.HVia) }, nil
	}
	n, err := p.index(1)
	if err != nil {
		return nil, err
	}
	if p.end() {
		return func(r *Request) Value { return RawValue(nthValue(r.Message(), sipmsg.HVia, n)) }, nil
	}
	m, err := pick(p, viaMembers)
	if err != nil {
		return nil, err
	}
	switch {
	case m.member == viaParam && m.param == "":
		if p.end() {
			return func(r *Request) Value { return RawValue(paramsOf(nthValue(r.Message(), sipmsg.HVia, n))) }, nil
		}
		m.param = p.next()
		fallthrough
	case m.member == viaParam:
		return func(r *Request) Value {
			return paramValue(sipmsg.HeaderParam(paramsOf(nthValue(r.Message(), sipmsg.HVia, n)), m.param))
		}, nil
	case n == 1:
		return func(r *Request) Value {
			v, err := r.Message().Via()
			if err != nil {
				return Value{}
			}
			return viaValue(v, m.member)
		}, nil
	}
	return func(r *Request) Value {
		v, err := sipmsg.ParseVia(nthValue(r.Message(), sipmsg.HVia, n))
		if err != nil {
			return Value{}
		}
		return viaValue(&v, m.member)
	}, nil
}

func viaValue(v *sipmsg.Via, m viaMember) Value {
	switch m {
	case viaName: // any other does not parse
		return TextValue("SIP")
	case viaVersion:
		return TextValue("2.0")
	case viaTransport:
		return RawValue(v.Transport)
	case viaHost:
		return RawValue(v.Host)
	case viaPort:
		return numberOrNone(v.Port)
	case viaBranch:
		return RawValue(v.Branch)
	case viaReceived:
		return RawValue(v.Received)
	case viaRPort:
		if v.HasRPort && v.RPort == 0 {
			return TextValue("")
		}
		return numberOrNone(v.RPort)
	}
	return Value{}
}

func numberOrNone(n uint16) Value {
	if n == 0 {
		return Value{}
	}
	return IntValue(int64(n))
}
