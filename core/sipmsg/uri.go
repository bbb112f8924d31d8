package sipmsg

import (
	"bytes"
	"errors"
	"net/netip"
)

// Scheme is a URI scheme that sipr routes by.
type Scheme uint8

// The schemes.
const (
	SchemeOther Scheme = iota
	SIP
	SIPS
	TEL
)

// URI is a parsed URI. Its slices point into the text it was parsed from.
type URI struct {
	Scheme Scheme
	// Raw is the whole text.
	Raw []byte
	// User, Password and Host as they were written. Host of an IPv6
	// reference includes its brackets. For tel: User is the number, for
	// other schemes everything after the colon.
	User, Password, Host []byte
	// HasPassword tells an empty password from none.
	HasPassword bool
	// Port is 0 where none was written.
	Port uint16
	// Params and Headers are the text after the first ";" and after "?".
	Params, Headers []byte
}

// ErrURI is wrapped by every URI error.
var ErrURI = errors.New("bad URI")

type uriError string

func (e uriError) Error() string { return "bad URI: " + string(e) }
func (e uriError) Unwrap() error { return ErrURI }

// ParseURI parses b by RFC 3261 §19.1.1 (sip, sips) and RFC 3966 (tel). A URI
// of another scheme is kept as it is.
func ParseURI(b []byte) (URI, error) {
	u := URI{Raw: b}
	colon := bytes.IndexByte(b, ':')
	if colon <= 0 {
		return u, uriError("no scheme")
	}
	scheme := b[:colon]
	for i, c := range scheme {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || class[c]&cDigit == 0 && c != '+' && c != '-' && c != '.') {
			return u, uriError("scheme")
		}
	}
	rest := b[colon+1:]
	switch {
	case EqualFold(scheme, "sip"):
		u.Scheme = SIP
	case EqualFold(scheme, "sips"):
		u.Scheme = SIPS
	case EqualFold(scheme, "tel"):
		return parseTel(u, rest)
	default:
		u.User = rest
		for _, c := range b {
			if c <= ' ' || c == '<' || c == '>' || c == '"' || c == 0x7f {
				return u, uriError("character not allowed")
			}
		}
		return u, nil
	}
	if at := bytes.IndexByte(rest, '@'); at >= 0 {
		info := rest[:at]
		rest = rest[at+1:]
		if p := bytes.IndexByte(info, ':'); p >= 0 {
			u.Password, u.HasPassword = info[p+1:], true
			info = info[:p]
			if !escapedText(u.Password, cUser) {
				return u, uriError("password")
			}
		}
		u.User = info
		if len(info) == 0 || !escapedText(info, cUser|cPound) {
			return u, uriError("user part")
		}
	}
	n, err := u.parseHostPort(rest)
	if err != nil {
		return u, err
	}
	rest = rest[n:]
	if len(rest) > 0 && rest[0] == ';' {
		end := bytes.IndexByte(rest, '?')
		// "?" may stand unescaped in a parameter (param-unreserved), but every
		// implementation reads the first one as the start of the headers.
		if end < 0 {
			end = len(rest)
		}
		u.Params = rest[1:end]
		rest = rest[end:]
		if !paramText(u.Params) {
			return u, uriError("parameters")
		}
	}
	if len(rest) > 0 {
		if rest[0] != '?' {
			return u, uriError("text after the host")
		}
		u.Headers = rest[1:]
		for i := 0; i < len(u.Headers); i++ {
			c := u.Headers[i]
			if class[c]&(cParam|cUser) == 0 && !(c == '%' && isEscape(u.Headers[i:])) {
				return u, uriError("headers")
			}
		}
	}
	return u, nil
}

// maxHost is the longest name that the DNS allows (RFC 1035 §2.3.4).
const maxHost = 255

func (u *URI) parseHostPort(b []byte) (int, error) {
	i := 0
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return 0, uriError("IPv6 reference without ]")
		}
		i = end + 1
		if !validIPv6(b[1:end]) {
			return 0, uriError("IPv6 address")
		}
	} else {
		for i < len(b) && class[b[i]]&cHost != 0 {
			i++
		}
		if i == 0 || b[0] == '.' || b[0] == '-' {
			return 0, uriError("host")
		}
	}
	if i > maxHost {
		return 0, uriError("host name longer than 255 bytes")
	}
	u.Host = b[:i]
	if i < len(b) && b[i] == ':' {
		j := i + 1
		for j < len(b) && class[b[j]]&cDigit != 0 {
			j++
		}
		n, ok := ParseUint(b[i+1:j], 65535)
		if !ok || n == 0 {
			return 0, uriError("port")
		}
		u.Port = uint16(n)
		i = j
	}
	if i < len(b) && b[i] != ';' && b[i] != '?' {
		return 0, uriError("host")
	}
	return i, nil
}

func parseTel(u URI, rest []byte) (URI, error) {
	u.Scheme = TEL
	u.User = rest
	if i := bytes.IndexByte(rest, ';'); i >= 0 {
		u.User, u.Params = rest[:i], rest[i+1:]
		if !paramText(u.Params) {
			return u, uriError("parameters")
		}
	}
	digits := 0
	for i, c := range u.User {
		switch {
		case class[c]&cHex != 0, c == '*', c == '#':
			digits++
		case c == '+' && i == 0, c == '-', c == '.', c == '(', c == ')':
		default:
			return u, uriError("telephone number")
		}
	}
	if digits == 0 {
		return u, uriError("telephone number")
	}
	return u, nil
}

func validIPv6(b []byte) bool {
	for _, c := range b {
		if class[c]&cHex == 0 && c != ':' && c != '.' {
			return false
		}
	}
	_, ok := parseIPv6(b)
	return ok
}

// parseIPv6 parses an IPv6 address without brackets. The grammar of RFC 3261
// asked for a third colon before an IPv4 address by mistake; RFC 5954 corrected
// it, and RFC 5118 §4.10 says that the colon too many has to be tolerated.
func parseIPv6(b []byte) (netip.Addr, bool) {
	a, err := netip.ParseAddr(string(b))
	if err != nil {
		if i := bytes.Index(b, []byte(":::")); i >= 0 && bytes.IndexByte(b, '.') > i {
			a, err = netip.ParseAddr(string(b[:i]) + string(b[i+1:]))
		}
	}
	return a, err == nil && a.Is6() && a.Zone() == ""
}

func isEscape(b []byte) bool {
	return len(b) >= 3 && class[b[1]]&cHex != 0 && class[b[2]]&cHex != 0
}

func escapedText(b []byte, bits uint16) bool {
	for i := 0; i < len(b); i++ {
		if class[b[i]]&bits == 0 && !(b[i] == '%' && isEscape(b[i:])) {
			return false
		}
	}
	return true
}

func paramText(b []byte) bool {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if class[c]&cParam == 0 && c != ';' && c != '=' && !(c == '%' && isEscape(b[i:])) {
			return false
		}
	}
	return true
}

// Param returns the value of a URI parameter and whether it is there; a
// parameter without "=" has an empty value. Names match in any letter case.
func (u *URI) Param(name string) ([]byte, bool) {
	return paramOf(u.Params, name)
}

// paramOf looks a name up in "a=1;b;c=2", where nothing is quoted.
func paramOf(params []byte, name string) ([]byte, bool) {
	for len(params) > 0 {
		p := params
		if i := bytes.IndexByte(params, ';'); i >= 0 {
			p, params = params[:i], params[i+1:]
		} else {
			params = nil
		}
		v := p[len(p):]
		if i := bytes.IndexByte(p, '='); i >= 0 {
			p, v = p[:i], p[i+1:]
		}
		if EqualFold(p, name) {
			return v, true
		}
	}
	return nil, false
}

// HostName returns the host without the brackets of an IPv6 reference.
func (u *URI) HostName() []byte {
	if len(u.Host) > 1 && u.Host[0] == '[' {
		return u.Host[1 : len(u.Host)-1]
	}
	return u.Host
}

// ParseIP parses an IPv4 address, or an IPv6 address with or without
// brackets. IPv4 costs no allocation.
func ParseIP(b []byte) (netip.Addr, bool) {
	if len(b) > 1 && b[0] == '[' && b[len(b)-1] == ']' {
		return parseIPv6(b[1 : len(b)-1])
	}
	if len(b) == 0 {
		return netip.Addr{}, false
	}
	if bytes.IndexByte(b, ':') >= 0 {
		return parseIPv6(b)
	}
	var q [4]byte
	part, digits, n := 0, 0, 0
	for i := 0; i <= len(b); i++ {
		if i == len(b) || b[i] == '.' {
			if digits == 0 || part > 3 {
				return netip.Addr{}, false
			}
			q[part] = byte(n)
			part++
			digits, n = 0, 0
			continue
		}
		if class[b[i]]&cDigit == 0 || digits > 0 && n == 0 {
			return netip.Addr{}, false
		}
		n = n*10 + int(b[i]-'0')
		digits++
		if n > 255 {
			return netip.Addr{}, false
		}
	}
	return netip.AddrFrom4(q), part == 4
}

// AppendUnescaped appends b with its %HH escapes decoded.
func AppendUnescaped(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && isEscape(b[i:]) {
			dst = append(dst, unhex(b[i+1])<<4|unhex(b[i+2]))
			i += 2
			continue
		}
		dst = append(dst, b[i])
	}
	return dst
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// AppendEscapedUser appends text so that it may stand as the user part of a
// URI.
func AppendEscapedUser(dst, text []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range text {
		if class[c]&cUser != 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
