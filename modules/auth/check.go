package auth

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"sipr/core"
	"sipr/core/sipmsg"
)

// recheck is how old what the cache knows may be when it speaks against a
// client: beyond it the database is asked, so that a new user or password
// works at once. It applies to unknown users as well, so that neither the
// answer nor the time it takes tells who exists.
const recheck = 5 * time.Second

var errNoRealm = errors.New("no realm was given, and the request names no host to take it from")

// work is the memory that one check needs.
type work struct {
	found, next digest
	in          answer
	header      int // where found lies
	// accepted is the header field that an earlier check of this request has
	// accepted, or -1: checking it again is no replay.
	accepted  int
	scratch   []byte
	buf       []byte
	key       []byte
	realm     []byte
	out       []byte
	nonce     [2 * nonceSize]byte
	mac       [16]byte
	want, got [64]byte
	reply     core.Answer
}

func newWork() *work {
	return &work{
		scratch: make([]byte, 0, 512), buf: make([]byte, 0, 1024), key: make([]byte, 0, 128),
		realm: make([]byte, 0, 64), out: make([]byte, 0, 512),
	}
}

func (m *Module) take() *work { return m.pool.Get().(*work) }

func (m *Module) give(w *work) {
	w.found, w.next, w.in, w.reply = digest{}, digest{}, answer{}, core.Answer{}
	w.scratch, w.buf, w.key = w.scratch[:0], w.buf[:0], w.key[:0]
	w.realm, w.out = w.realm[:0], w.out[:0]
	m.pool.Put(w)
}

// given is a password that the script checks against, instead of the
// database's credentials.
type given struct {
	password []byte
	isHA1    bool
}

// authorize checks the credentials that a request carries in header fields of
// a kind. ACK and CANCEL always pass, unidentified: they cannot be challenged
// (RFC 3261 §22.1) and repeat what their INVITE was judged by.
func (m *Module) authorize(r *core.Request, id sipmsg.HeaderID, realm []byte, g *given) core.Result {
	if r.Msg.Method == sipmsg.ACK || r.Msg.Method == sipmsg.CANCEL {
		return core.True
	}
	w := m.take()
	defer m.give(w)
	w.accepted = -1
	if v, header := recall(r); v == accepted && r.Auth.Known {
		w.accepted = header
	}
	r.Auth = core.Identity{}
	realm, err := m.effectiveRealm(w, r, realm)
	if err != nil {
		return core.Fail(err)
	}
	v, err := m.check(w, r, id, realm, g)
	if err != nil {
		return core.Fail(err)
	}
	m.counters[v].Add(1)
	remember(r, v, w.header)
	return v.result()
}

// check is the whole judgement. The order matters: nothing is asked of the
// database for a nonce that is not good, and a nonce is used up only by who
// knows the password.
func (m *Module) check(w *work, r *core.Request, id sipmsg.HeaderID, realm []byte, g *given) (verdict, error) {
	if v := m.pick(w, r, id, realm); v != accepted {
		return v, nil
	}
	nc, v := m.examine(w, r)
	if v != accepted {
		return v, nil
	}
	nonce, v := m.nonces.verify(w.found.nonce, w, realm, m.source(r), r.Now)
	if v != accepted {
		return v, nil
	}
	e, v, err := m.prove(w, r, g)
	if err != nil || v != accepted {
		return v, err
	}
	switch {
	case w.header == w.accepted:
	case w.in.qop != qopNone:
		v = m.nonces.use(nonce, nc)
	case m.oneTime:
		v = m.nonces.useOnce(nonce)
	}
	if v == accepted {
		r.Auth = core.Identity{Known: true, User: e.user, Realm: e.realm, UID: e.uid, DID: e.did}
	}
	return v, nil
}

// pick finds the credentials to judge: those for the realm, by the strongest
// algorithm among those that are offered.
func (m *Module) pick(w *work, r *core.Request, id sipmsg.HeaderID, realm []byte) verdict {
	v := noCredentials
	for i, n := r.Msg.First(id), 0; i >= 0 && n < maxCredentials; i, n = r.Msg.Next(i), n+1 {
		var err error
		w.scratch, err = w.next.parse(r.Msg.Value(i), w.scratch)
		switch {
		case err == errScheme:
			continue
		case err == nil && !bytes.Equal(w.next.realm, realm):
			continue
		case err != nil:
			if v != accepted {
				v = badCredentials
			}
			continue
		}
		a, sess := algMD5, false
		ok := true
		if w.next.algorithm != nil {
			a, sess, ok = parseAlgorithm(w.next.algorithm)
		}
		if !ok || !m.accepted[a] {
			if v != accepted {
				v = badCredentials
			}
			continue
		}
		if v != accepted || a > w.in.alg {
			v, w.found, w.header = accepted, w.next, i
			w.in.alg, w.in.sess = a, sess
		}
	}
	return v
}

// examine checks what can be checked without knowing the user, and collects
// what the response is computed from.
func (m *Module) examine(w *work, r *core.Request) (nc uint32, v verdict) {
	d, in := &w.found, &w.in
	switch {
	case d.qop == nil:
		in.qop = qopNone
	case sipmsg.EqualFold(d.qop, "auth"):
		in.qop = qopAuth
	case sipmsg.EqualFold(d.qop, "auth-int"):
		in.qop = qopAuthInt
	default:
		return 0, badCredentials
	}
	if m.qop == "auth-int" && in.qop != qopAuthInt {
		return 0, badCredentials
	}
	if in.qop != qopNone {
		var ok bool
		if nc, ok = parseHex32(d.nc); !ok || len(d.cnonce) == 0 {
			return 0, badCredentials
		}
	}
	if in.sess && len(d.cnonce) == 0 || !lowerHex(w.got[:in.alg.hexSize()], d.response) {
		return 0, badCredentials
	}
	if m.checkURI && !sameURI(d.uri, r.Msg.OriginalRURI()) {
		return 0, badCredentials
	}
	in.nonce, in.nc, in.cnonce, in.qopT = d.nonce, d.nc, d.cnonce, d.qop
	in.uri, in.method, in.body = d.uri, r.Msg.MethodText(), r.Msg.Body()
	return nc, accepted
}

func sameURI(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, err := sipmsg.ParseURI(a)
	if err != nil {
		return false
	}
	y, err := sipmsg.ParseURI(b)
	return err == nil && sipmsg.EqualURI(&x, &y)
}

// prove compares the response with the one that the user would give.
func (m *Module) prove(w *work, r *core.Request, g *given) (*credential, verdict, error) {
	if g != nil {
		return m.proveGiven(w, r, g)
	}
	w.key = append(append(append(w.key[:0], w.found.user...), 0), w.found.realm...)
	e := m.cache.get(w.key, r.Now)
	if e != nil {
		v := m.compare(w, e)
		if v == accepted || r.Now.Sub(e.loaded) < recheck {
			return e, v, nil
		}
	}
	e, err := m.fetch(w, r)
	if err != nil {
		return nil, 0, err
	}
	return e, m.compare(w, e), nil
}

// fetch reads the user's credentials from the database into the cache.
func (m *Module) fetch(w *work, r *core.Request) (*credential, error) {
	var e *credential
	user, realm := string(w.found.user), string(w.found.realm)
	err := r.Wait("credentials", func(ctx context.Context) (err error) {
		e, err = m.load(ctx, user, realm, r.Now)
		return err
	})
	if err == nil && e.known && e.did == "" {
		e.did, err = m.didOf(r, w.found.realm)
	}
	if err != nil {
		return nil, err
	}
	m.cache.put(w.key, e)
	return e, nil
}

// compare computes the response for e. It does the same work for a user that
// does not exist.
func (m *Module) compare(w *work, e *credential) verdict {
	ha1 := e.ha1[w.in.alg]
	known := e.known && ha1 != ""
	if !known {
		ha1 = m.decoy[:w.in.alg.hexSize()]
	}
	right := m.matches(w, ha1)
	switch {
	case !e.known:
		return unknownUser
	case known && right:
		return accepted
	}
	return wrongPassword
}

func (m *Module) matches(w *work, ha1 string) bool {
	var want []byte
	want, w.buf = w.in.appendResponse(w.want[:0], w.buf, ha1)
	return equalSecret(want, w.got[:len(want)])
}

// proveGiven checks against the script's own password or HA1.
func (m *Module) proveGiven(w *work, r *core.Request, g *given) (*credential, verdict, error) {
	d := &w.found
	var hex [64]byte
	ha1 := hex[:w.in.alg.hexSize()]
	if !g.isHA1 {
		w.in.alg.appendHA1(ha1[:0], d.user, d.realm, g.password)
	} else if !lowerHex(ha1, g.password) {
		return nil, wrongPassword, nil
	}
	if !m.matches(w, string(ha1)) {
		return nil, wrongPassword, nil
	}
	did, err := m.didOf(r, d.realm)
	return &credential{user: string(d.user), realm: string(d.realm), did: did}, accepted, err
}

// didOf returns the did of a host name or realm; the name itself in lower case
// where no domain has it.
func (m *Module) didOf(r *core.Request, name []byte) (string, error) {
	if m.domains != nil {
		if did, ok, err := m.domains.Lookup(r, name); ok || err != nil {
			return did, err
		}
	}
	return strings.ToLower(string(name)), nil
}

// source is the address that a nonce is bound to, if any.
func (m *Module) source(r *core.Request) netip.Addr {
	if !m.nonceSource {
		return netip.Addr{}
	}
	return r.Flow.Remote.Addr().Unmap()
}

// effectiveRealm returns realm, or, if that is empty, the realm of the domain
// that is in To (for REGISTER) or From: its canonical name, by whichever name
// the client calls it, since that is what sipr user add hashes passwords with.
// For a host of no domain it is that host in lower case.
func (m *Module) effectiveRealm(w *work, r *core.Request, realm []byte) ([]byte, error) {
	if len(realm) > 0 {
		return realm, nil
	}
	u, err := claimed(r)
	if err != nil || len(u.Host) == 0 {
		u, err = r.Msg.RURI()
	}
	if err != nil || len(u.Host) == 0 {
		return nil, errNoRealm
	}
	if m.domains != nil {
		name, ok, err := m.domains.LookupRealm(r, u.Host)
		if err != nil {
			return nil, err
		}
		if ok {
			w.realm = append(w.realm[:0], name...)
			return w.realm, nil
		}
	}
	w.realm = appendLower(w.realm[:0], u.Host)
	return w.realm, nil
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}
