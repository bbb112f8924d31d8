// Package permissions knows the sources that the operator trusts, such as
// carriers and other servers of the same site.
//
// They are IP addresses and networks from the parameter trusted and from the
// database table trusted. The script asks allow_source_address. The list is an
// immutable snapshot that permissions.reload replaces as a whole; a reload that
// fails changes nothing.
package permissions

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"sipr/core"
	"sipr/core/database"
)

// API is what the module offers to other modules.
type API interface {
	// Trusted tells whether an address is on the list. Entries that hold for
	// one transport protocol only do not count.
	Trusted(addr netip.Addr) bool
}

// Module is the permissions module.
type Module struct {
	host core.Host
	log  *slog.Logger

	dbURL   string
	useDB   bool
	trusted []string
	columns trustedTable

	fixed   []entry // of the parameter
	store   *store  // nil without a database
	reload  sync.Mutex
	current atomic.Pointer[list]
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
		useDB:   true,
		columns: trustedTable{table: defaultTable, source: "source", proto: "proto", tag: "tag", flags: "flags"},
	}
	m.current.Store(newList(nil))
	return m
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:    "permissions",
		Summary: "Sources that the operator trusts.",
		Params: []core.Param{
			core.ListParam(&m.trusted, "trusted", "an IP address or a network such as 10.0.0.0/8; each setting adds one", checkSource),
			core.BoolParam(&m.useDB, "use_db", "read trusted_table too, if there is a database"),
			core.SecretParam(&m.dbURL, "db_url", "URL of the database; if empty, that of core"),
			core.StringParam(&m.columns.table, "trusted_table", "table of the trusted sources", core.Identifier),
			core.StringParam(&m.columns.source, "source_col", "column of the address or network in trusted_table", core.Identifier),
			core.StringParam(&m.columns.proto, "proto_col", "column of the transport protocol in trusted_table; NULL, empty or any for all", core.Identifier),
			core.StringParam(&m.columns.tag, "tag_col", "column of the group in trusted_table", core.Identifier),
			core.StringParam(&m.columns.flags, "flags_col", "column of the flags in trusted_table: 1 must be set, 2 and 128 must not", core.Identifier),
		},
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.host, m.log = h, h.Log()
	m.fixed = nil
	for _, s := range m.trusted {
		p, err := parseSource(s)
		if err != nil {
			return fmt.Errorf("parameter trusted: %w", err)
		}
		m.fixed = append(m.fixed, entry{prefix: p})
	}
	m.current.Store(newList(m.fixed))
	return nil
}

// Start implements core.Starter: it checks that the table has the columns that
// the parameters name, and reads it.
func (m *Module) Start(ctx context.Context) error {
	url := m.host.DBURL(m.dbURL)
	if !m.useDB || url == "" {
		return nil
	}
	db, err := database.Open(m.host, url)
	if err != nil {
		return err
	}
	m.store, err = openStore(ctx, db, m.columns, m.log)
	if err != nil {
		return err
	}
	return m.Reload(ctx)
}

// Reload implements core.Reloader.
func (m *Module) Reload(ctx context.Context) error {
	if m.store == nil {
		return nil
	}
	m.reload.Lock()
	defer m.reload.Unlock()
	rows, err := m.store.load(ctx)
	if err != nil {
		return err
	}
	m.current.Store(newList(append(m.fixed[:len(m.fixed):len(m.fixed)], rows...)))
	m.log.Info("trusted sources loaded", "parameter", len(m.fixed), "table", len(rows))
	return nil
}

// Trusted implements API.
func (m *Module) Trusted(addr netip.Addr) bool {
	return m.current.Load().has(addr, core.ProtoNone, nil)
}
