// Package gateway is the module that leads telephone numbers to gateways.
//
// A rule says which numbers a gateway takes: those that begin with its prefix.
// The longest prefix that a number begins with decides, alone. The gateways of
// that prefix are tried in the order of their priority, the lowest first;
// among equals chance decides, by weight. A rule may take characters off the
// front of the number and put others there.
//
// gw_route sets the Request-URI to the first gateway and leaves the others
// with the request; next_gw, in a failure route, goes on to the next one.
// from_gateway tells whether a request came from a gateway.
//
// Rules come from three places, which add up: the parameter rule, the file
// that the parameter file names, and the database table gateway.
package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"sipr/core"
	"sipr/core/database"
)

// API is what other modules may ask of this one.
type API interface {
	// IsGateway tells whether addr is the address of one of the gateways.
	// Gateways that are named by a host name are not known by address.
	IsGateway(addr netip.Addr) bool
}

// Module is the gateway module.
type Module struct {
	rules   []string
	file    string
	useDB   bool
	dbURL   string
	table   string
	columns columns

	host  core.Host
	db    *database.DB
	fixed []rule // of the parameter rule
	snap  atomic.Pointer[snapshot]
	// reloading lets reloads happen one after the other.
	reloading sync.Mutex

	// random returns a number below n; tests put a known order here.
	random func(n uint32) uint32
	rngMu  sync.Mutex
	rng    *rand.Rand

	routed, failovers, noRule *core.Counter
}

var (
	_ API             = (*Module)(nil)
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Reloader   = (*Module)(nil)
)

// New returns the module with its defaults.
func New() core.Module {
	m := &Module{useDB: true, table: "gateway", columns: defaultColumns}
	m.snap.Store(&snapshot{})
	return m
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:    "gateway",
		Summary: "Leads telephone numbers to gateways by prefix, with failover.",
		Also:    []string{"lcr"},
		Params: []core.Param{
			core.ListParam(&m.rules, "rule", "a rule such as \"prefix=+1 strip=1 prepend=00 target=sip:192.0.2.1;transport=tcp priority=1 weight=10\"; only target is required, no prefix means every number; may be set several times", checkRule),
			core.StringParam(&m.file, "file", "a file of rules, one a line; lines that begin with # are comments"),
			core.BoolParam(&m.useDB, "use_db", "whether rules are read from the database too"),
			core.SecretParam(&m.dbURL, "db_url", "the database; empty for core's db_url"),
			core.StringParam(&m.table, "gateway_table", "the table of the rules", core.Identifier),
			core.StringParam(&m.columns.prefix, "prefix_column", "its column of the prefix", core.Identifier),
			core.StringParam(&m.columns.strip, "strip_column", "its column of how many characters are taken off", core.Identifier),
			core.StringParam(&m.columns.prepend, "prepend_column", "its column of what is put in front", core.Identifier),
			core.StringParam(&m.columns.target, "target_column", "its column of the gateway's URI", core.Identifier),
			core.StringParam(&m.columns.priority, "priority_column", "its column of the priority", core.Identifier),
			core.StringParam(&m.columns.weight, "weight_column", "its column of the weight", core.Identifier),
			core.StringParam(&m.columns.flags, "flags_column", "its column of the flags", core.Identifier),
		},
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.host = h
	m.routed, m.failovers, m.noRule = h.Counter("routed"), h.Counter("failovers"), h.Counter("no_rule")
	m.fixed = m.fixed[:0]
	for _, text := range m.rules {
		r, err := parseRule(text)
		if err != nil {
			return fmt.Errorf("rule %q: %w", text, err)
		}
		r.origin = "rule"
		m.fixed = append(m.fixed, r)
	}
	if !m.useDB && m.file == "" && len(m.rules) == 0 {
		return errors.New("there are no rules: set rule or file, or use_db to true")
	}
	return nil
}

// Start implements core.Starter.
func (m *Module) Start(ctx context.Context) error {
	if m.random == nil {
		m.seed()
	}
	if m.useDB {
		db, err := database.Open(m.host, m.host.DBURL(m.dbURL))
		if err != nil {
			return err
		}
		// A table of another name is the operator's own: there is nothing of
		// ours to create or to check.
		if m.table == "gateway" {
			if err := db.RequireSchema(ctx, Migrations()); err != nil {
				return err
			}
		}
		m.db = db
	}
	return m.Reload(ctx)
}

// Reload implements core.Reloader: it reads the file and the table again. On an
// error the rules stay as they were.
func (m *Module) Reload(ctx context.Context) error {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	rules := append([]rule(nil), m.fixed...)
	if m.file != "" {
		more, err := readFile(m.host.Path(m.file))
		if err != nil {
			return err
		}
		rules = append(rules, more...)
	}
	if m.useDB {
		more, err := m.loadTable(ctx)
		if err != nil {
			return err
		}
		rules = append(rules, more...)
	}
	m.snap.Store(newSnapshot(rules))
	return nil
}

// IsGateway implements API.
func (m *Module) IsGateway(addr netip.Addr) bool {
	_, ok := m.snap.Load().addrs[addr.Unmap()]
	return ok
}

// seed gives the process its own sequence of chance. The clock is part of it,
// so that nodes with one secret differ, and a simulation repeats itself.
func (m *Module) seed() {
	s := m.host.Secret("gateway")
	m.rng = rand.New(rand.NewPCG(binary.BigEndian.Uint64(s[:8]), binary.BigEndian.Uint64(s[8:16])^uint64(m.host.Clock().Now())))
	m.random = func(n uint32) uint32 {
		m.rngMu.Lock()
		defer m.rngMu.Unlock()
		return m.rng.Uint32N(n)
	}
}
