package sipmsg

import (
	"bytes"
	"errors"
)

// NameAddr is a parsed From, To, Contact, Route or Record-Route value.
type NameAddr struct {
	// Display is the display name as written, with its quotes.
	Display []byte
	// URIText is the URI as written, without angle brackets.
	URIText []byte
	// Params are the header parameters after the first ";".
	Params []byte
	// Bracketed tells whether the URI stood in angle brackets.
	Bracketed bool
}

// ErrNameAddr is returned for a value that is not a name-addr or addr-spec.
var ErrNameAddr = errors.New("bad name-addr")

// ParseNameAddr parses one value by RFC 3261 §20.10: without angle brackets
// everything after ";" belongs to the header field, not to the URI.
func ParseNameAddr(b []byte) (NameAddr, error) {
	var n NameAddr
	b = Trim(b)
	i := 0
	if len(b) > 0 && b[0] == '<' {
		// no display name
	} else if len(b) > 0 && b[0] == '"' {
		end := quotedEnd(b)
		if end < 0 {
			return n, ErrNameAddr
		}
		n.Display = b[:end]
		i = end
		for i < len(b) && isLWS(b[i]) {
			i++
		}
		if i == len(b) || b[i] != '<' {
			return n, ErrNameAddr
		}
	} else if lt := bytes.IndexByte(b, '<'); lt >= 0 {
		// A "<" after the first ";" belongs to a parameter of a bare URI.
		if semi := bytes.IndexByte(b, ';'); semi < 0 || lt < semi {
			n.Display = Trim(b[:lt])
			for _, c := range n.Display {
				if class[c]&cToken == 0 && !isLWS(c) && c < 0x80 {
					return n, ErrNameAddr
				}
			}
			i = lt
		}
	}
	if i < len(b) && b[i] == '<' {
		end := bytes.IndexByte(b[i:], '>')
		if end < 0 {
			return n, ErrNameAddr
		}
		n.URIText = b[i+1 : i+end]
		n.Bracketed = true
		b = Trim(b[i+end+1:])
		if len(b) > 0 {
			if b[0] != ';' {
				return n, ErrNameAddr
			}
			n.Params = b[1:]
		}
	} else {
		n.URIText = b
		if semi := bytes.IndexByte(b, ';'); semi >= 0 {
			n.URIText, n.Params = Trim(b[:semi]), b[semi+1:]
		}
		if bytes.IndexByte(n.URIText, '?') >= 0 || bytes.IndexByte(n.URIText, ',') >= 0 {
			return n, ErrNameAddr
		}
	}
	if len(n.URIText) == 0 {
		return n, ErrNameAddr
	}
	for _, c := range n.URIText {
		if class[c]&cBreak != 0 {
			return n, ErrNameAddr
		}
	}
	if !validParams(n.Params) {
		return n, ErrNameAddr
	}
	return n, nil
}

// URI parses the value's URI.
func (n *NameAddr) URI() (URI, error) { return ParseURI(n.URIText) }

// Param returns a header parameter's value, quotes and all.
func (n *NameAddr) Param(name string) ([]byte, bool) { return HeaderParam(n.Params, name) }

// quotedEnd returns the index after the closing quote of the quoted string
// that b begins with, or -1.
func quotedEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// nextParam cuts the first parameter off params: its name, its value, what
// follows, and whether it was well formed. White space around ";" and "=" is
// allowed.
func nextParam(params []byte) (name, value, rest []byte, ok bool) {
	// Without white space and quotes first, as nearly everybody writes.
	i := 0
	for i < len(params) && class[params[i]]&cToken != 0 {
		i++
	}
	if i == len(params) && i > 0 {
		return params, nil, nil, true
	}
	if i > 0 && params[i] == ';' && i+1 < len(params) {
		return params[:i], nil, params[i+1:], true
	}
	if i > 0 && params[i] == '=' {
		j := i + 1
		for j < len(params) && class[params[j]]&cValue != 0 {
			j++
		}
		switch {
		case j == i+1:
		case j == len(params):
			return params[:i], params[i+1:], nil, true
		case params[j] == ';' && j+1 < len(params):
			return params[:i], params[i+1 : j], params[j+1:], true
		}
	}
	return nextParamSlow(params)
}

// nextParamSlow is nextParam for what has white space or quotes, or is wrong.
func nextParamSlow(params []byte) (name, value, rest []byte, ok bool) {
	i := 0
	for i < len(params) && params[i] != ';' && params[i] != '=' {
		i++
	}
	name = Trim(params[:i])
	if !IsToken(name) {
		return name, nil, nil, false
	}
	if i == len(params) || params[i] == ';' {
		if i < len(params) {
			rest = params[i+1:]
			ok = len(rest) > 0
		} else {
			ok = true
		}
		return name, nil, rest, ok
	}
	i++
	for i < len(params) && isLWS(params[i]) {
		i++
	}
	start := i
	if i < len(params) && params[i] == '"' {
		end := quotedEnd(params[i:])
		if end < 0 {
			return name, nil, nil, false
		}
		i += end
		value = params[start:i]
		for i < len(params) && isLWS(params[i]) {
			i++
		}
	} else {
		for i < len(params) && params[i] != ';' {
			i++
		}
		value = Trim(params[start:i])
		if !genValue(value) {
			return name, value, nil, false
		}
	}
	if i == len(params) {
		return name, value, nil, true
	}
	if params[i] != ';' {
		return name, value, nil, false
	}
	return name, value, params[i+1:], i+1 < len(params)
}

// genValue accepts token, host and what else is found in the wild unquoted:
// everything printable that is no separator of header syntax.
func genValue(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == ',' || c == '"' || c == '<' || c == '>' || c == 0x7f {
			return false
		}
	}
	return len(b) > 0
}

func validParams(params []byte) bool {
	for len(params) > 0 {
		_, _, rest, ok := nextParam(params)
		if !ok {
			return false
		}
		params = rest
	}
	return true
}

// HeaderParam returns the value of a parameter of a header field, where values
// may be quoted strings; a parameter without "=" has a nil value.
func HeaderParam(params []byte, name string) ([]byte, bool) {
	for len(params) > 0 {
		n, v, rest, ok := nextParam(params)
		if !ok {
			return nil, false
		}
		if EqualFold(n, name) {
			return v, true
		}
		params = rest
	}
	return nil, false
}

// Unquote appends the text of a quoted string, without quotes and
// backslashes; other text is appended as it is.
func Unquote(dst, b []byte) []byte {
	if len(b) < 2 || b[0] != '"' {
		return append(dst, b...)
	}
	b = b[1 : len(b)-1]
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
		}
		dst = append(dst, b[i])
	}
	return dst
}

// NextValue cuts the first of several comma-separated values off b. Commas in
// quoted strings and angle brackets do not separate.
func NextValue(b []byte) (value, rest []byte) {
	if bytes.IndexByte(b, ',') < 0 {
		return Trim(b), nil
	}
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end := quotedEnd(b[i:])
			if end < 0 {
				return Trim(b), nil
			}
			i += end - 1
		case '<':
			end := bytes.IndexByte(b[i:], '>')
			if end < 0 {
				return Trim(b), nil
			}
			i += end
		case ',':
			return Trim(b[:i]), b[i+1:]
		}
	}
	return Trim(b), nil
}
