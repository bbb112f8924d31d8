package sipmsg

import "bytes"

// Problem is what is wrong with a message that could be framed.
type Problem struct {
	// Code is the status that is owed for a request.
	Code int
	// Reason is the reason phrase, which names the fault.
	Reason string
}

func (p *Problem) Error() string { return p.Reason }

var (
	problemBareLF        = &Problem{400, "Line Ends Without CRLF"}
	problemBareCR        = &Problem{400, "Bare CR In Header"}
	problemStartLine     = &Problem{400, "Malformed Request Line"}
	problemVersion       = &Problem{505, "Version Not Supported"}
	problemStatus        = &Problem{400, "Malformed Status Line"}
	problemHeader        = &Problem{400, "Malformed Header Field"}
	problemTooMany       = &Problem{400, "Too Many Header Fields"}
	problemTwice         = &Problem{400, "Header Field Repeated"}
	problemContentLength = &Problem{400, "Malformed Content-Length"}
	problemTruncated     = &Problem{400, "Body Shorter Than Content-Length"}
	problemNUL           = &Problem{400, "NUL In Header"}
	problemRequestURI    = &Problem{400, "Malformed Request-URI"}
	problemVia           = &Problem{400, "Missing Or Malformed Via"}
	problemFrom          = &Problem{400, "Missing Or Malformed From"}
	problemTo            = &Problem{400, "Missing Or Malformed To"}
	problemCallID        = &Problem{400, "Missing Or Malformed Call-ID"}
	problemCSeq          = &Problem{400, "Missing Or Malformed CSeq"}
	problemCSeqMethod    = &Problem{400, "CSeq Method Does Not Match"}
	problemMaxForwards   = &Problem{400, "Malformed Max-Forwards"}
	problemRoute         = &Problem{400, "Malformed Route"}
	problemFromURI       = &Problem{400, "Malformed From URI"}
	problemToURI         = &Problem{400, "Malformed To URI"}
)

// Check returns what is wrong with the message by the rules that every element
// applies before it acts on it (RFC 3261 §8.2, §16.3, RFC 4475), or nil.
//
// Values that only some elements read are not judged here: an element that
// does not use a header field forwards it as it is.
func (m *Message) Check() *Problem {
	if m.fault != nil {
		return m.fault
	}
	if bytes.IndexByte(m.buf[m.start:m.hdrEnd], 0) >= 0 && !m.onlyQuotedNULs() {
		return problemNUL
	}
	if m.IsRequest() {
		if u, err := m.RURI(); err != nil || len(u.Raw) == 0 {
			return problemRequestURI
		}
	}
	if _, err := m.Via(); err != nil {
		return problemVia
	}
	if !m.IsRequest() {
		return m.checkResponse()
	}
	rest := m.viaRest // the topmost is parsed already
	for i := m.First(HVia); ; rest = m.Value(i) {
		for len(rest) > 0 {
			var v []byte
			v, rest = NextValue(rest)
			if _, err := ParseVia(v); err != nil {
				return problemVia
			}
		}
		if i = m.Next(i); i < 0 {
			break
		}
	}
	if from, err := m.From(); err != nil || m.fromTag != nil && !IsToken(m.fromTag) || len(from.URIText) == 0 {
		return problemFrom
	}
	if _, err := m.FromURI(); err != nil {
		return problemFromURI
	}
	if to, err := m.To(); err != nil || m.toTag != nil && !IsToken(m.toTag) || len(to.URIText) == 0 {
		return problemTo
	}
	if _, err := m.ToURI(); err != nil {
		return problemToURI
	}
	if id := m.CallID(); len(id) == 0 || !visible(id) {
		return problemCallID
	}
	_, method, err := m.CSeq()
	if err != nil {
		return problemCSeq
	}
	return m.checkRequest(method)
}

// checkResponse checks what a response is matched by. What else it says is for
// the element that sent the request, and the Via below the topmost for who
// forwards it there.
func (m *Message) checkResponse() *Problem {
	switch {
	case !m.Has(HFrom):
		return problemFrom
	case !m.Has(HTo):
		return problemTo
	case len(m.CallID()) == 0:
		return problemCallID
	}
	if _, _, err := m.CSeq(); err != nil {
		return problemCSeq
	}
	return nil
}

func (m *Message) checkRequest(cseqMethod []byte) *Problem {
	if !bytes.Equal(cseqMethod, m.MethodText()) {
		return problemCSeqMethod
	}
	if m.MaxForwards() == -2 {
		return problemMaxForwards
	}
	for i := m.First(HRoute); i >= 0; i = m.Next(i) {
		for rest := m.Value(i); len(rest) > 0; {
			var v []byte
			v, rest = NextValue(rest)
			n, err := ParseNameAddr(v)
			if err != nil || !n.Bracketed {
				return problemRoute
			}
		}
	}
	return nil
}

// visible tells whether b is free of white space and control characters.
func visible(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// onlyQuotedNULs tells whether every NUL in the header section is escaped by a
// backslash, as a quoted pair may be (RFC 3261 §25.1).
func (m *Message) onlyQuotedNULs() bool {
	b := m.buf[m.start:m.hdrEnd]
	for i, c := range b {
		if c == 0 && (i == 0 || b[i-1] != '\\') {
			return false
		}
	}
	return true
}
