// Package registrar accepts registrations (RFC 3261 §10) and finds the
// contacts that a request for a registered user goes to. It does what SER and
// Kamailio split into registrar and usrloc.
//
// An AoR is the pair of a domain's id and a user; with several names of one
// domain (module domain) a user registers once for all of them. Bindings live
// in memory and, unless db_mode is 0, in a table that is written before the
// 200 leaves and read at the start.
//
// RFC 3261 §10.3 names no status for a request that is older than the binding
// it would change ("the update MUST be aborted and the request fails"). It is
// 500 here, as for an out-of-order request within a dialog (§12.2.2): such a
// request tells of a race and not of a mistake, and a 400 would make phones
// give up. The same request once more (same Call-ID and CSeq) is answered with
// 200 and the present bindings.
package registrar

import (
	"context"
	"embed"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/database"
	"sipr/modules/users"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the steps that make table location.
func Migrations() database.Migrations {
	return database.Migrations{Module: "registrar", FS: migrations}
}

// domains is what module domain offers here.
type domains interface {
	// Lookup returns the id of the domain that a host name belongs to. It may
	// wait for r, which is nil outside of requests; an error says that there
	// is no answer.
	Lookup(r *core.Request, name []byte) (did string, ok bool, err error)
}

// gateways is what module gateway offers here.
type gateways interface {
	// IsGateway tells whether an address is a gateway's.
	IsGateway(addr netip.Addr) bool
}

// Module is the registrar.
type Module struct {
	dbURL, table, node                     string
	dbMode                                 int
	defaultExpires, minExpires, maxExpires core.Live[time.Duration]
	maxContacts, maxBranches, defaultQ     core.Live[int]
	caseSensitive, received, nat, usePath  bool

	date atomic.Pointer[dateLine]

	host     core.Host
	domains  domains
	gateways gateways
	users    users.API

	mem       *memory
	store     store
	committer *committer
	rows      *table
	sweepAt   int
	pool      sync.Pool // of *registration

	accepted, refused, failed, expired, lost *core.Counter
}

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Stopper    = (*Module)(nil)
	_ API             = (*Module)(nil)
)

// New returns the module with its default parameters.
func New() core.Module {
	m := &Module{
		table: "location", dbMode: 1,
		defaultExpires: core.LiveOf(time.Hour), minExpires: core.LiveOf(time.Minute), maxExpires: core.LiveOf(time.Hour),
		maxContacts: core.LiveOf(10), maxBranches: core.LiveOf(12), defaultQ: core.LiveOf(1000),
		caseSensitive: true, received: true,
	}
	m.pool.New = func() any { return &registration{m: m} }
	return m
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:    "registrar",
		Summary: "Accepts registrations and finds the contacts of registered users.",
		Wants:   []string{"domain", "users", "gateway"},
		Also:    []string{"usrloc"},
		Params: []core.Param{
			core.SecretParam(&m.dbURL, "db_url", "database of the location table; empty for core's db_url"),
			core.StringParam(&m.table, "table", "name of the location table", core.Identifier),
			core.IntParam(&m.dbMode, "db_mode", "0 keeps bindings in memory only, 1 writes them to the database before the 200 is sent", core.OneOf(0, 1)),
			core.LiveDurationParam(&m.defaultExpires, time.Second, "default_expires", "lifetime of a binding where the request names none", core.Between(time.Second, maxLifetime)),
			core.LiveDurationParam(&m.minExpires, time.Second, "min_expires", "shorter lifetimes are refused with 423, but never those of an hour or more", core.Between(0, maxLifetime), m.checkMin),
			core.LiveDurationParam(&m.maxExpires, time.Second, "max_expires", "longer lifetimes are shortened to this", core.Between(time.Second, maxLifetime), m.checkMax),
			core.LiveIntParam(&m.maxContacts, "max_contacts", "how many contacts an AoR may have; more are refused with 403", core.Between(1, 50)),
			core.LiveIntParam(&m.maxBranches, "max_branches", "how many contacts lookup uses at most", core.Between(1, 50)),
			core.LiveIntParam(&m.defaultQ, "default_q", "preference, in thousandths, of a contact without q", core.Between(0, 1000)),
			core.BoolParam(&m.caseSensitive, "case_sensitive", "whether alice and Alice are two users"),
			core.BoolParam(&m.received, "received", "keep the source address of a registration over UDP where the contact names another one"),
			core.BoolParam(&m.nat, "nat", "make lookup send to the source address that was kept instead of the contact's own"),
			core.BoolParam(&m.usePath, "use_path", "keep Path header fields and send through them (RFC 3327)"),
			core.StringParam(&m.node, "node", "name of this router, stored with the bindings", fits(sizeNode)),
		},
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) (err error) {
	m.host = h
	if err := notAbove(m.minExpires.Load(), m.maxExpires.Load()); err != nil {
		return err
	}
	if h.Loaded("domain") {
		if m.domains, err = core.Bind[domains](h, "domain"); err != nil {
			return err
		}
	}
	if h.Loaded("gateway") {
		if m.gateways, err = core.Bind[gateways](h, "gateway"); err != nil {
			return err
		}
	}
	if h.Loaded("users") {
		if m.users, err = core.Bind[users.API](h, "users"); err != nil {
			return err
		}
	}
	m.accepted, m.refused, m.failed = h.Counter("accepted"), h.Counter("refused"), h.Counter("failed")
	m.expired, m.lost = h.Counter("expired"), h.Counter("unreadable_rows")
	m.mem = newMemory()
	m.mem.aors, m.mem.contacts = h.Counter("users").Level(), h.Counter("contacts").Level()
	m.store = m.mem
	h.Every(time.Second, m.sweep)
	if m.dbMode != 0 {
		h.Every(10*time.Second, m.purge)
	}
	return nil
}

// checkMin and checkMax judge changes of a router that runs. In the settings
// either may come first; Configure judges those.
func (m *Module) checkMin(d time.Duration) error {
	if m.host == nil {
		return nil
	}
	return notAbove(d, m.maxExpires.Load())
}

func (m *Module) checkMax(d time.Duration) error {
	if m.host == nil {
		return nil
	}
	return notAbove(m.minExpires.Load(), d)
}

func notAbove(min, max time.Duration) error {
	if min > max {
		return fmt.Errorf("min_expires %v exceeds max_expires %v", min, max)
	}
	return nil
}

// Start implements core.Starter: it loads the table.
func (m *Module) Start(ctx context.Context) error {
	if m.dbMode == 0 {
		return nil
	}
	db, err := database.Open(m.host, m.host.DBURL(m.dbURL))
	if err != nil {
		return err
	}
	if err := db.RequireSchema(ctx, Migrations()); err != nil {
		return err
	}
	m.rows = &table{db: db, name: m.table, node: m.node}
	if err := m.load(ctx); err != nil {
		return err
	}
	m.committer = newCommitter(m.mem, m.rows, m.host.Clock())
	m.store = m.committer
	go m.committer.run()
	return nil
}

// Stop implements core.Stopper: what waits to be written is written.
func (m *Module) Stop(ctx context.Context) error {
	if m.committer == nil {
		return nil
	}
	return m.committer.stop(ctx)
}

// load fills the memory from the table.
func (m *Module) load(ctx context.Context) error {
	n, lost, err := m.rows.load(ctx, m.mem, m.host.Network().Sockets(), m.host.Clock().Now())
	if err != nil {
		return err
	}
	m.lost.Add(int64(lost))
	m.host.Log().Info("loaded contacts", "table", m.table, "contacts", n, "unreadable", lost)
	return nil
}

// sweep takes what has expired out of one shard, so that all of them are
// visited in about a minute and none is held for long.
func (m *Module) sweep(context.Context) {
	n := m.mem.sweep(m.sweepAt, m.host.Clock().Now())
	m.sweepAt = (m.sweepAt + 1) % shards
	m.expired.Add(int64(n))
}

// purge deletes expired rows. They are kept a little longer than the bindings,
// since a change that was decided before the end may still be on its way.
func (m *Module) purge(ctx context.Context) {
	if m.rows == nil {
		return
	}
	if err := m.rows.purge(ctx, m.host.Clock().Now().Add(-purgeDelay)); err != nil {
		m.host.Log().Warn("expired rows were not deleted", "err", err)
	}
}

const (
	// maxLifetime bounds the expiry parameters.
	maxLifetime = 30 * 24 * time.Hour
	// purgeDelay is how long the row of an expired binding stays.
	purgeDelay = time.Minute
)

// expiryOf is a lifetime that begins at now.
func expiryOf(now clock.Time, seconds uint32) clock.Time {
	return now.Add(time.Duration(seconds) * time.Second)
}

// fits checks the length of a text.
func fits(n int) core.Check[string] {
	return func(s string) error {
		if len(s) > n {
			return fmt.Errorf("%q is longer than %d bytes", s, n)
		}
		return nil
	}
}
