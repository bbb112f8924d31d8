package sipmsg

import "bytes"

// appendUint appends n in decimal digits.
func appendUint(dst []byte, n uint64) []byte {
	var tmp [20]byte
	i := len(tmp)
	for {
		i--
		tmp[i] = byte('0' + n%10)
		n /= 10
		if n == 0 {
			return append(dst, tmp[i:]...)
		}
	}
}

// appendRange appends the received bytes from from to to with the edits that
// lie in them; edits at to itself are included if inclusive.
func (m *Message) appendRange(dst []byte, from, to uint16, inclusive bool) []byte {
	at := from
	for i := range m.edits {
		e := &m.edits[i]
		if e.at < from {
			continue
		}
		if e.at > to || e.at == to && !inclusive {
			break
		}
		dst = append(dst, m.buf[at:e.at]...)
		dst = append(dst, m.arena[e.lo:e.hi]...)
		at = e.at + e.del
	}
	if at < to {
		dst = append(dst, m.buf[at:to]...)
	}
	return dst
}

// number is a header field whose value the router writes itself, whatever it
// was; hdr is -1 for none.
type number struct {
	hdr int
	n   uint64
}

// appendHeaders appends the header fields with their edits and numbers.
func (m *Message) appendHeaders(dst []byte, nums *[2]number) []byte {
	at := m.hdrStart
	for i := range m.edits {
		e := &m.edits[i]
		dst = m.appendReceived(dst, at, e.at, nums)
		at = e.at + e.del
		text := m.arena[e.lo:e.hi]
		for _, num := range nums {
			if num.hdr >= 0 && num.hdr == int(e.hdr) {
				v := m.hdrs[num.hdr].value
				dst = append(dst, m.arena[e.lo:v.off]...)
				dst = appendUint(dst, num.n)
				text = m.arena[v.end:e.hi]
			}
		}
		dst = append(dst, text...)
	}
	return m.appendReceived(dst, at, m.hdrEnd, nums)
}

// appendReceived appends the received bytes from from to to, in which no edit
// lies, with numbers.
func (m *Message) appendReceived(dst []byte, from, to uint16, nums *[2]number) []byte {
	first, second := &nums[0], &nums[1]
	if first.hdr >= 0 && second.hdr >= 0 && m.hdrs[second.hdr].value.off < m.hdrs[first.hdr].value.off {
		first, second = second, first
	}
	for _, num := range [2]*number{first, second} {
		if num.hdr < 0 {
			continue
		}
		h := &m.hdrs[num.hdr]
		if h.flags&(hArena|hValue) == 0 && h.value.off >= from && h.value.end < to {
			dst = append(dst, m.buf[from:h.value.off]...)
			dst = appendUint(dst, num.n)
			from = h.value.end
		}
	}
	return append(dst, m.buf[from:to]...)
}

// Forward is what a proxy adds to a request that it sends on.
type Forward struct {
	// URI is the Request-URI; nil for the message's own. Header fields in it
	// are not sent.
	URI []byte
	// Top is whole header lines that go before all others: Via first, then
	// Record-Route and Route.
	Top []byte
	// MaxForwards is the value to send (RFC 3261 §16.6 step 3); a request
	// without the header field gets one.
	MaxForwards int
}

// AppendForward appends the request as it is sent on.
func (m *Message) AppendForward(dst []byte, f *Forward) []byte {
	uri := f.URI
	if uri == nil {
		uri = m.RURIText()
	}
	if bytes.IndexByte(uri, '?') >= 0 {
		uri = withoutHeaders(uri)
	}
	dst = append(dst, m.MethodText()...)
	dst = append(dst, ' ')
	dst = append(dst, uri...)
	dst = append(dst, " SIP/2.0\r\n"...)
	dst = append(dst, f.Top...)
	i := m.First(HMaxForwards)
	if i < 0 {
		dst = append(dst, "Max-Forwards: "...)
		dst = appendUint(dst, uint64(f.MaxForwards))
		dst = append(dst, "\r\n"...)
	}
	return m.appendRest(dst, number{i, uint64(f.MaxForwards)})
}

// withoutHeaders returns a URI without its header fields, which a Request-URI
// may not have (RFC 3261 §16.6 step 2, §19.1.1).
func withoutHeaders(uri []byte) []byte {
	u, err := ParseURI(uri)
	if err != nil || u.Headers == nil {
		return uri
	}
	return uri[:len(uri)-len(u.Headers)-1]
}

// AppendTo appends the message with its edits and nothing else.
func (m *Message) AppendTo(dst []byte) []byte {
	if m.IsRequest() && m.hasURI {
		dst = append(dst, m.MethodText()...)
		dst = append(dst, ' ')
		dst = append(dst, m.RURIText()...)
		dst = append(dst, " SIP/2.0\r\n"...)
	} else {
		dst = append(dst, m.buf[m.start:m.hdrStart]...)
	}
	return m.appendRest(dst, number{hdr: -1})
}

// appendRest appends the header fields and the body, with one Content-Length
// that is right: a stream could not frame the message otherwise (§18.3).
func (m *Message) appendRest(dst []byte, maxForwards number) []byte {
	body := m.Body()
	nums := [2]number{maxForwards, {hdr: -1}}
	i := m.First(HContentLength)
	if i >= 0 && (m.contentLength != len(body) || m.hdrs[i].flags != 0) {
		nums[1] = number{i, uint64(len(body))}
	}
	dst = m.appendHeaders(dst, &nums)
	if i < 0 {
		dst = append(dst, "Content-Length: "...)
		dst = appendUint(dst, uint64(len(body)))
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

// Reply is a response to be made from a request.
type Reply struct {
	Code   int
	Reason string
	// ToTag is added to To where the request had none; it must be empty for
	// 100 (RFC 3261 §8.2.6.2).
	ToTag []byte
	// Headers is whole header lines that follow the copied ones.
	Headers []byte
	// RecordRoute copies the request's Record-Route header fields, as a
	// response that creates a dialog must (§12.1.1).
	RecordRoute bool
	ContentType string
	Body        []byte
}

// AppendReply appends a response to the request (RFC 3261 §8.2.6). It is well
// formed even if the request is not.
func (m *Message) AppendReply(dst []byte, r *Reply) []byte {
	begin := len(dst)
	dst = append(dst, "SIP/2.0 "...)
	dst = appendUint(dst, uint64(r.Code))
	dst = append(dst, ' ')
	dst = append(dst, r.Reason...)
	dst = append(dst, "\r\n"...)
	for i := range m.hdrs {
		h := &m.hdrs[i]
		if h.flags&hArena != 0 {
			continue
		}
		switch h.ID {
		case HVia:
			if h.flags&hValue != 0 {
				dst = append(dst, m.buf[h.name.off:h.end]...)
				break
			}
			dst = append(dst, m.buf[h.name.off:h.value.off]...)
			dst = m.appendRange(dst, h.value.off, h.end, false)
		case HFrom, HCallID, HCSeq:
			if m.fault == nil || m.firstReceived(i) {
				dst = append(dst, m.buf[h.name.off:h.end]...)
			}
		case HTo:
			if m.fault != nil && !m.firstReceived(i) {
				break
			}
			if len(r.ToTag) == 0 || m.receivedToTag(h) {
				dst = append(dst, m.buf[h.name.off:h.end]...)
				break
			}
			dst = append(dst, m.buf[h.name.off:h.name.end]...)
			dst = append(dst, bytes.TrimRight(m.buf[h.name.end:h.end], " \t\r\n")...)
			dst = append(dst, ";tag="...)
			dst = append(dst, r.ToTag...)
			dst = append(dst, "\r\n"...)
		case HTimestamp:
			if r.Code == 100 {
				dst = append(dst, m.buf[h.name.off:h.end]...)
			}
		case HRecordRoute:
			if r.RecordRoute {
				dst = append(dst, m.buf[h.name.off:h.end]...)
			}
		}
	}
	if m.fault != nil {
		dst = cleanLines(dst, begin)
	}
	dst = append(dst, r.Headers...)
	if len(r.ContentType) > 0 {
		dst = append(dst, "Content-Type: "...)
		dst = append(dst, r.ContentType...)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = appendUint(dst, uint64(len(r.Body)))
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, r.Body...)
}

// firstReceived tells whether header field i is the first of its kind on the
// wire: of a field that is there twice by mistake a response repeats one.
func (m *Message) firstReceived(i int) bool {
	for j := range m.hdrs[:i] {
		if m.hdrs[j].ID == m.hdrs[i].ID && m.hdrs[j].flags&hArena == 0 {
			return false
		}
	}
	return true
}

// cleanLines lets every line from begin on end with CRLF, and no CR stand
// elsewhere.
func cleanLines(dst []byte, begin int) []byte {
	text := bytes.Clone(dst[begin:])
	dst = dst[:begin]
	for i, c := range text {
		switch {
		case c == '\n' && (i == 0 || text[i-1] != '\r'):
			dst = append(dst, '\r', '\n')
		case c == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// receivedToTag tells whether To had a tag when it was received.
func (m *Message) receivedToTag(h *Header) bool {
	if h.flags == 0 {
		if m.ToTag(); m.toErr == nil {
			return m.toTag != nil
		}
	}
	v := m.buf[h.name.end:h.end]
	v = Trim(Trim(v)[1:])
	n, err := ParseNameAddr(v)
	if err != nil { // what follows the URI, as well as can be told
		_, n.Params = cut(v[bytes.LastIndexByte(v, '>')+1:], ';')
	}
	_, ok := n.Param("tag")
	return ok
}

// AppendHop appends an ACK to a non-2xx final response (RFC 3261 §17.1.1.3) or
// a CANCEL (§9.1) for the request m, which must be the request as it was sent
// on: same Request-URI, topmost Via, From, Call-ID, CSeq number and Route. to
// is the To value of the response for an ACK, nil for a CANCEL.
func (m *Message) AppendHop(dst []byte, method string, to []byte) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, m.RURIText()...)
	dst = append(dst, " SIP/2.0\r\nVia: "...)
	via, _ := NextValue(m.Get(HVia))
	dst = append(dst, via...)
	dst = append(dst, "\r\nMax-Forwards: 70\r\n"...)
	for i := range m.hdrs {
		h := &m.hdrs[i]
		if h.flags&hGone != 0 {
			continue
		}
		switch h.ID {
		case HFrom, HCallID, HRoute:
			dst = m.appendField(dst, i)
		case HTo:
			if to == nil {
				dst = m.appendField(dst, i)
				break
			}
			dst = append(dst, "To: "...)
			dst = append(dst, to...)
			dst = append(dst, "\r\n"...)
		}
	}
	dst = append(dst, "CSeq: "...)
	n, _, _ := m.CSeq()
	dst = appendUint(dst, uint64(n))
	dst = append(dst, ' ')
	dst = append(dst, method...)
	return append(dst, "\r\nContent-Length: 0\r\n\r\n"...)
}

// appendField appends header field i as a line, with its edits.
func (m *Message) appendField(dst []byte, i int) []byte {
	h := &m.hdrs[i]
	if h.flags&(hArena|hValue) == 0 {
		dst = append(dst, m.buf[h.name.off:h.name.end]...)
		return m.appendRange(dst, h.name.end, h.end, false)
	}
	dst = append(dst, m.Name(i)...)
	dst = append(dst, ": "...)
	dst = append(dst, m.Value(i)...)
	return append(dst, "\r\n"...)
}
