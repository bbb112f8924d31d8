package registrar

import (
	"sipr/core/sipmsg"
)

// refusal is the answer to a REGISTER that is not granted.
type refusal struct {
	code   int
	reason string
	// why is what save returns to the script beside false.
	why string
}

func (r *refusal) Error() string { return r.reason }

// The refusals. What they say is in the words of the response.
var (
	badContact    = &refusal{400, "Bad Contact", "contact"}
	badScheme     = &refusal{400, "Contact Scheme Not Supported", "contact"}
	badQ          = &refusal{400, "Bad q In Contact", "contact"}
	badStar       = &refusal{400, "Contact * Needs Expires: 0 And Stands Alone", "contact"}
	badAoR        = &refusal{400, "Bad Address Of Record", "aor"}
	badCallID     = &refusal{400, "Bad Call-ID", "callid"}
	badPath       = &refusal{400, "Bad Path", "path"}
	tooLong       = &refusal{400, "Contact Too Long", "contact"}
	tooMany       = &refusal{403, "Too Many Contacts", "contacts"}
	ownContact    = &refusal{403, "Contact Points To This Server", "contact"}
	gwContact     = &refusal{403, "Contact Points To A Gateway", "contact"}
	notLocal      = &refusal{404, "Not Found", "domain"}
	badExtension  = &refusal{420, "Bad Extension", "extension"}
	tooBrief      = &refusal{423, "Interval Too Brief", "expires"}
	staleSequence = &refusal{500, "CSeq Out Of Order", "stale"}
	failure       = &refusal{500, "Server Internal Error", "database"}
)

// malformedExpires is what a malformed lifetime counts as (RFC 3261 §10.2.1.1).
const malformedExpires = 3600

// contact is one Contact value of a REGISTER.
type contact struct {
	uri               sipmsg.URI
	expires           uint32 // seconds; 0 removes
	q                 uint16
	regID             uint32
	instance, methods []byte // instance as it was written, with its quotes
}

// parseContact reads a Contact value. expires is the lifetime for a contact
// that names none.
func (m *Module) parseContact(c *contact, v []byte, expires uint32) *refusal {
	na, err := sipmsg.ParseNameAddr(v)
	if err != nil {
		return badContact
	}
	*c = contact{expires: expires, q: uint16(m.defaultQ.Load())}
	if c.uri, err = na.URI(); err != nil {
		return badContact
	}
	switch c.uri.Scheme {
	case sipmsg.SIP, sipmsg.SIPS, sipmsg.TEL:
	default:
		return badScheme
	}
	if p, ok := na.Param("expires"); ok {
		c.expires = lifetime(p)
	}
	if p, ok := na.Param("q"); ok {
		if c.q, ok = parseQ(p); !ok {
			return badQ
		}
	}
	if p, ok := na.Param("reg-id"); ok {
		n, ok := sipmsg.ParseUint(p, 1<<31-1)
		if !ok || n == 0 {
			return badContact
		}
		c.regID = uint32(n)
	}
	c.instance, _ = na.Param("+sip.instance")
	c.methods, _ = na.Param("methods")
	if !printable(c.instance) || !printable(c.methods) || !printable(c.uri.Raw) {
		return badContact
	}
	if len(c.uri.Raw) > sizeOf[fContact] || len(c.instance) > sizeOf[fInstance] || len(c.methods) > sizeOf[fMethods] {
		return tooLong
	}
	return nil
}

// place refuses contacts that lead back to this router, which would loop, or
// to a gateway, which would give away calls through it.
func (m *Module) place(r requestEngine, u *sipmsg.URI) *refusal {
	if u.Scheme == sipmsg.TEL {
		return nil
	}
	host := u.Host
	for {
		if r.IsMyself(host, u.Port) {
			return ownContact
		}
		if m.gateways != nil {
			if ip, ok := sipmsg.ParseIP(host); ok && m.gateways.IsGateway(ip) {
				return gwContact
			}
		}
		maddr, ok := u.Param("maddr")
		if !ok || len(maddr) == 0 || &maddr[0] == &host[0] {
			return nil
		}
		host = maddr
	}
}

// requestEngine is what place needs of the engine.
type requestEngine interface {
	IsMyself(host []byte, port uint16) bool
}

// bound applies the limits of lifetimes (RFC 3261 §10.3 step 7).
func (m *Module) bound(c *contact) *refusal {
	limit := uint32(m.maxExpires.Load().Seconds())
	if c.expires > limit {
		c.expires = limit
	}
	if c.expires > 0 && c.expires < uint32(m.minExpires.Load().Seconds()) && c.expires < 3600 {
		return tooBrief
	}
	return nil
}

// lifetime reads a number of seconds. One that is too large counts as the
// largest, anything malformed as an hour.
func lifetime(v []byte) uint32 {
	if n, ok := sipmsg.ParseUint(v, 1<<32-1); ok {
		return uint32(n)
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return malformedExpires
		}
	}
	if len(v) == 0 {
		return malformedExpires
	}
	return 1<<32 - 1
}

// parseQ reads a qvalue (RFC 3261 §25.1) in thousandths.
func parseQ(v []byte) (uint16, bool) {
	if len(v) == 0 || len(v) > 5 || v[0] != '0' && v[0] != '1' || len(v) > 1 && v[1] != '.' {
		return 0, false
	}
	n := uint16(v[0]-'0') * 1000
	unit := uint16(100)
	for i := 2; i < len(v); i++ {
		if v[i] < '0' || v[i] > '9' {
			return 0, false
		}
		n += uint16(v[i]-'0') * unit
		unit /= 10
	}
	return n, n <= 1000
}

// appendQ appends a qvalue.
func appendQ(dst []byte, q uint16) []byte {
	if q >= 1000 {
		return append(dst, '1')
	}
	dst = append(dst, '0')
	if q == 0 {
		return dst
	}
	dst = append(dst, '.', byte('0'+q/100))
	if q%100 != 0 {
		dst = append(dst, byte('0'+q/10%10))
	}
	if q%10 != 0 {
		dst = append(dst, byte('0'+q%10))
	}
	return dst
}

// printable tells whether b is visible ASCII and spaces, which every table and
// every response can hold.
func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
