package main

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lengths of the columns of the tables.
const (
	maxUser   = 64
	maxDID    = 64
	maxUID    = 64
	maxDomain = 128
	maxRealm  = 128
)

// domainName checks a domain name or IP address and returns it as it is
// stored: in lower case, IPv6 addresses without brackets (RFC 5952).
func domainName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	if name == "" || len(name) > maxDomain {
		return "", usageError("%q is not a domain name: 1 to %d characters are expected", s, maxDomain)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", usageError("%q is not a domain name: each part has 1 to 63 characters and no - at its ends", s)
		}
		for _, r := range label {
			if r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
				return "", usageError("%q is not a domain name: %q is not allowed (names of other scripts are written as xn--…)", s, r)
			}
		}
	}
	return name, nil
}

// splitAddress cuts user@domain, with or without sip: in front, and checks
// both parts. The user part has the characters of RFC 3261 §25.1, unescaped.
func splitAddress(s string) (user, domain string, err error) {
	rest := s
	if len(s) > 4 && strings.EqualFold(s[:4], "sip:") {
		rest = s[4:]
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return "", "", usageError("%q is not an address: user@domain is expected", s)
	}
	user = rest[:at]
	if user == "" || len(user) > maxUser {
		return "", "", usageError("%q is not an address: 1 to %d characters are expected before @", s, maxUser)
	}
	for _, r := range user {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.!~*'()&=+$,;?/", r) {
			return "", "", usageError("%q is not an address: %q is not allowed before @", s, r)
		}
	}
	domain, err = domainName(rest[at+1:])
	return user, domain, err
}

// identifier checks a did, uid or realm, which may be any printable text.
func identifier(what, s string, limit int) error {
	if s == "" || len(s) > limit || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return usageError("%s %q: 1 to %d bytes of text without spaces at its ends are expected", what, s, limit)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == '"' || r == '\\' {
			return usageError("%s %q: %q is not allowed", what, s, r)
		}
	}
	return nil
}
