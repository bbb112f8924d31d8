package sipmsg

import (
	"bytes"
	"errors"
)

// Via is one parsed Via value (RFC 3261 §20.42). Its slices point into the
// message.
type Via struct {
	// Transport as written: UDP, TCP, TLS, SCTP, WS, WSS or another token.
	Transport []byte
	Host      []byte
	Port      uint16 // 0 where none was written
	Branch    []byte
	Received  []byte
	Maddr     []byte
	RPort     uint16
	HasRPort  bool // rport is present, with a value or without (RFC 3581)
	Alias     bool // alias is present (RFC 5923)
	// value is the whole value; rportEnd is the offset in it just after the
	// name rport where that has no value, else -1; rportValue is its value.
	value      []byte
	rportEnd   int
	rportValue []byte
}

// MagicCookie begins every branch that RFC 3261 elements make (§8.1.1.7).
const MagicCookie = "z9hG4bK"

// ErrVia is returned for a malformed Via value.
var ErrVia = errors.New("bad Via")

// ParseVia parses one Via value.
func ParseVia(b []byte) (Via, error) {
	v := Via{value: b, rportEnd: -1}
	// The form that everyone sends, first.
	var rest []byte
	if len(b) > 12 && string(b[:8]) == "SIP/2.0/" && !isLWS(b[8]) {
		i := 8
		for i < len(b) && class[b[i]]&cToken != 0 {
			i++
		}
		v.Transport, rest = b[8:i], b[i:]
	} else {
		name, r1 := cut(b, '/')
		version, r2 := cut(r1, '/')
		if !EqualFold(Trim(name), "SIP") || string(Trim(version)) != "2.0" {
			return v, ErrVia
		}
		for len(r2) > 0 && isLWS(r2[0]) {
			r2 = r2[1:]
		}
		i := 0
		for i < len(r2) && class[r2[i]]&cToken != 0 {
			i++
		}
		v.Transport, rest = r2[:i], r2[i:]
	}
	if len(v.Transport) == 0 || len(rest) == 0 || !isLWS(rest[0]) {
		return v, ErrVia
	}
	rest = Trim(rest)
	i := 0
	if len(rest) > 0 && rest[0] == '[' {
		end := bytes.IndexByte(rest, ']')
		if end < 0 || !validIPv6(rest[1:end]) {
			return v, ErrVia
		}
		i = end + 1
	} else {
		for i < len(rest) && class[rest[i]]&cHost != 0 {
			i++
		}
	}
	if i == 0 {
		return v, ErrVia
	}
	v.Host = rest[:i]
	rest = rest[i:]
	for len(rest) > 0 && isLWS(rest[0]) {
		rest = rest[1:]
	}
	if len(rest) > 0 && rest[0] == ':' {
		rest = Trim(rest[1:])
		i = 0
		for i < len(rest) && class[rest[i]]&cDigit != 0 {
			i++
		}
		n, ok := ParseUint(rest[:i], 65535)
		if !ok || n == 0 {
			return v, ErrVia
		}
		v.Port = uint16(n)
		rest = Trim(rest[i:])
	}
	if len(rest) == 0 {
		return v, nil
	}
	if rest[0] != ';' || len(rest) == 1 {
		return v, ErrVia
	}
	return v, v.parseParams(rest[1:])
}

func (v *Via) parseParams(params []byte) error {
	for len(params) > 0 {
		name, value, rest, ok := nextParam(params)
		if !ok {
			return ErrVia
		}
		switch {
		case len(name) == 6 && EqualFold(name, "branch"):
			if !IsToken(value) {
				return ErrVia
			}
			v.Branch = value
		case len(name) == 5 && EqualFold(name, "rport"):
			v.HasRPort = true
			if value != nil {
				n, ok := ParseUint(value, 65535)
				if !ok {
					return ErrVia
				}
				v.RPort, v.rportValue = uint16(n), value
			} else {
				v.rportEnd = cap(v.value) - cap(name) + len(name)
			}
		case len(name) == 8 && EqualFold(name, "received"):
			v.Received = value
		case len(name) == 5 && EqualFold(name, "maddr"):
			v.Maddr = value
		case len(name) == 5 && EqualFold(name, "alias"):
			v.Alias = true
		}
		params = rest
	}
	return nil
}
