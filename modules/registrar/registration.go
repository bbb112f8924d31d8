package registrar

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"strings"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// registration is a REGISTER that is being handled. Its texts lie in the
// message. It is reused.
type registration struct {
	m   *Module
	now clock.Time
	key []byte

	contacts []contact
	star     bool
	single   bool // save's flag 4
	callID   []byte
	cseq     uint32
	agent    []byte
	path     []byte
	// agentBuf and pathBuf hold what does not lie in one piece.
	agentBuf, pathBuf []byte
	flow              core.Flow

	// result is the bindings after the request.
	result  []binding
	headers []byte
}

var _ change = (*registration)(nil)

func (m *Module) getRegistration(r *core.Request) *registration {
	g := m.pool.Get().(*registration)
	g.now, g.flow = r.Now, r.Flow
	return g
}

func (m *Module) putRegistration(g *registration) {
	clear(g.contacts)
	*g = registration{m: m, key: g.key[:0], contacts: g.contacts[:0], agentBuf: g.agentBuf[:0], pathBuf: g.pathBuf[:0], headers: g.headers[:0]}
	m.pool.Put(g)
}

// parse reads what the request asks for (RFC 3261 §10.3 steps 2, 5 and 6). Its
// error is a *refusal, or else the domains' database has failed.
func (g *registration) parse(r *core.Request) error {
	m := g.m
	if ref := g.extensions(r.Msg); ref != nil {
		return ref
	}
	to, err := r.Msg.ToURI()
	if err != nil {
		return badAoR
	}
	var local, ok bool
	g.key, local, ok, err = m.appendKey(r, g.key[:0], to)
	switch {
	case err != nil:
		return err
	case !local:
		return notLocal
	case !ok:
		return badAoR
	}
	g.callID = r.Msg.CallID()
	if !printable(g.callID) || len(g.callID) > sizeOf[fCallID] {
		return badCallID
	}
	if g.cseq, _, err = r.Msg.CSeq(); err != nil {
		return badAoR
	}
	g.userAgent(r.Msg.Get(sipmsg.HUserAgent))
	if ref := g.parseContacts(r); ref != nil {
		return ref
	}
	return nil
}

func (g *registration) parseContacts(r *core.Request) *refusal {
	m := g.m
	header := r.Msg.Get(sipmsg.HExpires)
	expires := uint32(m.defaultExpires.Load().Seconds())
	if header != nil {
		expires = lifetime(header)
	}
	kept := 0
	for v := r.Msg.Values(sipmsg.HContact); v.Next(); {
		if string(v.Value) == "*" {
			if g.star || len(g.contacts) > 0 || header == nil || expires != 0 || !zero(header) {
				return badStar
			}
			g.star = true
			continue
		}
		if g.star {
			return badStar
		}
		g.contacts = append(g.contacts, contact{})
		c := &g.contacts[len(g.contacts)-1]
		if ref := m.parseContact(c, v.Value, expires); ref != nil {
			return ref
		}
		if ref := m.bound(c); ref != nil {
			return ref
		}
		if c.expires > 0 {
			if ref := m.place(r.Engine, &c.uri); ref != nil {
				return ref
			}
			kept++
		}
		if most := m.maxContacts.Load(); kept > most || len(g.contacts) > 4*most {
			return tooMany
		}
	}
	return nil
}

func zero(v []byte) bool { return len(bytes.Trim(v, "0")) == 0 && len(v) > 0 }

// extensions judges Require and Path (§8.2.2.3, RFC 3327 §5.3). The headers of
// the refusal are in g.headers.
func (g *registration) extensions(msg *sipmsg.Message) *refusal {
	for v := msg.Values(sipmsg.HRequire); v.Next(); {
		if len(v.Value) == 0 || g.m.usePath && sipmsg.EqualFold(v.Value, "path") {
			continue
		}
		sep := ", "
		if len(g.headers) == 0 {
			sep = "Unsupported: "
		}
		g.headers = append(append(g.headers, sep...), v.Value...)
	}
	if len(g.headers) > 0 {
		g.headers = append(g.headers, "\r\n"...)
		return badExtension
	}
	if !g.m.usePath || !msg.Has(sipmsg.HPath) {
		return nil
	}
	if !msg.HasToken(sipmsg.HSupported, "path") && !msg.HasToken(sipmsg.HRequire, "path") {
		g.headers = append(g.headers, "Unsupported: path\r\n"...)
		return badExtension
	}
	for v := msg.Values(sipmsg.HPath); v.Next(); {
		if na, err := sipmsg.ParseNameAddr(v.Value); err != nil || !na.Bracketed || !printable(v.Value) {
			return badPath
		}
		if len(g.pathBuf) > 0 {
			g.pathBuf = append(g.pathBuf, ", "...)
		}
		g.pathBuf = append(g.pathBuf, v.Value...)
	}
	if len(g.pathBuf) > sizeOf[fPath] {
		return badPath
	}
	g.path = g.pathBuf
	return nil
}

// userAgent keeps as much of the User-Agent as the column holds. It is for
// people to read, so what does not fit is cut and not refused.
func (g *registration) userAgent(v []byte) {
	if len(v) > sizeUserAgent {
		v = v[:sizeUserAgent]
	}
	g.agent = v
	if !printable(v) {
		g.agentBuf = append(g.agentBuf[:0], v...)
		for i, c := range g.agentBuf {
			if c < ' ' || c > '~' {
				g.agentBuf[i] = '?'
			}
		}
		g.agent = g.agentBuf
	}
}

// decide implements change: the whole of §10.3 steps 6 and 7.
func (g *registration) decide(now []binding) ([]binding, bool, error) {
	repeated, err := g.order(now)
	if err != nil {
		return nil, false, err
	}
	if repeated || len(g.contacts) == 0 && !g.star {
		g.result = now
		return nil, false, nil
	}
	next := make([]binding, 0, len(now)+len(g.contacts))
	if !g.star && !g.single {
		next = living(next, now, g.now)
	}
	for i := range g.contacts {
		c := &g.contacts[i]
		at := -1
		for j := range next {
			if next[j].isFor(&c.uri) {
				at = j
				break
			}
		}
		switch {
		case c.expires == 0 && at >= 0:
			next = append(next[:at], next[at+1:]...)
		case c.expires == 0:
		case at >= 0:
			next[at] = g.bind(c, &next[at])
		default:
			next = append(next, g.bind(c, g.find(now, c)))
		}
	}
	if len(next) > g.m.maxContacts.Load() {
		return nil, false, tooMany
	}
	g.result = next
	return next, len(next) > 0 || len(now) > 0, nil
}

// order compares Call-ID and CSeq with the bindings that the request would
// touch. repeated tells a request that was already carried out.
func (g *registration) order(now []binding) (repeated bool, err error) {
	for i := range now {
		b := &now[i]
		if !b.live(g.now) || g.cseq > b.cseq || !bytes.Equal(b.get(fCallID), g.callID) || !g.touches(b) {
			continue
		}
		if g.cseq < b.cseq || g.star {
			return false, staleSequence
		}
		repeated = true
	}
	if !repeated {
		return false, nil
	}
	for i := range g.contacts { // it must ask for nothing that has not been done
		c := &g.contacts[i]
		b := g.find(now, c)
		if done := b != nil && b.live(g.now); done != (c.expires > 0) {
			return false, staleSequence
		}
	}
	return true, nil
}

func (g *registration) touches(b *binding) bool {
	for i := range g.contacts {
		if b.isFor(&g.contacts[i].uri) {
			return true
		}
	}
	return g.star
}

// find returns the binding of a contact that has not expired, or nil.
func (g *registration) find(list []binding, c *contact) *binding {
	for i := range list {
		if list[i].live(g.now) && list[i].isFor(&c.uri) {
			return &list[i]
		}
	}
	return nil
}

// bind makes the binding of a contact; old is the one that it replaces, or nil.
func (g *registration) bind(c *contact, old *binding) binding {
	b := binding{q: c.q, regID: c.regID, cseq: g.cseq, modified: uint32(g.now.Unix()), expires: expiryOf(g.now, c.expires)}
	var ruid [16]byte
	t := texts{fContact: c.uri.Raw, fCallID: g.callID, fPath: g.path, fInstance: c.instance, fMethods: c.methods, fUserAgent: g.agent}
	if old != nil {
		t[fRUID] = old.get(fRUID)
	} else {
		var n [8]byte
		rand.Read(n[:])
		hex.Encode(ruid[:], n[:])
		t[fRUID] = ruid[:]
	}
	b.setTexts(&t, old)
	g.source(&b, c)
	return b
}

// source keeps the way that the request came. Behind a path that is the way to
// another proxy, which Path names better.
func (g *registration) source(b *binding, c *contact) {
	b.socket = g.flow.Socket
	switch {
	case len(g.path) > 0 || !g.flow.Valid():
	case g.flow.Proto() != core.UDP:
		b.conn = g.flow.Conn
		b.setRemote(g.flow.Remote)
	case g.m.received && !isAt(&c.uri, g.flow.Remote):
		b.setRemote(g.flow.Remote)
	}
}

// isAt tells whether a URI names an address.
func isAt(u *sipmsg.URI, a netip.AddrPort) bool {
	ip, ok := sipmsg.ParseIP(u.Host)
	port := u.Port
	if port == 0 {
		port = 5060
	}
	return ok && ip.Unmap() == a.Addr().Unmap() && port == a.Port()
}

// appendContacts appends the Contact header fields of a 200: every binding that
// has not expired (§10.3 step 8).
func appendContacts(dst []byte, list []binding, now clock.Time) []byte {
	for i := range list {
		b := &list[i]
		if !b.live(now) {
			continue
		}
		dst = append(append(dst, "Contact: <"...), b.get(fContact)...)
		dst = append(dst, ">;expires="...)
		left := (b.expires.Sub(now) + 999_999_999) / 1_000_000_000
		dst = core.IntValue(int64(left)).Append(dst)
		dst = appendQ(append(dst, ";q="...), b.q)
		if v := b.get(fInstance); len(v) > 0 {
			dst = append(append(dst, ";+sip.instance="...), v...)
		}
		if b.regID != 0 {
			dst = core.IntValue(int64(b.regID)).Append(append(dst, ";reg-id="...))
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// knownAs is the text of an AoR for people.
func knownAs(key string) string { return strings.ReplaceAll(key, "\x00", "/") }
