// Package attrs brings attributes of users, of addresses and of the whole
// router out of the database into requests, and gives the script what it needs
// to change them: SER's avp, avp_db and gflags.
//
// Attributes of users and addresses are loaded when the script asks for them,
// and remembered for a while. Global ones are loaded at the start and visible
// to every request.
package attrs

import (
	"context"
	"embed"
	"sync/atomic"
	"time"

	"sipr/core"
	"sipr/core/database"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the steps that make the tables of attributes.
func Migrations() database.Migrations {
	return database.Migrations{Module: "attrs", FS: migrations}
}

// API is what other modules may ask.
type API interface {
	// User returns the attributes of a user, uid first. It may wait. An error
	// says that there is no answer.
	User(r *core.Request, uid string) (*core.AttrSet, error)
	// Forget makes the next request read a user's attributes anew.
	Forget(uid string)
}

// domains is what module domain offers here; it may wait for its database.
type domains interface {
	// Lookup returns the id of the domain that a host name belongs to.
	Lookup(r *core.Request, name []byte) (did string, ok bool, err error)
}

// Module is the module attrs.
type Module struct {
	dbURL       string
	tables      tableNames
	columns     columnNames
	loadGlobal  bool
	cacheSize   int
	cacheExpire time.Duration
	flagNames   []string
	initial     int

	host    core.Host
	domains domains
	store   *store
	cache   *cache
	global  atomic.Pointer[core.AttrSet]
	types   atomic.Pointer[types]
	gflags  atomic.Uint32

	hits, misses *core.Counter
}

// tableNames are the tables' names; a table without a name is not used.
type tableNames struct{ user, uri, global, types string }

// columnNames are the columns' names, which all tables share.
type columnNames struct{ uid, did, username, scheme, name, typ, value, flags string }

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Reloader   = (*Module)(nil)
	_ API             = (*Module)(nil)
)

// New returns the module with its default parameters.
func New() core.Module {
	return &Module{
		tables:     tableNames{"user_attrs", "uri_attrs", "global_attrs", "attr_types"},
		columns:    columnNames{"uid", "did", "username", "scheme", "name", "type", "value", "flags"},
		loadGlobal: true, cacheSize: 100000, cacheExpire: time.Minute,
	}
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:     "attrs",
		Summary:  "Attributes of users, addresses and the router, from the database and for the script.",
		Wants:    []string{"domain"},
		Also:     []string{"avp", "avp_db", "gflags", "uid_avp_db", "uid_gflags"},
		Params:   m.params(),
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

func (m *Module) params() []core.Param {
	table := func(p *string, name, doc string) core.Param {
		return core.StringParam(p, name, doc+"; empty for none", tableName)
	}
	column := func(p *string, name string) core.Param {
		return core.StringParam(p, name, "name of that column in the tables of attributes", core.Identifier)
	}
	return []core.Param{
		core.SecretParam(&m.dbURL, "db_url", "database of the tables; empty for core's db_url"),
		table(&m.tables.user, "user_attrs_table", "table of users' attributes"),
		table(&m.tables.uri, "uri_attrs_table", "table of addresses' attributes"),
		table(&m.tables.global, "global_attrs_table", "table of global attributes"),
		table(&m.tables.types, "attr_types_table", "table of what attributes there are and of which type"),
		column(&m.columns.uid, "uid_column"), column(&m.columns.did, "did_column"), column(&m.columns.username, "username_column"),
		column(&m.columns.scheme, "scheme_column"), column(&m.columns.name, "name_column"), column(&m.columns.typ, "type_column"),
		column(&m.columns.value, "value_column"), column(&m.columns.flags, "flags_column"),
		core.BoolParam(&m.loadGlobal, "load_global_attrs", "whether global attributes are loaded"),
		core.IntParam(&m.cacheSize, "cache_size", "of how many users and addresses attributes are remembered", core.Between(0, 10_000_000)),
		core.DurationParam(&m.cacheExpire, time.Second, "cache_expire", "how long they are remembered", core.Between(0, 24*time.Hour)),
		core.ListParam(&m.flagNames, "avpflags", "name of a flag that attributes may have, besides dialog_cookie; may be set up to 31 times", flagName),
		core.IntParam(&m.initial, "initial", "the global flags at the start, one a bit", core.Between(0, 1<<32-1)),
	}
}

func tableName(s string) error {
	if s == "" {
		return nil
	}
	return core.Identifier(s)
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) (err error) {
	m.host = h
	if h.Loaded("domain") {
		if m.domains, err = core.Bind[domains](h, "domain"); err != nil {
			return err
		}
	}
	if err := m.checkFlagNames(); err != nil {
		return err
	}
	m.hits, m.misses = h.Counter("cache_hits"), h.Counter("cache_misses")
	m.cache = newCache(m.cacheSize)
	m.gflags.Store(uint32(m.initial))
	m.types.Store(&types{})
	h.OnRequest(m.onRequest)
	return nil
}

// Start implements core.Starter.
func (m *Module) Start(ctx context.Context) (err error) {
	if m.store, err = m.openStore(ctx); err != nil {
		return err
	}
	return m.Reload(ctx)
}

// Reload implements core.Reloader: it reads the global attributes and the types
// anew and forgets everybody else's.
func (m *Module) Reload(ctx context.Context) error {
	t, err := m.store.types(ctx)
	if err != nil {
		return err
	}
	if err := m.reloadGlobal(ctx); err != nil {
		return err
	}
	m.types.Store(t)
	m.cache.flush()
	return nil
}

func (m *Module) reloadGlobal(ctx context.Context) error {
	if !m.loadGlobal || m.store.global == nil {
		return nil
	}
	list, err := m.store.global.read(ctx)
	if err != nil {
		return err
	}
	m.global.Store(core.NewAttrSet(list))
	return nil
}

// onRequest makes the global attributes visible to a request before its script
// runs. The request keeps the set that it began with.
func (m *Module) onRequest(r *core.Request) bool {
	if set := m.global.Load(); set.Len() > 0 {
		r.Attrs.Publish(core.FromTrack, core.GlobalClass, set)
	}
	return false
}

// User implements API.
func (m *Module) User(r *core.Request, uid string) (*core.AttrSet, error) {
	var buf [128]byte
	return m.userSet(r, append(append(buf[:0], userKey), uid...))
}

// Forget implements API.
func (m *Module) Forget(uid string) { m.cache.forget(string(userKey) + uid) }
