package auth

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"

	"sipr/core/sipmsg"
)

// algorithm is a hash function of RFC 8760, weakest first.
type algorithm uint8

const (
	algMD5 algorithm = iota
	algSHA256
	algSHA512256
	algorithms
)

var algorithmNames = [algorithms]string{"MD5", "SHA-256", "SHA-512-256"}

// String returns the name as it stands in a challenge.
func (a algorithm) String() string { return algorithmNames[a] }

// hexSize is the length of the algorithm's hashes in hex.
func (a algorithm) hexSize() int {
	if a == algMD5 {
		return 2 * md5.Size
	}
	return 2 * sha256.Size
}

// parseAlgorithm returns the algorithm of the credentials' parameter and
// whether it is the -sess variant.
func parseAlgorithm(name []byte) (a algorithm, sess, ok bool) {
	if n := len(name) - len("-sess"); n > 0 && sipmsg.EqualFold(name[n:], "-sess") {
		name, sess = name[:n], true
	}
	for a := range algorithms {
		if sipmsg.EqualFold(name, algorithmNames[a]) {
			return a, sess, true
		}
	}
	return 0, false, false
}

// parseAlgorithms reads the list of parameter algorithms, strongest first.
func parseAlgorithms(list string) ([]algorithm, error) {
	var found []algorithm
	for _, name := range strings.Split(list, ",") {
		a, sess, ok := parseAlgorithm([]byte(strings.TrimSpace(name)))
		if !ok || sess {
			return nil, fmt.Errorf("%q is no algorithm to offer: MD5, SHA-256 or SHA-512-256 is expected", strings.TrimSpace(name))
		}
		if slices.Contains(found, a) {
			return nil, fmt.Errorf("%s is named twice", a)
		}
		found = append(found, a)
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found, nil
}

func checkAlgorithms(list string) error {
	_, err := parseAlgorithms(list)
	return err
}

// appendHash appends the hash of data in lower-case hex.
func (a algorithm) appendHash(dst, data []byte) []byte {
	switch a {
	case algSHA256:
		s := sha256.Sum256(data)
		return appendHex(dst, s[:])
	case algSHA512256:
		s := sha512.Sum512_256(data)
		return appendHex(dst, s[:])
	}
	s := md5.Sum(data)
	return appendHex(dst, s[:])
}

// appendHA1 appends HA1, the hash of user, realm and password.
func (a algorithm) appendHA1(dst []byte, user, realm, password []byte) []byte {
	buf := make([]byte, 0, len(user)+len(realm)+len(password)+2)
	buf = append(append(append(append(append(buf, user...), ':'), realm...), ':'), password...)
	return a.appendHash(dst, buf)
}

// quality is the quality of protection that credentials were made with.
type quality uint8

const (
	qopNone quality = iota
	qopAuth
	qopAuthInt
)

// answer is what a response is computed from.
type answer struct {
	alg                     algorithm
	sess                    bool
	qop                     quality
	nonce, nc, cnonce, qopT []byte // as the client wrote them
	uri, method, body       []byte
}

// appendResponse appends the response that who knows ha1 (in hex) gives (RFC
// 7616 §3.4.1). buf is memory to work in and is returned as it has grown.
func (in *answer) appendResponse(dst, buf []byte, ha1 string) (response, scratch []byte) {
	var first, second, body [64]byte
	a := in.alg
	buf = append(buf[:0], ha1...)
	if in.sess {
		buf = append(append(append(append(buf, ':'), in.nonce...), ':'), in.cnonce...)
		buf = append(buf[:0], a.appendHash(first[:0], buf)...)
	}
	copy(first[:], buf)
	n := len(buf)

	buf = append(append(append(buf[:0], in.method...), ':'), in.uri...)
	if in.qop == qopAuthInt {
		buf = append(append(buf, ':'), a.appendHash(body[:0], in.body)...)
	}
	ha2 := a.appendHash(second[:0], buf)

	buf = append(append(append(append(buf[:0], first[:n]...), ':'), in.nonce...), ':')
	if in.qop != qopNone {
		buf = append(append(append(append(buf, in.nc...), ':'), in.cnonce...), ':')
		buf = append(append(buf, in.qopT...), ':')
	}
	buf = append(buf, ha2...)
	return a.appendHash(dst, buf), buf
}

func appendHex(dst, b []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

// lowerHex copies hex digits to dst in lower case; false if src has another
// length or something else in it.
func lowerHex[T ~string | ~[]byte](dst []byte, src T) bool {
	if len(dst) != len(src) {
		return false
	}
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch {
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		case c >= 'A' && c <= 'F':
			c |= 0x20
		default:
			return false
		}
		dst[i] = c
	}
	return true
}

// parseHex32 parses eight hex digits, such as a nonce count.
func parseHex32(b []byte) (uint32, bool) {
	var low [8]byte
	if !lowerHex(low[:], b) {
		return 0, false
	}
	var n uint32
	for _, c := range low {
		if c >= 'a' {
			c -= 'a' - 10
		} else {
			c -= '0'
		}
		n = n<<4 | uint32(c)
	}
	return n, true
}
