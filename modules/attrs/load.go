package attrs

import (
	"bytes"
	"context"
	"fmt"

	"sipr/core"
	"sipr/core/sipmsg"
)

// uidAttr is the attribute that carries a user's identifier.
const uidAttr = "uid"

// loadGroup is a group that load_attrs fills.
func loadGroup(s string) (core.Track, core.Class, error) {
	t, c, err := core.ParseAttrGroup(s)
	if err == nil && c != core.UserClass && c != core.URIClass {
		err = fmt.Errorf("%q is not a group that can be loaded: $fu, $tu, $fr or $tr is expected", s)
	}
	return t, c, err
}

func (m *Module) loadAttrs(r *core.Request, a *core.Args) core.Result {
	t, c, err := loadGroup(a.Value(0).Str)
	if err != nil {
		return core.Fail(err)
	}
	id := a.Bytes(1)
	if len(id) == 0 {
		r.Attrs.Publish(t, c, nil)
		return core.False("empty")
	}
	var buf [320]byte
	var set *core.AttrSet
	if c == core.UserClass {
		set, err = m.userSet(r, append(append(buf[:0], userKey), id...))
	} else {
		set, err = m.uriSet(r, buf[:0], id)
	}
	if err != nil {
		return core.Fail(err)
	}
	r.Attrs.Publish(t, c, set)
	if set == nil {
		return core.False("foreign")
	}
	return core.True
}

// userSet returns the attributes of a user, whose cache key is key.
func (m *Module) userSet(r *core.Request, key []byte) (*core.AttrSet, error) {
	if set := m.cache.get(key, r.Now); set != nil {
		m.hits.Add(1)
		return set, nil
	}
	return m.askUser(r, string(key))
}

func (m *Module) askUser(r *core.Request, key string) (*core.AttrSet, error) {
	uid := key[1:]
	return m.ask(r, key, func(ctx context.Context) ([]core.Attr, error) {
		list := []core.Attr{{Name: uidAttr, Value: core.TextValue(uid)}}
		if m.store.user == nil {
			return list, nil
		}
		rows, err := m.store.user.read(ctx, uid)
		return append(list, rows...), err
	})
}

// uriSet returns the attributes of an address; nil if it is none of ours.
func (m *Module) uriSet(r *core.Request, buf, text []byte) (*core.AttrSet, error) {
	u, err := sipmsg.ParseURI(text)
	if err != nil || u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS || len(u.User) == 0 {
		return nil, nil
	}
	key := append(buf, uriKey)
	if m.domains != nil {
		did, ok, err := m.domains.Lookup(r, u.Host)
		if !ok || err != nil {
			return nil, err
		}
		key = append(key, did...)
	} else {
		start := len(key)
		key = append(key, u.Host...)
		lower(key[start:])
	}
	key = sipmsg.AppendUnescaped(append(key, 0), u.User)
	if set := m.cache.get(key, r.Now); set != nil {
		m.hits.Add(1)
		return set, nil
	}
	return m.askURI(r, string(key))
}

func (m *Module) askURI(r *core.Request, key string) (*core.AttrSet, error) {
	did, user, _ := bytes.Cut([]byte(key[1:]), []byte{0})
	return m.ask(r, key, func(ctx context.Context) ([]core.Attr, error) {
		if m.store.uri == nil {
			return nil, nil
		}
		return m.store.uri.read(ctx, string(did), string(user), "sip")
	})
}

// ask reads a set and remembers it. What it captures is allocated, so answers
// that are remembered go another way.
func (m *Module) ask(r *core.Request, key string, read func(context.Context) ([]core.Attr, error)) (*core.AttrSet, error) {
	m.misses.Add(1)
	age := m.cache.age()
	var list []core.Attr
	err := r.Wait("attributes", func(ctx context.Context) (err error) {
		list, err = read(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	set := core.NewAttrSet(list)
	m.cache.put(key, entry{set, m.host.Clock().Now().Add(m.cacheExpire)}, age)
	return set, nil
}

func lower(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
}
