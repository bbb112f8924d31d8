// Package auth is SIP digest authentication as a server (RFC 3261 §22, RFC
// 7616, RFC 8760): it challenges requests, checks the answers against a table
// of credentials and tells whether credentials own the address that a request
// claims to come from.
//
// The table holds HA1 values, never passwords, and is read through a bounded
// cache. Nonces carry their own proof and verify on every node that shares the
// secret; what they were used for is remembered here, in a table of fixed
// size.
package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sipr/core"
	"sipr/core/database"
)

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Reloader   = (*Module)(nil)
)

// Domains is what auth asks of module domain. Both methods may wait for its
// database; an error says that there is no answer.
type Domains interface {
	// Lookup returns the did of a host name.
	Lookup(r *core.Request, name []byte) (did string, ok bool, err error)
	// LookupRealm returns the realm of the domain that a host name belongs
	// to.
	LookupRealm(r *core.Request, name []byte) (realm string, ok bool, err error)
}

// Owners is what auth asks of module users: the uid that an AoR belongs to.
type Owners interface {
	Owner(r *core.Request, did string, user []byte) (uid string, ok bool, err error)
}

// Module is the module's instance.
type Module struct {
	dbURL     string
	table     table
	calculate bool

	cacheSize   int
	cacheExpire time.Duration

	algorithmText string
	qop           string
	nonceExpire   time.Duration
	nonceSource   bool
	ncSlots       int
	oneTime       bool
	checkURI      bool

	log     *slog.Logger
	host    core.Host
	db      *database.DB
	domains Domains
	owners  Owners

	query    string
	offered  []algorithm // strongest first
	accepted [algorithms]bool
	nonces   *nonces
	cache    *cache
	decoy    string // HA1 of users that do not exist
	pool     sync.Pool
	counters [verdicts]*core.Counter
	sent     *core.Counter
	queries  *core.Counter
}

// New returns a module that has not been configured.
func New() core.Module {
	return &Module{
		table: defaultTable, cacheSize: 100000, cacheExpire: time.Minute,
		algorithmText: "MD5", qop: "auth", nonceExpire: 300 * time.Second,
		ncSlots: 65536,
	}
}

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	return core.Spec{
		Name:     "auth",
		Summary:  "Digest authentication of requests against SQL credentials.",
		Wants:    []string{"domain", "users"},
		Also:     []string{"auth_db"},
		Params:   m.params(),
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

func (m *Module) params() []core.Param {
	t := &m.table
	return []core.Param{
		core.SecretParam(&m.dbURL, "db_url", "The database; core's db_url if empty."),
		core.StringParam(&t.name, "table", "The table of credentials.", core.Identifier),
		core.StringParam(&t.user, "user_column", "The column of the user name in credentials.", core.Identifier),
		core.StringParam(&t.realm, "realm_column", "The column of the realm.", core.Identifier),
		core.StringParam(&t.did, "did_column", "The column of the domain's did; \"\" if there is none: the realm's domain is taken.", optionalColumn),
		core.StringParam(&t.uid, "uid_column", "The column of the user's uid; \"\" if there is none: with module users such credentials own no address.", optionalColumn),
		core.StringParam(&t.flags, "flags_column", "The column of the row flags; \"\" if there is none: every row is used.", optionalColumn),
		core.StringParam(&t.ha1[algMD5], "ha1_column", "The column of HA1 for MD5, in hex; \"\" if there is none.", optionalColumn),
		core.StringParam(&t.ha1[algSHA256], "ha1_sha256_column", "The column of HA1 for SHA-256, in hex; \"\" if there is none.", optionalColumn),
		core.StringParam(&t.ha1[algSHA512256], "ha1_sha512_256_column", "The column of HA1 for SHA-512-256, in hex; \"\" if there is none.", optionalColumn),
		core.StringParam(&t.password, "password_column", "The column of the clear password of somebody's existing table; read only if calculate_ha1 is set.", core.Identifier),
		core.BoolParam(&m.calculate, "calculate_ha1", "Compute HA1 from password_column instead of reading it."),
		core.IntParam(&m.cacheSize, "credentials_cache", "How many credentials are kept in memory; 0 asks the database each time.", core.Between(0, 10_000_000)),
		core.DurationParam(&m.cacheExpire, time.Second, "cache_expire", "How long credentials are kept in memory, in seconds. A new password works at once, an old one until then; see auth.flush.", core.Between(0, 24*time.Hour)),
		core.StringParam(&m.algorithmText, "algorithms", "The algorithms to offer: a list of MD5, SHA-256 and SHA-512-256. Challenges name the strongest first (RFC 8760); every user needs an HA1 for each.", checkAlgorithms),
		core.StringParam(&m.qop, "qop", "The quality of protection to offer: auth, auth-int, auth,auth-int or \"\" for none. With auth-int alone, nothing weaker is accepted.", core.OneOf("auth", "auth-int", "auth,auth-int", "")),
		core.DurationParam(&m.nonceExpire, time.Second, "nonce_expire", "How long a nonce may be used, in seconds.", core.Between(time.Second, 24*time.Hour)),
		core.BoolParam(&m.nonceSource, "nonce_source", "Bind a nonce to the address that asked for it."),
		core.IntParam(&m.ncSlots, "nc_array_size", "How many nonces' use counts are remembered against replay. A nonce whose place was taken by a newer one is stale.", core.Between(64, 1<<24)),
		core.BoolParam(&m.oneTime, "one_time_nonce", "Let clients that send no qop use a nonce only once. Clients that send qop are held to their nonce counts in any case."),
		core.BoolParam(&m.checkURI, "check_uri", "Require that the uri of the credentials equals the Request-URI as received (RFC 7616 §3.4.6). Off, as in Kamailio, since many phones write another one there and proxies in front rewrite the Request-URI; what is captured cannot be used again all the same, since each nonce counts its uses."),
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.host, m.log = h, h.Log()
	var err error
	if m.offered, err = parseAlgorithms(m.algorithmText); err != nil {
		return fmt.Errorf("algorithms: %w", err)
	}
	for _, a := range m.offered {
		m.accepted[a] = true
		if !m.calculate && m.table.ha1[a] == "" {
			return fmt.Errorf("algorithms: %s needs a column of its HA1, or calculate_ha1", a)
		}
	}
	if h.Loaded("domain") {
		if m.domains, err = core.Bind[Domains](h, "domain"); err != nil {
			return err
		}
	}
	if h.Loaded("users") {
		if m.owners, err = core.Bind[Owners](h, "users"); err != nil {
			return err
		}
	}
	m.cache = newCache(m.cacheSize, m.cacheExpire)
	m.pool.New = func() any { return newWork() }
	for v := range m.counters {
		m.counters[v] = h.Counter(verdict(v).String())
	}
	m.sent, m.queries = h.Counter("challenges"), h.Counter("queries")
	return nil
}

// Start implements core.Starter.
func (m *Module) Start(ctx context.Context) error {
	var random [36]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("random numbers: %w", err)
	}
	m.decoy = hex.EncodeToString(random[:32])
	m.nonces = newNonces(m.host.Secret("auth nonce"), random[32:], m.nonceExpire, m.ncSlots)
	return m.openStore(ctx)
}

// Reload implements core.Reloader: credentials are read anew.
func (m *Module) Reload(context.Context) error {
	m.cache.flush("")
	return nil
}

func optionalColumn(s string) error {
	if s == "" {
		return nil
	}
	return core.Identifier(s)
}
