package gateway

import (
	"bytes"

	"sipr/core/sipmsg"
)

// maxNumber is the longest number that is routed. E.164 allows 15 digits;
// numbers with access codes are longer, but not by much.
const maxNumber = 64

// dialled tells whether c is a character that a telephone can dial.
func dialled(c byte) bool { return c >= '0' && c <= '9' || c == '*' || c == '#' }

// separator tells whether c is a visual separator, which means nothing
// (RFC 3966 §5.1.1).
func separator(c byte) bool { return c == '-' || c == '.' || c == '(' || c == ')' }

// appendNumber appends the number that text is, without visual separators, or
// reports that it is none. text may be a tel: or sip: URI, or a user part with
// escapes and parameters ("+1-212;phone-context=x").
func appendNumber(dst, text []byte) ([]byte, bool) {
	head, _, _ := bytes.Cut(text, []byte{';'})
	if bytes.IndexByte(head, ':') >= 0 {
		u, err := sipmsg.ParseURI(text)
		if err != nil || u.Scheme == sipmsg.SchemeOther {
			return dst, false
		}
		text = u.User
	}
	text, _, _ = bytes.Cut(text, []byte{';'})
	if len(text) > 3*maxNumber {
		return dst, false
	}
	var tmp [3 * maxNumber]byte
	start, digits := len(dst), 0
	for i, c := range sipmsg.AppendUnescaped(tmp[:0], text) {
		switch {
		case dialled(c):
			digits++
			dst = append(dst, c)
		case c == '+' && i == 0:
			dst = append(dst, c)
		case !separator(c):
			return dst[:start], false
		}
	}
	if digits == 0 || len(dst)-start > maxNumber {
		return dst[:start], false
	}
	return dst, true
}
