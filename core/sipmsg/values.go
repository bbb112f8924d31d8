package sipmsg

import (
	"errors"
	"net/netip"
)

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

// tagOf returns the tag among the parameters of From or To, which has no other
// parameter as a rule.
func tagOf(params []byte) []byte {
	if len(params) > 4 && string(params[:4]) == "tag=" && IsToken(params[4:]) {
		return params[4:]
	}
	tag, _ := HeaderParam(params, "tag")
	return tag
}

// From returns the parsed From value.
func (m *Message) From() (*NameAddr, error) {
	if m.cached&cachedFrom == 0 {
		m.from, m.fromErr = ParseNameAddr(m.Get(HFrom))
		m.fromTag = tagOf(m.from.Params)
		m.cached |= cachedFrom
	}
	return &m.from, m.fromErr
}

// To returns the parsed To value.
func (m *Message) To() (*NameAddr, error) {
	if m.cached&cachedTo == 0 {
		m.to, m.toErr = ParseNameAddr(m.Get(HTo))
		m.toTag = tagOf(m.to.Params)
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
		var v []byte
		v, m.viaRest = NextValue(m.Get(HVia))
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
