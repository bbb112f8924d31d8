// Package domain lets one router serve many independent virtual domains.
//
// A virtual domain is a permanent, opaque identifier (DID) with one or more
// domain names, which are interchangeable, and with attributes. Both are rows
// of a database: tables domain and domain_attrs.
//
// The script asks is_local whether a name is served here, and lookup_domain
// makes a domain's DID and attributes visible as $fd or $td. In cache mode
// (db_mode 1) answers come from an immutable snapshot that domain.reload
// replaces as a whole, so a request never sees half of a reload and a reload
// that fails changes nothing. With db_mode 0 each call asks the database.
package domain

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"sipr/core"
)

// serURL is SER's default of db_url: used where neither this module nor core
// names a database.
const serURL = "mysql://serro:47serro11@localhost/ser"

// API is what the module offers to other modules. With db_mode 0 every method
// asks the database.
//
// Those that take a request wait for it as Request.Wait does, so they must not
// be called inside another Wait, and an error says that there is no answer. r
// is nil outside of requests; they then block, for at most two seconds. The
// others block likewise, and where the database fails they have no answer but
// that there is no such domain. Strings and sets are immutable and may be kept.
type API interface {
	// Lookup returns the DID of the virtual domain that has a name.
	Lookup(r *core.Request, name []byte) (did string, ok bool, err error)
	// LookupName returns the canonical name of a virtual domain, as it is
	// compared: in lower case and without brackets. It is the one whose row
	// has the flag CANON, else that of the first row.
	LookupName(r *core.Request, did string) (name string, ok bool, err error)
	// LookupRealm returns the realm of the virtual domain that has a name;
	// see Realm.
	LookupRealm(r *core.Request, name []byte) (realm string, ok bool, err error)

	// IsDomainLocal tells whether a host name or address belongs to a
	// virtual domain.
	IsDomainLocal(name []byte) bool
	// LookupDID is Lookup without an error.
	LookupDID(name []byte) (did string, ok bool)
	// DomainName is LookupName without an error.
	DomainName(did string) (name string, ok bool)
	// Realm returns the realm in which users of a virtual domain are
	// authenticated, whichever of its names they use: its canonical name, or
	// the DID itself where that has no name. It is the realm that sipr user
	// add hashes passwords with. Attributes such as SER's digest_realm have
	// no say, since the router reads them only if load_domain_attrs is set:
	// who wants another realm names it to both, the script's functions and
	// the command line.
	Realm(did string) string
	// Attrs returns the attributes of a virtual domain, did among them, or
	// nil if there is no such domain.
	Attrs(did string) *core.AttrSet
}

// Module is the domain module.
type Module struct {
	host    core.Host
	log     *slog.Logger
	queries *core.Counter

	dbURL          string
	dbMode         int
	domains        domainTable
	attrs          attrTable
	loadAttrs      int
	hashSize       int
	registerMyself bool

	store   *store
	reload  sync.Mutex // one load at a time, so that an older one cannot win
	current atomic.Pointer[snapshot]
}

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Reloader   = (*Module)(nil)
	_ API             = (*Module)(nil)
)

// New returns the module with its defaults.
func New() core.Module {
	m := &Module{
		dbMode:         1,
		domains:        domainTable{table: defaultDomainTable, did: "did", domain: "domain", flags: "flags"},
		attrs:          attrTable{table: defaultAttrTable, did: "did", name: "name", typ: "type", value: "value", flags: "flags"},
		hashSize:       128,
		registerMyself: true,
	}
	m.current.Store(newSnapshot())
	return m
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:     "domain",
		Summary:  "Virtual domains: which names are served here, and their attributes.",
		Also:     []string{"uid_domain"},
		Params:   m.params(),
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

func (m *Module) params() []core.Param {
	column := func(p *string, name, doc string) core.Param {
		return core.StringParam(p, name, doc, core.Identifier)
	}
	return []core.Param{
		core.SecretParam(&m.dbURL, "db_url", "URL of the database; if empty, that of core, and if that has none, "+serURL),
		core.IntParam(&m.dbMode, "db_mode", "1: cache the tables in memory; 0: ask the database at each call", core.OneOf(0, 1)),
		column(&m.domains.table, "domain_table", "table of the domain names"),
		column(&m.domains.did, "did_col", "column of the identifier of the virtual domain in domain_table"),
		column(&m.domains.domain, "domain_col", "column of the name in domain_table"),
		column(&m.domains.flags, "flags_col", "column of the flags in domain_table"),
		column(&m.attrs.table, "domattr_table", "table of the attributes"),
		column(&m.attrs.did, "domattr_did", "column of the identifier of the virtual domain in domattr_table"),
		column(&m.attrs.name, "domattr_name", "column of the attribute's name in domattr_table"),
		column(&m.attrs.typ, "domattr_type", "column of the attribute's type in domattr_table: 2 is text, anything else a number"),
		column(&m.attrs.value, "domattr_value", "column of the attribute's value in domattr_table"),
		column(&m.attrs.flags, "domattr_flags", "column of the flags in domattr_table"),
		core.IntParam(&m.loadAttrs, "load_domain_attrs", "not 0: lookup_domain makes the attributes of the virtual domain visible; 0: its did alone"),
		core.IntParam(&m.hashSize, "hash_size", "accepted for SER's sake and not used"),
		core.BoolParam(&m.registerMyself, "register_myself", "the names of all virtual domains are the router's own (myself); needs db_mode 1"),
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.host, m.log, m.queries = h, h.Log(), h.Counter("queries")
	// Without the cache the test would block a worker on the database for
	// every name that it sees.
	if m.registerMyself && m.cached() {
		h.AddMyself(func(host []byte) bool { return m.find(host) != nil })
	}
	return nil
}

// Start implements core.Starter: it opens the database, checks that the tables
// have the columns that the parameters name, and fills the cache.
func (m *Module) Start(ctx context.Context) error {
	s, err := m.openStore(ctx)
	if err != nil {
		return err
	}
	m.store = s
	if !m.cached() {
		return nil
	}
	return m.Reload(ctx)
}

// Reload implements core.Reloader. With db_mode 0 there is nothing to reload.
func (m *Module) Reload(ctx context.Context) error {
	if !m.cached() {
		return nil
	}
	m.reload.Lock()
	defer m.reload.Unlock()
	snap, err := m.store.load(ctx)
	if err != nil {
		return err
	}
	m.current.Store(snap)
	m.log.Info("virtual domains loaded", "domains", len(snap.order), "names", len(snap.names), "unused_rows", snap.unused)
	return nil
}

func (m *Module) cached() bool { return m.dbMode != 0 }
