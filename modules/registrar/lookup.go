package registrar

import (
	"context"
	"errors"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// wait changes an AoR's bindings while the worker does something else.
func (m *Module) wait(r *core.Request, key []byte, c change) error {
	return r.Wait("location", func(ctx context.Context) error { return m.store.change(ctx, key, c) })
}

// argURI is argument i as a parsed URI, or the Request-URI if it was not given.
func argURI(r *core.Request, a *core.Args, i int) (sipmsg.URI, error) {
	if i < a.Len() {
		return sipmsg.ParseURI(a.Bytes(i))
	}
	u, err := r.Msg.RURI()
	return *u, err
}

func (m *Module) lookup(r *core.Request, a *core.Args) core.Result {
	u, err := argURI(r, a, 1)
	if err != nil {
		return core.False("unknown")
	}
	list, res := m.search(r, &u)
	if res.Why != "" || res.Err != nil {
		return res
	}
	var order [maxOrder]uint8
	best := rank(order[:0], list, r.Now, m.maxBranches.Load())
	r.ClearTargets()
	for i, n := range best {
		t := m.target(&list[n])
		if i == 0 {
			r.Msg.SetRURI(t.URI)
			t.URI = nil
			r.Main = t
			continue
		}
		r.AddTarget(t)
	}
	return core.True
}

// search finds the bindings of an AoR or of the one that it is an alias of; at
// least one of them is live. Otherwise the result says why.
func (m *Module) search(r *core.Request, u *sipmsg.URI) ([]binding, core.Result) {
	g := m.getRegistration(r) // for its buffer: a key on the stack would escape
	defer m.putRegistration(g)
	key, local, ok, err := m.appendKey(r, g.key[:0], u)
	if err != nil {
		return nil, core.Fail(err)
	}
	g.key = key
	if !local || !ok {
		return nil, core.False("unknown")
	}
	list := m.store.read(g.key)
	if anyLive(list, r.Now) {
		return list, core.True
	}
	if m.users == nil {
		return nil, core.False("offline")
	}
	return m.searchAlias(r, string(g.key))
}

func (m *Module) searchAlias(r *core.Request, key string) ([]binding, core.Result) {
	did, name := splitAoR(key)
	user, found, err := m.users.Lookup(r, did, []byte(name))
	if err != nil {
		return nil, core.Fail(err)
	}
	if !found {
		return nil, core.False("unknown")
	}
	list := m.store.read(m.keyOf(nil, user.DID, []byte(user.Name)))
	if !anyLive(list, r.Now) {
		return nil, core.False("offline")
	}
	return list, core.True
}

func anyLive(list []binding, now clock.Time) bool {
	for i := range list {
		if list[i].live(now) {
			return true
		}
	}
	return false
}

// maxOrder bounds how many bindings of one AoR are looked at; max_contacts may
// have been larger when a table was written.
const maxOrder = 128

// rank appends the indices of the live bindings: first the most preferred and,
// where they are equal, the latest registered; at most limit of them.
func rank(dst []uint8, list []binding, now clock.Time, limit int) []uint8 {
	for i := range list[:min(len(list), maxOrder)] {
		if !list[i].live(now) {
			continue
		}
		at := len(dst)
		for at > 0 && before(&list[i], &list[dst[at-1]]) {
			at--
		}
		dst = append(dst, 0)
		copy(dst[at+1:], dst[at:])
		dst[at] = uint8(i)
	}
	return dst[:min(len(dst), limit)]
}

func before(a, b *binding) bool {
	return a.q > b.q || a.q == b.q && a.modified > b.modified
}

// target is where a binding's requests go: over the connection that it was
// registered on while that is open; to the kept source address if parameter nat
// says so; else where its URI leads. Its texts are the binding's, which never
// change.
func (m *Module) target(b *binding) core.Target {
	t := core.Target{URI: b.get(fContact), Q: int(b.q), Datagram: b.socket != nil && b.socket.Proto == core.UDP}
	if p := b.get(fPath); len(p) > 0 {
		t.Path = p
	}
	if b.port == 0 {
		return t
	}
	if b.conn != 0 {
		if f := (core.Flow{Socket: b.socket, Remote: b.remote(), Conn: b.conn}); m.host.Network().Alive(f) {
			t.Flow = f
		}
	} else if m.nat {
		if f, err := m.host.Network().Route(core.UDP, b.remote(), b.socket); err == nil {
			t.Flow = f
		}
	}
	return t
}

func (m *Module) registered(r *core.Request, a *core.Args) core.Result {
	u, err := argURI(r, a, 0)
	if err != nil {
		return core.False("unknown")
	}
	_, res := m.search(r, &u)
	return res
}

// errNothing is a removal that found nothing.
var errNothing = errors.New("no such contact")

// removal is a change that takes away one contact, or all.
type removal struct {
	now clock.Time
	uri *sipmsg.URI // nil for all
}

func (c *removal) decide(now []binding) ([]binding, bool, error) {
	var next []binding
	found := false
	for i := range now {
		switch {
		case !now[i].live(c.now):
		case c.uri == nil || now[i].isFor(c.uri):
			found = true
		default:
			next = append(next, now[i])
		}
	}
	if !found {
		return nil, false, errNothing
	}
	return next, true, nil
}

func (m *Module) unregister(r *core.Request, a *core.Args) core.Result {
	u, err := sipmsg.ParseURI(a.Bytes(0))
	if err != nil {
		return core.False("unknown")
	}
	key, local, ok, err := m.appendKey(r, nil, &u)
	if err != nil {
		return core.Fail(err)
	}
	if !local || !ok {
		return core.False("unknown")
	}
	c := &removal{now: r.Now}
	if a.Has(1) {
		uri, err := sipmsg.ParseURI(a.Bytes(1))
		if err != nil {
			return core.False("contact")
		}
		c.uri = &uri
	}
	if m.committer == nil {
		err = m.store.change(context.Background(), key, c)
	} else {
		err = m.wait(r, key, c)
	}
	switch {
	case errors.Is(err, errNothing):
		return core.False("offline")
	case err != nil:
		return core.Fail(err)
	}
	return core.True
}
