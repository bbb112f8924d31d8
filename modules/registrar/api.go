package registrar

import (
	"sipr/core"
	"sipr/core/clock"
)

// Contact is a binding as other modules see it. Its texts never change and may
// be kept.
type Contact struct {
	URI, Path, UserAgent, Instance []byte
	// Q is the preference in thousandths.
	Q       int
	Expires clock.Time
	// Flow is the connection or kept source address, if any.
	Flow core.Flow
}

// API is what other modules may ask the registrar.
type API interface {
	// Contacts appends the contacts of an AoR that have not expired, the most
	// preferred first. user is unescaped.
	Contacts(dst []Contact, did string, user []byte) []Contact
	// Watch calls f after every change of an AoR; contacts that expire are
	// told within about a minute. f must not block and must not call the
	// registrar. Watch may be called in Configure only.
	Watch(f func(did, user string, contacts int))
}

// Contacts implements API.
func (m *Module) Contacts(dst []Contact, did string, user []byte) []Contact {
	list := m.store.read(m.keyOf(nil, did, user))
	var order [maxOrder]uint8
	for _, n := range rank(order[:0], list, m.host.Clock().Now(), maxOrder) {
		b := &list[n]
		t := m.target(b)
		dst = append(dst, Contact{URI: t.URI, Path: t.Path, UserAgent: b.get(fUserAgent), Instance: b.get(fInstance),
			Q: t.Q, Expires: b.expires, Flow: t.Flow})
	}
	return dst
}

// Watch implements API.
func (m *Module) Watch(f func(did, user string, contacts int)) {
	m.mem.watch(func(key string, now []binding) {
		did, user := splitAoR(key)
		f(did, user, len(now))
	})
}
