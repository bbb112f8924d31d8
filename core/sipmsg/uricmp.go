package sipmsg

import "bytes"

// EqualURI compares two URIs by RFC 3261 §19.1.4; tel: URIs by RFC 3966 §4,
// and other schemes byte by byte.
func EqualURI(a, b *URI) bool {
	if a.Scheme != b.Scheme {
		return false
	}
	if bytes.Equal(a.Raw, b.Raw) {
		return true
	}
	switch a.Scheme {
	case SchemeOther:
		return false
	case TEL:
		return equalTel(a, b)
	}
	if a.HasPassword != b.HasPassword || a.Port != b.Port || (a.User == nil) != (b.User == nil) ||
		!EqualFold(a.Host, b.Host) && !sameIPv6(a.Host, b.Host) ||
		!equalEscaped(a.User, b.User, false) || !equalEscaped(a.Password, b.Password, false) {
		return false
	}
	return paramsAgree(a.Params, b.Params) && paramsAgree(b.Params, a.Params) &&
		headersCovered(a.Headers, b.Headers) && headersCovered(b.Headers, a.Headers)
}

func sameIPv6(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 || a[0] != '[' || b[0] != '[' {
		return false
	}
	x, ok1 := ParseIP(a)
	y, ok2 := ParseIP(b)
	return ok1 && ok2 && x == y
}

// paramsAgree checks every parameter of a against b: those that RFC 3261 names
// must be in both, others only agree where both have them.
func paramsAgree(a, b []byte) bool {
	for len(a) > 0 {
		var p []byte
		p, a = cut(a, ';')
		name, value := cut(p, '=')
		other, ok := paramOfBytes(b, name)
		if !ok {
			switch {
			case EqualFold(name, "user"), EqualFold(name, "ttl"), EqualFold(name, "method"),
				EqualFold(name, "maddr"), EqualFold(name, "transport"):
				return false
			}
			continue
		}
		if !equalEscaped(value, other, true) {
			return false
		}
	}
	return true
}

func paramOfBytes(params, name []byte) ([]byte, bool) {
	for len(params) > 0 {
		var p []byte
		p, params = cut(params, ';')
		n, v := cut(p, '=')
		if equalEscaped(n, name, true) {
			return v, true
		}
	}
	return nil, false
}

// headersCovered tells whether every header of a stands in b with an equal
// value.
func headersCovered(a, b []byte) bool {
	for len(a) > 0 {
		var p []byte
		p, a = cut(a, '&')
		name, value := cut(p, '=')
		found := false
		for rest := b; len(rest) > 0 && !found; {
			var q []byte
			q, rest = cut(rest, '&')
			n, v := cut(q, '=')
			found = equalEscaped(n, name, true) && equalEscaped(v, value, false)
		}
		if !found {
			return false
		}
	}
	return true
}

// cut splits b at the first sep; the second part is empty where there is none.
func cut(b []byte, sep byte) ([]byte, []byte) {
	if i := bytes.IndexByte(b, sep); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// equalEscaped compares two texts after decoding their %HH escapes. A reserved
// character is not the same as its escape (RFC 3261 §19.1.4).
func equalEscaped(a, b []byte, fold bool) bool {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		x, y := a[i], b[j]
		escX, escY := x == '%' && isEscape(a[i:]), y == '%' && isEscape(b[j:])
		if escX {
			x = unhex(a[i+1])<<4 | unhex(a[i+2])
			i += 2
		}
		if escY {
			y = unhex(b[j+1])<<4 | unhex(b[j+2])
			j += 2
		}
		if escX != escY && x == y && reserved(x) {
			return false
		}
		if x != y {
			if !fold || x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
				return false
			}
		}
		i++
		j++
	}
	return i == len(a) && j == len(b)
}

// reserved tells the characters that mean something else when escaped (RFC
// 3261 §25.1).
func reserved(c byte) bool {
	switch c {
	case ';', '/', '?', ':', '@', '&', '=', '+', '$', ',':
		return true
	}
	return false
}

// equalTel compares numbers without their visual separators and parameters
// regardless of their order.
func equalTel(a, b *URI) bool {
	x, y := a.User, b.User
	for {
		for len(x) > 0 && visual(x[0]) {
			x = x[1:]
		}
		for len(y) > 0 && visual(y[0]) {
			y = y[1:]
		}
		if len(x) == 0 || len(y) == 0 {
			break
		}
		if !EqualFold(x[:1], y[:1]) {
			return false
		}
		x, y = x[1:], y[1:]
	}
	return len(x) == 0 && len(y) == 0 && telParams(a.Params, b.Params) && telParams(b.Params, a.Params)
}

func telParams(a, b []byte) bool {
	for len(a) > 0 {
		var p []byte
		p, a = cut(a, ';')
		name, value := cut(p, '=')
		other, ok := paramOfBytes(b, name)
		if !ok || !equalEscaped(value, other, true) {
			return false
		}
	}
	return true
}

func visual(c byte) bool { return c == '-' || c == '.' || c == '(' || c == ')' }
