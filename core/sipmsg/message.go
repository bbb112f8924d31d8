package sipmsg

import (
	"bytes"
	"errors"
)

// MaxSize is the largest message, in bytes, that is framed. Offsets are kept in
// 16 bits.
const MaxSize = 65535

// maxHeaders bounds the header fields of one message.
const maxHeaders = 1024

type span struct{ off, end uint16 }

// Header is one header field of a message: an entry of its index.
type Header struct {
	name, value span
	end         uint16 // offset after the line break
	next        int16  // next field of the same HeaderID, or -1
	ID          HeaderID
	flags       uint8
}

const (
	hGone  uint8 = 1 << iota // removed by an edit
	hArena                   // name and value lie in the arena: added by an edit
	hValue                   // only the value lies in the arena: replaced by an edit
	hFront                   // added before all others
)

// Message is one SIP request or response. The zero value is ready for Parse.
type Message struct {
	buf   []byte
	arena []byte // text of edits

	// Method and Status tell what the message is: a request has Status 0.
	Method Method
	Status int

	method, uri, version, reason span
	hdrs                         []Header
	first, last                  [numHeaders]int16
	start                        uint16 // offset of the start line
	hdrStart, hdrEnd             uint16 // of the header fields; the empty line follows
	body                         span
	lines                        int      // up to the empty line, while Parse counts them
	fault                        *Problem // the first fault that Parse saw
	contentLength                int      // -1 where there is none

	edits   []edit
	newURI  span // in the arena, if hasURI
	hasURI  bool
	newBody span // in the arena, if hasBody
	hasBody bool

	received    span // in the arena: where the request came from, if hasReceived
	hasReceived bool
	rport       uint16

	cached    uint16
	ruri      URI
	ruriErr   error
	from, to  NameAddr
	fromErr   error
	toErr     error
	via       Via
	viaRest   []byte // what follows it in the same header field
	viaErr    error
	cseq      uint32
	cseqM     []byte
	cseqErr   error
	fromTag   []byte
	toTag     []byte
	maxfwd    int
	fromURI   URI
	fromURIOK error
	toURI     URI
	toURIOK   error
}

const (
	cachedURI uint16 = 1 << iota
	cachedFrom
	cachedTo
	cachedVia
	cachedCSeq
	cachedMaxFwd
	cachedFromURI
	cachedToURI
)

// noHeaders is first of a message without header fields.
var noHeaders = func() (a [numHeaders]int16) {
	for i := range a {
		a[i] = -1
	}
	return a
}()

// Framing errors: nothing can be cut out of the bytes, so nobody can be
// answered.
var (
	ErrNotSIP = errors.New("not a SIP message")
	ErrTooBig = errors.New("message exceeds 65535 bytes")
	ErrNoEnd  = errors.New("header section does not end")
)

var crByte = []byte{'\r'}

// Parse indexes buf, which the message keeps until Reset or the next Parse. It
// returns an error only for bytes that cannot be framed as a message; see
// Check for everything else. Bytes after the body (RFC 3261 §18.3) are ignored.
func (m *Message) Parse(buf []byte) error {
	m.Reset()
	if len(buf) > MaxSize {
		return ErrTooBig
	}
	m.buf = buf
	i := 0
	for i+1 < len(buf) && buf[i] == '\r' && buf[i+1] == '\n' {
		i += 2
	}
	m.start, m.lines = uint16(i), 0
	line, next, ok := m.line(i)
	if !ok {
		return ErrNotSIP
	}
	if err := m.startLine(line); err != nil {
		return err
	}
	m.hdrStart = uint16(next)
	if err := m.headers(next); err != nil {
		return err
	}
	return m.frameBody()
}

// Reset forgets everything but the memory.
func (m *Message) Reset() {
	m.buf, m.arena = nil, m.arena[:0]
	m.hdrs, m.edits = m.hdrs[:0], m.edits[:0]
	m.Method, m.Status = 0, 0
	m.first = noHeaders
	m.fault = nil
	m.contentLength = -1
	m.hasURI, m.hasBody, m.hasReceived, m.rport = false, false, false, 0
	m.cached = 0
	m.body = span{}
}

// line returns the span of the line that begins at i, without its line break,
// and the offset of the next. A line feed without carriage return is noted as a
// fault: it lets two elements read one message differently. So does a carriage
// return without line feed, see headers.
func (m *Message) line(i int) (s span, next int, ok bool) {
	nl := bytes.IndexByte(m.buf[i:], '\n')
	if nl < 0 {
		return s, 0, false
	}
	end := i + nl
	next = end + 1
	if nl > 0 && m.buf[end-1] == '\r' {
		end--
	} else {
		m.blame(problemBareLF)
	}
	m.lines++
	return span{uint16(i), uint16(end)}, next, true
}

func (m *Message) blame(p *Problem) {
	if m.fault == nil {
		m.fault = p
	}
}

func (m *Message) startLine(s span) error {
	b := m.buf[s.off:s.end]
	if len(b) > 8 && EqualFold(b[:4], "SIP/") {
		return m.statusLine(s)
	}
	sp1 := bytes.IndexByte(b, ' ')
	sp2 := bytes.LastIndexByte(bytes.TrimRight(b, " \t"), ' ')
	if sp1 <= 0 || sp2 < sp1 {
		return ErrNotSIP
	}
	m.method = span{s.off, s.off + uint16(sp1)}
	m.Method = LookupMethod(b[:sp1])
	m.uri = span{s.off + uint16(min(sp1+1, sp2)), s.off + uint16(sp2)}
	m.version = span{s.off + uint16(sp2) + 1, s.end}
	v := b[sp2+1:]
	if sp2 > sp1 && IsToken(b[:sp1]) {
		if EqualFold(v, "SIP/2.0") { // in any letter case (§7.1)
			return nil
		}
	} else if len(v) >= 4 && EqualFold(v[:4], "SIP/") {
		m.blame(problemStartLine)
		return nil
	}
	v = Trim(v)
	if len(v) < 4 || !EqualFold(v[:4], "SIP/") {
		return ErrNotSIP
	}
	if EqualFold(v, "SIP/2.0") {
		m.blame(problemStartLine)
	} else {
		m.blame(problemVersion)
	}
	return nil
}

func (m *Message) statusLine(s span) error {
	b := m.buf[s.off:s.end]
	sp := bytes.IndexByte(b, ' ')
	if sp < 0 {
		return ErrNotSIP
	}
	m.version = span{s.off, s.off + uint16(sp)}
	m.method, m.uri = span{}, span{} // not those of what was parsed before
	if !EqualFold(b[:sp], "SIP/2.0") {
		m.blame(problemVersion)
	}
	code := b[sp+1:]
	rest := code[len(code):]
	if i := bytes.IndexByte(code, ' '); i >= 0 {
		code, rest = code[:i], code[i+1:]
	}
	m.reason = span{s.end - uint16(len(rest)), s.end}
	n, ok := ParseUint(code, 699)
	m.Status = int(n)
	if !ok || n < 100 || len(code) != 3 {
		m.Status = 999
		m.blame(problemStatus)
	}
	return nil
}

// headers indexes the header fields from offset i to the empty line.
func (m *Message) headers(i int) error {
	buf := m.buf
	for {
		s, next, ok := m.line(i)
		if !ok {
			return ErrNoEnd
		}
		if s.off == s.end {
			m.hdrEnd = uint16(i)
			// Where every line ends with CRLF, more CRs than lines are bare ones.
			if m.fault != problemBareLF && bytes.Count(buf[m.start:next], crByte) != m.lines {
				m.blame(problemBareCR)
			}
			m.body = span{uint16(next), uint16(len(buf))}
			return nil
		}
		for next < len(buf) && (buf[next] == ' ' || buf[next] == '\t') { // folded
			var f span
			if f, next, ok = m.line(next); !ok {
				return ErrNoEnd
			}
			s.end = f.end
		}
		i = next
		line := buf[s.off:s.end]
		n := 0
		for n < len(line) && class[line[n]]&cToken != 0 {
			n++
		}
		colon := n
		if n == len(line) || line[n] != ':' || n == 0 { // white space before the colon, or no header field
			if colon = bytes.IndexByte(line, ':'); colon <= 0 {
				m.blame(problemHeader)
				continue
			}
			if n = len(bytes.TrimRight(line[:colon], " \t")); !IsToken(line[:n]) {
				m.blame(problemHeader)
			}
		}
		if len(m.hdrs) >= maxHeaders {
			m.blame(problemTooMany)
			continue
		}
		h := Header{ID: LookupHeader(line[:n]), end: uint16(next)}
		h.name = span{s.off, s.off + uint16(n)}
		v, e := int(s.off)+colon+1, int(s.end)
		for v < e && isLWS(buf[v]) {
			v++
		}
		for e > v && isLWS(buf[e-1]) {
			e--
		}
		h.value = span{uint16(v), uint16(e)}
		m.push(h)
	}
}

// matches names the header fields that a response is framed and matched by.
// What else it repeats is for those who read it.
func matches(id HeaderID) bool {
	switch id {
	case HFrom, HTo, HCallID, HCSeq, HContentLength:
		return true
	}
	return false
}

// push appends h to the index and to the chain of its kind.
func (m *Message) push(h Header) int {
	h.next = -1
	i := int16(len(m.hdrs))
	m.hdrs = append(m.hdrs, h)
	if h.ID != HOther {
		if h.flags&hFront != 0 && m.first[h.ID] >= 0 {
			m.chainFront(i)
			return int(i)
		}
		if m.first[h.ID] < 0 {
			m.first[h.ID] = i
		} else {
			m.hdrs[m.last[h.ID]].next = i
			if headerTable[h.ID].single && h.flags == 0 && (m.Status == 0 || matches(h.ID)) {
				m.blame(problemTwice)
			}
		}
		m.last[h.ID] = i
	}
	return int(i)
}

// chainFront puts header field i before the others of its kind, but after those
// that were put there earlier, as they stand on the wire.
func (m *Message) chainFront(i int16) {
	id := m.hdrs[i].ID
	prev, next := int16(-1), m.first[id]
	for next >= 0 && m.hdrs[next].flags&hFront != 0 {
		prev, next = next, m.hdrs[next].next
	}
	m.hdrs[i].next = next
	if prev < 0 {
		m.first[id] = i
	} else {
		m.hdrs[prev].next = i
	}
	if next < 0 {
		m.last[id] = i
	}
}

// frameBody applies Content-Length (RFC 3261 §18.3).
func (m *Message) frameBody() error {
	i := m.first[HContentLength]
	if i < 0 {
		return nil
	}
	n, ok := ParseUint(m.Value(int(i)), 1<<31)
	switch {
	case !ok:
		m.blame(problemContentLength)
	case int(n) > int(m.body.end-m.body.off):
		m.blame(problemTruncated)
		m.contentLength = int(n)
	default:
		m.contentLength = int(n)
		m.body.end = m.body.off + uint16(n)
	}
	return nil
}

// IsRequest tells a request from a response.
func (m *Message) IsRequest() bool { return m.Status == 0 }

// Size is the length in bytes of the message as received.
func (m *Message) Size() int { return int(m.body.end) - int(m.start) }

// Bytes returns the message as received.
func (m *Message) Bytes() []byte { return m.buf[m.start:m.body.end] }

// MethodText returns the method of the request line.
func (m *Message) MethodText() []byte { return m.buf[m.method.off:m.method.end] }

// Reason returns the reason phrase of a response.
func (m *Message) Reason() []byte { return m.buf[m.reason.off:m.reason.end] }

// Version returns the SIP version as received.
func (m *Message) Version() []byte { return m.buf[m.version.off:m.version.end] }

// Body returns the body; SetBody's, where there was one.
func (m *Message) Body() []byte {
	if m.hasBody {
		return m.arena[m.newBody.off:m.newBody.end]
	}
	return m.buf[m.body.off:m.body.end]
}

// Len returns the number of header fields, removed ones included.
func (m *Message) Len() int { return len(m.hdrs) }

// First returns the index of the first header field of a kind, or -1.
func (m *Message) First(id HeaderID) int {
	for i := m.first[id]; i >= 0; i = m.hdrs[i].next {
		if m.hdrs[i].flags&hGone == 0 {
			return int(i)
		}
	}
	return -1
}

// Next returns the index of the next header field of i's kind, or -1.
func (m *Message) Next(i int) int {
	for i := m.hdrs[i].next; i >= 0; i = m.hdrs[i].next {
		if m.hdrs[i].flags&hGone == 0 {
			return int(i)
		}
	}
	return -1
}

// Find returns the index of the first header field at or after from whose name
// is name, full or compact, or -1.
func (m *Message) Find(name string, from int) int {
	id := LookupHeader(name)
	for i := from; i < len(m.hdrs); i++ {
		h := &m.hdrs[i]
		if h.flags&hGone == 0 && h.ID == id && (id != HOther || EqualFold(m.Name(i), name)) {
			return i
		}
	}
	return -1
}

// Has tells whether a header field of a kind is present.
func (m *Message) Has(id HeaderID) bool { return m.First(id) >= 0 }

// HeaderID returns the kind of header field i.
func (m *Message) HeaderID(i int) HeaderID { return m.hdrs[i].ID }

// Removed tells whether header field i has been removed.
func (m *Message) Removed(i int) bool { return m.hdrs[i].flags&hGone != 0 }

// Name returns the name of header field i as written.
func (m *Message) Name(i int) []byte {
	h := &m.hdrs[i]
	if h.flags&hArena != 0 {
		return m.arena[h.name.off:h.name.end]
	}
	return m.buf[h.name.off:h.name.end]
}

// Value returns the value of header field i without surrounding white space;
// a folded value keeps its line breaks.
func (m *Message) Value(i int) []byte {
	h := &m.hdrs[i]
	if h.flags&(hArena|hValue) != 0 {
		return m.arena[h.value.off:h.value.end]
	}
	return m.buf[h.value.off:h.value.end]
}

// Get returns the value of the first header field of a kind, nil if none.
func (m *Message) Get(id HeaderID) []byte {
	if i := m.First(id); i >= 0 {
		return m.Value(i)
	}
	return nil
}

// CallID returns the Call-ID.
func (m *Message) CallID() []byte { return m.Get(HCallID) }

// Next moves to the next value and reports whether there is one.
func (v *Values) Next() bool {
	for v.hdr >= 0 {
		if len(v.rest) > 0 {
			v.Value, v.rest = NextValue(v.rest)
			return true
		}
		v.hdr = v.m.Next(v.hdr)
		if v.hdr >= 0 {
			v.rest = v.m.Value(v.hdr)
		}
	}
	return false
}

// Header returns the index of the header field that holds the current value.
func (v *Values) Header() int { return v.hdr }

// Compact moves the message onto buf, which must have room for Bytes: the
// buffer that it was parsed from is free afterwards. Slices handed out before
// are dead.
func (m *Message) Compact(buf []byte) {
	n := copy(buf[:cap(buf)], m.buf[:m.body.end])
	m.buf = buf[:n]
	m.cached = 0
}

// Buffer returns the buffer that the message lies in.
func (m *Message) Buffer() []byte { return m.buf }
