package registrar

import (
	"bytes"
	"unicode/utf8"

	"sipr/core"
	"sipr/core/sipmsg"
)

// appendKey appends the key of the AoR that u is. The user part is unescaped
// (RFC 3261 §10.3 step 5); the domain is what its host belongs to. local is
// false if that is no domain of this router, ok if u cannot be an AoR. An error
// says that nothing is known of the domain. r is nil outside of requests.
func (m *Module) appendKey(r *core.Request, dst []byte, u *sipmsg.URI) (key []byte, local, ok bool, err error) {
	if u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS {
		return dst, false, true, nil
	}
	if len(u.User) == 0 {
		return dst, true, false, nil
	}
	if m.domains != nil {
		did, local, err := m.domains.Lookup(r, u.Host)
		if err != nil || !local {
			return dst, false, true, err
		}
		dst = append(dst, did...)
	} else {
		dst = lower(append(dst, u.Host...), len(dst))
	}
	didLen := len(dst)
	dst = append(dst, 0)
	dst = sipmsg.AppendUnescaped(dst, u.User)
	user := dst[didLen+1:]
	if didLen > sizeDID || len(user) > sizeUser || !utf8.Valid(user) || bytes.IndexFunc(user, control) >= 0 {
		return dst, true, false, nil
	}
	if !m.caseSensitive {
		lower(dst, didLen+1)
	}
	return dst, true, true, nil
}

// keyOf is the key of an AoR whose parts are known.
func (m *Module) keyOf(dst []byte, did string, user []byte) []byte {
	dst = appendAoR(dst, did, user)
	if !m.caseSensitive {
		lower(dst, len(dst)-len(user))
	}
	return dst
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// lower turns b[from:] into lower case.
func lower(b []byte, from int) []byte {
	for i := from; i < len(b); i++ {
		if c := b[i]; c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return b
}
