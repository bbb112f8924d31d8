// Package users knows which addresses of record exist and whose they are: SER's
// uri_db and alias_db. A user (uid) has any number of rows in table uri, one
// for each address; the one with flag CANON is the address under which the
// user registers, the others are aliases.
package users

import (
	"context"
	"embed"
	"time"

	"sipr/core"
	"sipr/core/database"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the steps that make table uri.
func Migrations() database.Migrations {
	return database.Migrations{Module: "users", FS: migrations}
}

// User is the owner of an address.
type User struct {
	UID string
	// DID and Name are the canonical address: the domain's id and the
	// unescaped user part.
	DID, Name string
	// Flags are those of the row that was found.
	Flags uint32
}

// API is what other modules may ask.
type API interface {
	// Lookup finds the owner of the address (did, user), whose user part is
	// unescaped. It may wait. An error says that there is no answer. The User
	// is shared and must not be changed.
	Lookup(r *core.Request, did string, user []byte) (*User, bool, error)
	// Owner is Lookup for who wants the uid only.
	Owner(r *core.Request, did string, user []byte) (uid string, ok bool, err error)
}

// domains is what module domain offers here: both may wait for its database.
type domains interface {
	// Lookup returns the id of the domain that a host name belongs to.
	Lookup(r *core.Request, name []byte) (did string, ok bool, err error)
	// LookupName returns the canonical name of a domain.
	LookupName(r *core.Request, did string) (name string, ok bool, err error)
}

// Module is the list of users.
type Module struct {
	dbURL, table  string
	cacheSize     int
	cacheExpire   time.Duration
	caseSensitive bool

	host    core.Host
	domains domains
	store   *store
	cache   *cache

	hits, misses *core.Counter
}

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Reloader   = (*Module)(nil)
	_ API             = (*Module)(nil)
)

// New returns the module with its default parameters.
func New() core.Module {
	return &Module{table: "uri", cacheSize: 100000, cacheExpire: time.Minute, caseSensitive: true}
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:    "users",
		Summary: "Knows which addresses of record exist and whose they are.",
		Wants:   []string{"domain"},
		Also:    []string{"uri_db", "alias_db"},
		Params: []core.Param{
			core.SecretParam(&m.dbURL, "db_url", "database of the uri table; empty for core's db_url"),
			core.StringParam(&m.table, "table", "name of the uri table", core.Identifier),
			core.IntParam(&m.cacheSize, "cache_size", "how many addresses are remembered", core.Between(0, 10_000_000)),
			core.DurationParam(&m.cacheExpire, time.Second, "cache_expire", "how long an address is remembered; one that does not exist for a second at most", core.Between(0, 24*time.Hour)),
			core.BoolParam(&m.caseSensitive, "case_sensitive", "whether alice and Alice are two users"),
		},
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) (err error) {
	m.host = h
	if h.Loaded("domain") {
		if m.domains, err = core.Bind[domains](h, "domain"); err != nil {
			return err
		}
	}
	m.hits, m.misses = h.Counter("cache_hits"), h.Counter("cache_misses")
	m.cache = newCache(m.cacheSize)
	return nil
}

// Start implements core.Starter.
func (m *Module) Start(ctx context.Context) error {
	db, err := database.Open(m.host, m.host.DBURL(m.dbURL))
	if err != nil {
		return err
	}
	if err := db.RequireSchema(ctx, Migrations()); err != nil {
		return err
	}
	m.store = newStore(db, m.table)
	return nil
}

// Reload implements core.Reloader: it forgets what is remembered.
func (m *Module) Reload(context.Context) error {
	m.cache.flush()
	return nil
}

// Lookup implements API.
func (m *Module) Lookup(r *core.Request, did string, user []byte) (*User, bool, error) {
	e, err := m.find(r, did, user)
	if err != nil || e.set == nil {
		return nil, false, err
	}
	return &e.user, true, nil
}

// Owner implements API.
func (m *Module) Owner(r *core.Request, did string, user []byte) (string, bool, error) {
	u, ok, err := m.Lookup(r, did, user)
	if !ok {
		return "", false, err
	}
	return u.UID, true, nil
}

// find returns what is known of an address, asking the database if need be.
func (m *Module) find(r *core.Request, did string, user []byte) (*entry, error) {
	var buf [256]byte
	key := append(append(append(buf[:0], did...), 0), user...)
	if !m.caseSensitive {
		lower(key[len(did)+1:])
	}
	if e := m.cache.get(key, r.Now); e != nil {
		m.hits.Add(1)
		return e, nil
	}
	m.misses.Add(1)
	return m.ask(r, did, string(key))
}

func (m *Module) ask(r *core.Request, did, key string) (e *entry, err error) {
	err = r.Wait("uri", func(ctx context.Context) error {
		e, err = m.store.find(ctx, did, key[len(did)+1:])
		return err
	})
	if err != nil {
		return nil, err
	}
	keep := m.cacheExpire
	if e.set == nil {
		keep = min(keep, negativeExpire)
	}
	e.until = m.host.Clock().Now().Add(keep)
	m.cache.put(key, e)
	return e, nil
}

// negativeExpire is how long an address that does not exist is remembered, so
// that a new user need not wait.
const negativeExpire = time.Second

func lower(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
}
