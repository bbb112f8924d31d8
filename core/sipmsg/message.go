package sipmsg

import (
	"bytes"
	"errors"
	"net/netip"
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
	m.start = uint16(i)
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
// and the offset of the next. A line feed without carriage return, and a
// carriage return without line feed, are noted as faults: they let two
// elements read one message differently.
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
	if bytes.IndexByte(m.buf[i:end], '\r') >= 0 {
		m.blame(problemBareCR)
	}
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
	if sp1 <= 0 || sp2 <= sp1 {
		return ErrNotSIP
	}
	if !IsToken(b[:sp1]) {
		return ErrNotSIP
	}
	m.method = span{s.off, s.off + uint16(sp1)}
	m.Method = LookupMethod(b[:sp1])
	m.uri = span{s.off + uint16(sp1) + 1, s.off + uint16(sp2)}
	m.version = span{s.off + uint16(sp2) + 1, s.end}
	v := b[sp2+1:]
	if EqualFold(v, "SIP/2.0") { // in any letter case (§7.1)
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
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			m.blame(problemHeader)
			continue
		}
		if len(m.hdrs) >= maxHeaders {
			m.blame(problemTooMany)
			continue
		}
		name := line[:colon]
		for len(name) > 0 && (name[len(name)-1] == ' ' || name[len(name)-1] == '\t') {
			name = name[:len(name)-1]
		}
		h := Header{ID: LookupHeader(name), end: uint16(next)}
		h.name = span{s.off, s.off + uint16(len(name))}
		if h.ID == HOther && !IsToken(name) {
			m.blame(problemHeader)
		}
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
			if headerTable[h.ID].single && h.flags == 0 {
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

// RURIText returns the Request-URI, as rewritten if it was.
func (m *Message) RURIText() []byte {
	if m.hasURI {
		return m.arena[m.newURI.off:m.newURI.end]
	}
	return m.buf[m.uri.off:m.uri.end]
}

// OriginalRURI returns the Request-URI as received.
func (m *Message) OriginalRURI() []byte { return m.buf[m.uri.off:m.uri.end] }

// RURI returns the parsed Request-URI, as rewritten if it was.
func (m *Message) RURI() (*URI, error) {
	if m.cached&cachedURI == 0 {
		m.ruri, m.ruriErr = ParseURI(m.RURIText())
		m.cached |= cachedURI
	}
	return &m.ruri, m.ruriErr
}

// From returns the parsed From value.
func (m *Message) From() (*NameAddr, error) {
	if m.cached&cachedFrom == 0 {
		m.from, m.fromErr = ParseNameAddr(m.Get(HFrom))
		m.fromTag, _ = m.from.Param("tag")
		m.cached |= cachedFrom
	}
	return &m.from, m.fromErr
}

// To returns the parsed To value.
func (m *Message) To() (*NameAddr, error) {
	if m.cached&cachedTo == 0 {
		m.to, m.toErr = ParseNameAddr(m.Get(HTo))
		m.toTag, _ = m.to.Param("tag")
		m.cached |= cachedTo
	}
	return &m.to, m.toErr
}

// FromURI returns the parsed URI of the From header field.
func (m *Message) FromURI() (*URI, error) {
	if m.cached&cachedFromURI == 0 {
		from, err := m.From()
		if err == nil {
			m.fromURI, err = from.URI()
		}
		m.fromURIOK = err
		m.cached |= cachedFromURI
	}
	return &m.fromURI, m.fromURIOK
}

// ToURI returns the parsed URI of the To header field.
func (m *Message) ToURI() (*URI, error) {
	if m.cached&cachedToURI == 0 {
		to, err := m.To()
		if err == nil {
			m.toURI, err = to.URI()
		}
		m.toURIOK = err
		m.cached |= cachedToURI
	}
	return &m.toURI, m.toURIOK
}

// FromTag returns the tag of From, nil if there is none.
func (m *Message) FromTag() []byte {
	m.From()
	return m.fromTag
}

// ToTag returns the tag of To, nil if there is none.
func (m *Message) ToTag() []byte {
	m.To()
	return m.toTag
}

// Via returns the topmost Via value.
func (m *Message) Via() (*Via, error) {
	if m.cached&cachedVia == 0 {
		v, _ := NextValue(m.Get(HVia))
		m.via, m.viaErr = ParseVia(v)
		if m.hasReceived {
			m.via.Received = m.arena[m.received.off:m.received.end]
		}
		if m.rport != 0 {
			m.via.RPort = m.rport
		}
		m.cached |= cachedVia
	}
	return &m.via, m.viaErr
}

// ErrCSeq is returned for a malformed CSeq.
var ErrCSeq = errors.New("bad CSeq")

// CSeq returns the sequence number and the method of CSeq.
func (m *Message) CSeq() (uint32, []byte, error) {
	if m.cached&cachedCSeq == 0 {
		m.cached |= cachedCSeq
		v := m.Get(HCSeq)
		i := 0
		for i < len(v) && class[v[i]]&cDigit != 0 {
			i++
		}
		n, ok := ParseUint(v[:i], 1<<32-1)
		m.cseq, m.cseqM = uint32(n), Trim(v[i:])
		m.cseqErr = nil
		if !ok || i == len(v) || !isLWS(v[i]) || !IsToken(m.cseqM) {
			m.cseqErr = ErrCSeq
		}
	}
	return m.cseq, m.cseqM, m.cseqErr
}

// CSeqMethod returns the method of CSeq by number, MethodOther if unknown.
func (m *Message) CSeqMethod() Method {
	_, name, _ := m.CSeq()
	return LookupMethod(name)
}

// MaxForwards returns the hop limit; -1 where there is none, -2 where it is
// malformed.
func (m *Message) MaxForwards() int {
	if m.cached&cachedMaxFwd == 0 {
		m.cached |= cachedMaxFwd
		m.maxfwd = -1
		if v := m.Get(HMaxForwards); v != nil {
			n, ok := ParseUint(v, 255)
			m.maxfwd = int(n)
			if !ok {
				m.maxfwd = -2
			}
		}
	}
	return m.maxfwd
}

// Values iterates over the comma-separated values of all header fields of one
// kind, in order.
type Values struct {
	m    *Message
	hdr  int
	rest []byte
	// Value is the current value.
	Value []byte
}

// Values returns an iterator over the values of a kind of header field.
func (m *Message) Values(id HeaderID) Values {
	v := Values{m: m, hdr: m.First(id)}
	if v.hdr >= 0 {
		v.rest = m.Value(v.hdr)
	}
	return v
}

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

// HasToken tells whether a list header (Require, Supported …) names an option
// tag.
func (m *Message) HasToken(id HeaderID, token string) bool {
	for v := m.Values(id); v.Next(); {
		if EqualFold(v.Value, token) {
			return true
		}
	}
	return false
}

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

// ViaAddr returns where a response with this topmost Via goes by RFC 3261
// §18.2.2 and RFC 3581, as an IP address; ok is false where only a host name
// is known.
func (v *Via) ViaAddr() (netip.AddrPort, bool) {
	host := v.Host
	if v.Received != nil {
		host = v.Received
	}
	port := v.Port
	if v.RPort != 0 {
		port = v.RPort
	}
	if port == 0 {
		port = 5060
		if EqualFold(v.Transport, "TLS") {
			port = 5061
		}
	}
	ip, ok := ParseIP(host)
	return netip.AddrPortFrom(ip, port), ok
}
