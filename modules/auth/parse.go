package auth

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"sipr/core/sipmsg"
)

const (
	// maxHeader is how long a header field with credentials may be.
	maxHeader = 4096
	// maxName is how long a user name or a realm may be: both are keys of
	// the cache, which the network must not be able to bloat.
	maxName = 255
	// maxCredentials is how many header fields of a request are looked at.
	maxCredentials = 16
)

var (
	errScheme = errors.New("not Digest")
	errDigest = errors.New("bad digest credentials")
)

// digest is a parsed Authorization or Proxy-Authorization value (RFC 7616
// §3.4). Its slices point into the message or, where there was something to
// decode, into the scratch memory that parse was given.
type digest struct {
	user, realm, nonce, uri, response []byte
	algorithm, cnonce, qop, nc        []byte
	userHash, userStar                []byte
	seen                              uint16
}

// field returns the member that a parameter goes to, and its bit.
func (d *digest) field(name []byte) (*[]byte, uint16) {
	switch len(name) {
	case 2:
		if sipmsg.EqualFold(name, "nc") {
			return &d.nc, 1
		}
	case 3:
		if sipmsg.EqualFold(name, "uri") {
			return &d.uri, 2
		}
		if sipmsg.EqualFold(name, "qop") {
			return &d.qop, 4
		}
	case 5:
		if sipmsg.EqualFold(name, "realm") {
			return &d.realm, 8
		}
		if sipmsg.EqualFold(name, "nonce") {
			return &d.nonce, 16
		}
	case 6:
		if sipmsg.EqualFold(name, "cnonce") {
			return &d.cnonce, 32
		}
	case 8:
		if sipmsg.EqualFold(name, "username") {
			return &d.user, 64
		}
		if sipmsg.EqualFold(name, "response") {
			return &d.response, 128
		}
		if sipmsg.EqualFold(name, "userhash") {
			return &d.userHash, 256
		}
	case 9:
		if sipmsg.EqualFold(name, "algorithm") {
			return &d.algorithm, 512
		}
		if sipmsg.EqualFold(name, "username*") {
			return &d.userStar, 1024
		}
	}
	return nil, 0
}

// parse reads one header value. Decoded text is appended to scratch, which is
// returned. A parameter that stands twice is an error, since whoever checks
// before us may have read the other one.
func (d *digest) parse(b, scratch []byte) ([]byte, error) {
	*d = digest{}
	if len(b) > maxHeader {
		return scratch, errDigest
	}
	b = sipmsg.Trim(b)
	const scheme = "Digest"
	if len(b) <= len(scheme) || !sipmsg.EqualFold(b[:len(scheme)], scheme) || !isSpace(b[len(scheme)]) {
		return scratch, errScheme
	}
	b = b[len(scheme):]
	for {
		if b = skipSpace(b); len(b) == 0 {
			break
		}
		if b[0] == ',' {
			b = b[1:]
			continue
		}
		eq := bytes.IndexByte(b, '=')
		if eq < 0 {
			return scratch, errDigest
		}
		name := sipmsg.Trim(b[:eq])
		if !sipmsg.IsToken(name) {
			return scratch, errDigest
		}
		var value []byte
		var ok bool
		if value, b, scratch, ok = cutValue(skipSpace(b[eq+1:]), scratch); !ok {
			return scratch, errDigest
		}
		if p, bit := d.field(name); p != nil {
			if d.seen&bit != 0 {
				return scratch, errDigest
			}
			d.seen |= bit
			*p = value
		}
	}
	return d.finish(scratch)
}

// finish judges the whole.
func (d *digest) finish(scratch []byte) ([]byte, error) {
	if d.userStar != nil {
		if d.user != nil {
			return scratch, errDigest
		}
		var ok bool
		if d.user, scratch, ok = decodeExtended(d.userStar, scratch); !ok {
			return scratch, errDigest
		}
	}
	switch {
	case len(d.user) == 0, len(d.user) > maxName, !utf8.Valid(d.user),
		d.realm == nil, len(d.realm) > maxName, !utf8.Valid(d.realm),
		len(d.nonce) == 0, len(d.uri) == 0, len(d.response) == 0,
		d.userHash != nil && !sipmsg.EqualFold(d.userHash, "false"):
		return scratch, errDigest
	}
	return scratch, nil
}

// cutValue cuts a parameter's value, token or quoted string, off b, together
// with the comma that follows it.
func cutValue(b, scratch []byte) (value, rest, grown []byte, ok bool) {
	i := 0
	if len(b) > 0 && b[0] == '"' {
		escaped := false
		for i = 1; i < len(b) && b[i] != '"'; i++ {
			if b[i] == '\\' {
				escaped = true
				i++
			}
			if i == len(b) || b[i] < ' ' && b[i] != '\t' || b[i] == 0x7f {
				return nil, nil, scratch, false
			}
		}
		if i >= len(b) {
			return nil, nil, scratch, false
		}
		i++
		value = b[1 : i-1 : i-1]
		if escaped {
			start := len(scratch)
			scratch = sipmsg.Unquote(scratch, b[:i])
			value = scratch[start:len(scratch):len(scratch)]
		}
	} else {
		for i < len(b) && b[i] != ',' && !isSpace(b[i]) {
			if b[i] < ' ' || b[i] == '"' || b[i] == 0x7f {
				return nil, nil, scratch, false
			}
			i++
		}
		if i == 0 {
			return nil, nil, scratch, false
		}
		value = b[:i:i]
	}
	rest = skipSpace(b[i:])
	if len(rest) > 0 {
		if rest[0] != ',' {
			return nil, nil, scratch, false
		}
		rest = rest[1:]
	}
	return value, rest, scratch, true
}

// decodeExtended decodes the value of username* (RFC 8187) where its character
// set is UTF-8.
func decodeExtended(b, scratch []byte) (value, grown []byte, ok bool) {
	const prefix = "UTF-8'"
	if len(b) < len(prefix) || !sipmsg.EqualFold(b[:len(prefix)], prefix) {
		return nil, scratch, false
	}
	b = b[len(prefix):]
	language := bytes.IndexByte(b, '\'')
	if language < 0 {
		return nil, scratch, false
	}
	start := len(scratch)
	scratch = sipmsg.AppendUnescaped(scratch, b[language+1:])
	value = scratch[start:len(scratch):len(scratch)]
	for _, c := range value {
		if c < ' ' || c == 0x7f {
			return nil, scratch, false
		}
	}
	return value, scratch, true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}
