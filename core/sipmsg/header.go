package sipmsg

import "strings"

// HeaderID names a header field that sipr knows. Others are HOther and are
// found by name.
type HeaderID uint8

// The header fields that sipr knows.
const (
	HOther HeaderID = iota
	HVia
	HFrom
	HTo
	HCallID
	HCSeq
	HContact
	HMaxForwards
	HRoute
	HRecordRoute
	HContentLength
	HContentType
	HExpires
	HAuthorization
	HProxyAuthorization
	HWWWAuthenticate
	HProxyAuthenticate
	HSupported
	HRequire
	HProxyRequire
	HUnsupported
	HUserAgent
	HServer
	HEvent
	HPath
	HServiceRoute
	HMinExpires
	HAllow
	HDate
	HTimestamp
	HSubject
	HMaxBreadth
	HRetryAfter
	HReferTo
	HReferredBy
	HPAssertedIdentity
	HPPreferredIdentity
	HRemotePartyID
	HReason
	HContentEncoding
	numHeaders
)

type headerInfo struct {
	name    string
	compact byte
	single  bool // at most one header field with one value may be present
}

var headerTable = [numHeaders]headerInfo{
	HVia:                {"Via", 'v', false},
	HFrom:               {"From", 'f', true},
	HTo:                 {"To", 't', true},
	HCallID:             {"Call-ID", 'i', true},
	HCSeq:               {"CSeq", 0, true},
	HContact:            {"Contact", 'm', false},
	HMaxForwards:        {"Max-Forwards", 0, true},
	HRoute:              {"Route", 0, false},
	HRecordRoute:        {"Record-Route", 0, false},
	HContentLength:      {"Content-Length", 'l', true},
	HContentType:        {"Content-Type", 'c', true},
	HExpires:            {"Expires", 0, true},
	HAuthorization:      {"Authorization", 0, false},
	HProxyAuthorization: {"Proxy-Authorization", 0, false},
	HWWWAuthenticate:    {"WWW-Authenticate", 0, false},
	HProxyAuthenticate:  {"Proxy-Authenticate", 0, false},
	HSupported:          {"Supported", 'k', false},
	HRequire:            {"Require", 0, false},
	HProxyRequire:       {"Proxy-Require", 0, false},
	HUnsupported:        {"Unsupported", 0, false},
	HUserAgent:          {"User-Agent", 0, false},
	HServer:             {"Server", 0, false},
	HEvent:              {"Event", 'o', true},
	HPath:               {"Path", 0, false},
	HServiceRoute:       {"Service-Route", 0, false},
	HMinExpires:         {"Min-Expires", 0, true},
	HAllow:              {"Allow", 0, false},
	HDate:               {"Date", 0, true},
	HTimestamp:          {"Timestamp", 0, true},
	HSubject:            {"Subject", 's', true},
	HMaxBreadth:         {"Max-Breadth", 0, true},
	HRetryAfter:         {"Retry-After", 0, true},
	HReferTo:            {"Refer-To", 'r', true},
	HReferredBy:         {"Referred-By", 'b', true},
	HPAssertedIdentity:  {"P-Asserted-Identity", 0, false},
	HPPreferredIdentity: {"P-Preferred-Identity", 0, false},
	HRemotePartyID:      {"Remote-Party-ID", 0, false},
	HReason:             {"Reason", 0, false},
	HContentEncoding:    {"Content-Encoding", 'e', false},
}

// String returns the header's full name; the empty string for HOther.
func (id HeaderID) String() string { return headerTable[id].name }

// headersByLen and headersByLetter make LookupHeader one short scan.
var headersByLen, headersByLetter = func() (byLen [24][]HeaderID, byLetter [256]HeaderID) {
	for id := HVia; id < numHeaders; id++ {
		h := headerTable[id]
		byLen[len(h.name)] = append(byLen[len(h.name)], id)
		if h.compact != 0 {
			byLetter[h.compact] = id
			byLetter[h.compact-32] = id
		}
	}
	return byLen, byLetter
}()

// headersByHash finds a name that is written as the RFCs write it at once. The
// factors of the hash are chosen so that no two names share one; if two did,
// the commoner one, which has the lower number, would be there.
var headersByHash = func() (byHash [256]HeaderID) {
	for id := numHeaders - 1; id >= HVia; id-- {
		byHash[headerHash(headerTable[id].name)] = id
	}
	return byHash
}()

// headerHash hashes a name of at least two bytes.
func headerHash[T ~string | ~[]byte](name T) uint8 {
	n := len(name)
	return uint8(n) ^ name[0]*3 ^ name[n-1]*5 ^ name[n/2]
}

// LookupHeader returns the identifier of a header name, full or compact, in
// any letter case (RFC 3261 §7.3.1, §7.3.3).
func LookupHeader[T ~string | ~[]byte](name T) HeaderID {
	if len(name) == 1 {
		return headersByLetter[name[0]]
	}
	if len(name) >= len(headersByLen) {
		return HOther
	}
	if len(name) > 1 {
		if id := headersByHash[headerHash(name)]; string(name) == headerTable[id].name {
			return id
		}
	}
	for _, id := range headersByLen[len(name)] {
		if EqualFold(name, headerTable[id].name) {
			return id
		}
	}
	return HOther
}

// EqualFold compares ASCII text without regard to letter case.
func EqualFold[A, B ~string | ~[]byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// Method is a request method that sipr knows by number.
type Method uint8

// The methods of RFC 3261 and its extensions.
const (
	MethodOther Method = iota
	INVITE
	ACK
	BYE
	CANCEL
	OPTIONS
	REGISTER
	PRACK
	SUBSCRIBE
	NOTIFY
	PUBLISH
	INFO
	REFER
	MESSAGE
	UPDATE
)

var methodNames = [...]string{"", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK",
	"SUBSCRIBE", "NOTIFY", "PUBLISH", "INFO", "REFER", "MESSAGE", "UPDATE"}

// String returns the method's name; the empty string for MethodOther.
func (m Method) String() string { return methodNames[m] }

// LookupMethod returns the number of a method name. Methods are
// case-sensitive (RFC 3261 §7.1).
func LookupMethod[T ~string | ~[]byte](name T) Method {
	for i := 1; i < len(methodNames); i++ {
		if string(name) == methodNames[i] {
			return Method(i)
		}
	}
	return MethodOther
}

// Character classes of RFC 3261 §25.1.
const (
	cToken uint16 = 1 << iota
	cUser         // user part of a URI, "%" apart
	cParam        // URI parameter or header character, "%" apart
	cHost
	cDigit
	cHex
	cWord  // Call-ID
	cBreak // ends or breaks a URI in a header field: white space, <, >, "
	cValue // unquoted value of a header parameter
	cPound // dialed by phones that do not escape it in the user part of a URI
)

var class = func() (t [256]uint16) {
	set := func(chars string, bits uint16) {
		for i := 0; i < len(chars); i++ {
			t[chars[i]] |= bits
		}
	}
	for c := 0; c < 256; c++ {
		if c > ' ' && c != 0x7f && !strings.ContainsRune(",;\"<>", rune(c)) {
			t[c] |= cValue
		}
		switch {
		case c >= '0' && c <= '9':
			t[c] |= cToken | cUser | cParam | cHost | cDigit | cHex | cWord
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			t[c] |= cToken | cUser | cParam | cHost | cWord
		}
	}
	set("abcdefABCDEF", cHex)
	set("-.!%*_+`'~", cToken)
	set("-.!%*_+`'~()<>:\\\"/[]?{}@", cWord)
	set("-_.!~*'()", cUser|cParam)
	set("&=+$,;?/", cUser)
	set("[]/?:&+$", cParam)
	set("-._", cHost)
	set(" \t\r\n<>\"", cBreak)
	set("#", cPound)
	return t
}()

// IsToken tells whether b is a token of RFC 3261 §25.1.
func IsToken[T ~string | ~[]byte](b T) bool {
	for i := 0; i < len(b); i++ {
		if class[b[i]]&cToken == 0 {
			return false
		}
	}
	return len(b) > 0
}

// ParseUint parses a decimal number up to max. It refuses signs, spaces and
// everything else that is not 1*DIGIT.
func ParseUint[T ~string | ~[]byte](b T, max uint64) (uint64, bool) {
	for len(b) > 20 && b[0] == '0' {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(b); i++ {
		d := b[i] - '0'
		if d > 9 || n > max/10 {
			return 0, false
		}
		n = n*10 + uint64(d)
		if n > max {
			return 0, false
		}
	}
	return n, true
}

// Trim returns b without leading and trailing linear white space.
func Trim(b []byte) []byte {
	for len(b) > 0 && isLWS(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isLWS(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// isLWS covers the line break of a folded value too.
func isLWS(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
