package domain

import (
	"context"
	"time"

	"sipr/core"
)

// apiTimeout bounds what a call outside of a request may wait for the database.
const apiTimeout = 2 * time.Second

// Lookup implements API.
func (m *Module) Lookup(r *core.Request, name []byte) (did string, ok bool, err error) {
	if !m.cached() {
		return m.askDID(r, name)
	}
	v := m.find(name)
	if v == nil {
		return "", false, nil
	}
	return v.did, true, nil
}

// LookupName implements API.
func (m *Module) LookupName(r *core.Request, did string) (name string, ok bool, err error) {
	if !m.cached() {
		return m.askName(r, did)
	}
	v := m.current.Load().dids[did]
	if v == nil {
		return "", false, nil
	}
	return v.canon(), true, nil
}

// LookupRealm implements API.
func (m *Module) LookupRealm(r *core.Request, name []byte) (realm string, ok bool, err error) {
	if !m.cached() {
		return m.askRealm(r, name)
	}
	v := m.find(name)
	if v == nil {
		return "", false, nil
	}
	return v.canon(), true, nil
}

// IsDomainLocal implements API.
func (m *Module) IsDomainLocal(name []byte) bool {
	_, ok := m.LookupDID(name)
	return ok
}

// LookupDID implements API.
func (m *Module) LookupDID(name []byte) (did string, ok bool) {
	did, ok, err := m.Lookup(nil, name)
	m.complain(err)
	return did, ok
}

// DomainName implements API.
func (m *Module) DomainName(did string) (name string, ok bool) {
	name, ok, err := m.LookupName(nil, did)
	m.complain(err)
	return name, ok
}

// Realm implements API.
func (m *Module) Realm(did string) string {
	if name, ok := m.DomainName(did); ok {
		return name
	}
	return did
}

// Attrs implements API.
func (m *Module) Attrs(did string) *core.AttrSet {
	if !m.cached() {
		return m.askAttrs(did)
	}
	v := m.current.Load().dids[did]
	if v == nil {
		return nil
	}
	return v.set
}

// complain logs the failure of a method that cannot return it.
func (m *Module) complain(err error) {
	if err != nil {
		m.log.Error("domain lookup failed", "error", err)
	}
}

// ask runs a query. What it captures is allocated, so cached answers go
// another way.
func (m *Module) ask(r *core.Request, f func(ctx context.Context) error) error {
	if r != nil {
		return r.Wait("domain lookup", f)
	}
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	return f(ctx)
}

func (m *Module) askDID(r *core.Request, name []byte) (did string, ok bool, err error) {
	err = m.ask(r, func(ctx context.Context) (err error) {
		did, ok, err = m.store.findDID(ctx, name)
		return err
	})
	return did, ok, err
}

func (m *Module) askName(r *core.Request, did string) (name string, ok bool, err error) {
	err = m.ask(r, func(ctx context.Context) (err error) {
		name, ok, err = m.store.nameOf(ctx, did)
		return err
	})
	return name, ok, err
}

func (m *Module) askRealm(r *core.Request, host []byte) (realm string, ok bool, err error) {
	err = m.ask(r, func(ctx context.Context) error {
		did, found, err := m.store.findDID(ctx, host)
		if err != nil || !found {
			return err
		}
		realm, ok, err = m.store.nameOf(ctx, did)
		return err
	})
	return realm, ok, err
}

func (m *Module) askAttrs(did string) (set *core.AttrSet) {
	m.complain(m.ask(nil, func(ctx context.Context) error {
		_, ok, err := m.store.nameOf(ctx, did)
		if err != nil || !ok {
			return err
		}
		set, err = m.store.attrsOf(ctx, did)
		return err
	}))
	return set
}
