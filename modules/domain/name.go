package domain

import (
	"bytes"
	"net/netip"
)

// maxName is the longest name that can be local. A domain name has at most 253
// characters (RFC 1035 §2.3.4).
const maxName = 256

// nameBuffer holds a normalised name on the stack of the call that looks it
// up.
type nameBuffer [maxName]byte

// normalise brings a host into the form in which names are compared: lower
// case, without the dot that may end a full domain name and without the
// brackets of an IPv6 reference (RFC 3261 §19.1.4, §25.1). The result lies in
// buf; it is empty for what cannot be a name.
func normalise(buf *nameBuffer, host []byte) []byte {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if len(host) > maxName {
		return nil
	}
	for i, c := range host {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(host)]
}

// canonical returns the form in which an IPv6 address is stored (RFC 5952),
// and name itself if it is none. Unlike normalise it allocates.
func canonical(name []byte) []byte {
	if bytes.IndexByte(name, ':') < 0 {
		return name
	}
	a, err := netip.ParseAddr(string(name))
	if err != nil {
		return name
	}
	return a.Unmap().AppendTo(nil)
}

// Normalise returns the form in which a name of a domain is compared and under
// which API tells it: lower case, without the dot at its end, an IPv6 address
// as RFC 5952 has it and without brackets. It is "" for what cannot be a name.
func Normalise(name string) string {
	_, want := normalised(name)
	return want
}

// normalised returns a name as normalise does and, in want, the form in which
// it is stored; they differ for IPv6 addresses only.
func normalised[T ~string | ~[]byte](name T) (written, want string) {
	var buf nameBuffer
	b := normalise(&buf, []byte(name))
	return string(b), string(canonical(b))
}
