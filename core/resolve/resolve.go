// Package resolve finds where a SIP URI leads: the transports, addresses and
// ports to try, in order (RFC 3263 §4, RFC 7984).
//
// A Query goes to the DNS as a few questions: NAPTR for the transports of a
// domain, SRV for its servers, A and AAAA for their addresses. Each answer is
// kept for as long as its records live; what they say together about one Query
// is kept as a plan, from which every call draws its own list of targets (SRV
// weights are drawn each time). A destination that has failed goes to the end
// of every list for a while.
//
//	list, err, known := r.Cached(&q, buf) // never blocks
//	if !known {
//		list, err = r.Lookup(ctx, &q, buf) // asks
//	}
package resolve

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// MaxTargets is the length of the longest list of targets.
const MaxTargets = 16

// Config says what a Resolver asks, and how. Only Clock must be set; a zero
// stands for the default given.
type Config struct {
	Clock clock.Clock
	// Servers are the DNS servers, as ServerAddr returns them, in the order
	// they are asked. None: those of ResolvConf.
	Servers []string
	// ResolvConf (/etc/resolv.conf) is read again when it changes. Only its
	// nameserver lines count: names in SIP are complete, so that there is no
	// search list. Without any server it is 127.0.0.1.
	ResolvConf string
	// Hosts names a file of addresses that come before the DNS, usually
	// /etc/hosts; "" for none. It is read again when it changes. A name that
	// stands there is a host: it is not asked for NAPTR and SRV.
	Hosts string
	// Timeout (2 s) is how long a server has for one answer, Attempts (2) how
	// many times all servers are asked.
	Timeout  time.Duration
	Attempts int
	// MaxEntries (10000) bounds the answers kept, and the plans; a quarter as
	// many answers that say "no" are kept beside them.
	MaxEntries int
	// MinTTL (1 s) and MaxTTL (1 day) bound the life of an answer, MinNegative
	// (5 s) and MaxNegative (5 min) that of one that says "no" (RFC 2308).
	MinTTL, MaxTTL           time.Duration
	MinNegative, MaxNegative time.Duration
	// KeepError (5 s) is how long a failure of the servers is believed.
	KeepError time.Duration
	// Stale (1 h; negative: never) is how long an outlived answer is used if
	// the servers fail, StaleRetry (30 s) how long before they are asked
	// again (RFC 8767).
	Stale, StaleRetry time.Duration
	// DeadFor is how long a destination given to Fail counts as dead; 0 for
	// never.
	DeadFor time.Duration
	// Prefer is the order of the transports where the domain leaves the choice
	// to us: UDP, TCP, TLS. PreferV6 puts IPv6 addresses of a host before its
	// IPv4 ones.
	Prefer   []core.Proto
	PreferV6 bool
	// Supports tells whether we can send over a transport to IPv4 or IPv6
	// addresses; nil for UDP, TCP and TLS to both. It is asked for every plan.
	Supports func(p core.Proto, v6 bool) bool
	// Rand returns a random number below n, as rand.IntN does; any goroutine
	// calls it. nil: the runtime's random numbers.
	Rand func(n int) int
}

// The reasons for a list to be empty.
var (
	// ErrName: the host of a URI is no name that could be asked for.
	ErrName = errors.New("not a host name")
	// ErrNotFound: nothing exists under the name.
	ErrNotFound = errors.New("the name has no address")
	// ErrNoService: the domain says that it has no such service (RFC 2782, a
	// target of ".").
	ErrNoService = errors.New("the domain has no SIP service")
	// ErrNoTransport: the URI or the domain want a transport or an address
	// family that we do not have.
	ErrNoTransport = errors.New("no transport in common")
	// ErrServers: the DNS servers do not answer, or not usefully.
	ErrServers = errors.New("no DNS server answers")
	// ErrBusy: too many questions wait for their answers.
	ErrBusy = errors.New("too many DNS questions at once")
)

// Target is one place to try.
type Target struct {
	Proto core.Proto
	Addr  netip.AddrPort
	// Host is the domain that was looked up, in lower case: the name that a
	// TLS certificate must show (RFC 5922 §7.1), whatever SRV led to. "" if
	// the query was for an IP address.
	Host string
}

// Resolver answers queries. Its methods may be called by any goroutine.
type Resolver struct {
	clock  clock.Clock
	config atomic.Pointer[Config]

	plans   cache[*plan]
	records cache[*answer]
	flights flights
	system  system
	client  client
	dead    dead
	stats   counters

	base  context.Context // of the questions under way
	close context.CancelFunc
}

// New returns a resolver. Nothing is read or asked before it is used.
func New(cfg Config) *Resolver {
	r := &Resolver{clock: cfg.Clock}
	r.plans.init()
	r.records.init()
	r.flights.open = map[string]*flight{}
	r.system.clock, r.client.clock = cfg.Clock, cfg.Clock
	r.client.stats = &r.stats
	r.base, r.close = context.WithCancel(context.Background())
	r.Configure(cfg)
	return r
}

// Close ends the questions under way; those who wait get ErrServers.
func (r *Resolver) Close() { r.close() }

// Config returns the settings in force, with the defaults filled in.
func (r *Resolver) Config() Config { return *r.config.Load() }

// Configure replaces the settings, but for the clock. Answers that are known
// stay; see Flush.
func (r *Resolver) Configure(cfg Config) {
	cfg.Clock = r.clock
	fill := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	fill(&cfg.Timeout, 2*time.Second)
	if cfg.Attempts <= 0 {
		cfg.Attempts = 2
	}
	if cfg.MaxEntries <= 0 {
		cfg.MaxEntries = 10000
	}
	fill(&cfg.MinTTL, time.Second)
	fill(&cfg.MaxTTL, 24*time.Hour)
	fill(&cfg.MinNegative, 5*time.Second)
	fill(&cfg.MaxNegative, 5*time.Minute)
	fill(&cfg.KeepError, 5*time.Second)
	if cfg.Stale == 0 {
		cfg.Stale = time.Hour
	}
	fill(&cfg.StaleRetry, 30*time.Second)
	if len(cfg.Prefer) == 0 {
		cfg.Prefer = []core.Proto{core.UDP, core.TCP, core.TLS}
	}
	if cfg.Supports == nil {
		cfg.Supports = func(p core.Proto, _ bool) bool { return p >= core.UDP && p <= core.TLS }
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.IntN
	}
	r.config.Store(&cfg)
	r.plans.limit(cfg.MaxEntries)
	r.records.limit(cfg.MaxEntries)
}

// Cached appends to buf the targets of a query whose answer is known, and
// reports whether it is. An error without known targets is one of this
// package's. It never blocks, and allocates only if buf is too small. Dead
// destinations go last.
func (r *Resolver) Cached(q *Query, buf []Target) ([]Target, error, bool) {
	if ip, ok := sipmsg.ParseIP(q.Host); ok {
		return r.literal(q, ip, buf)
	}
	var tmp [keySize]byte
	key, ok := q.appendKey(tmp[:0])
	if !ok {
		return buf, ErrName, true
	}
	p, ok := r.plans.get(key)
	if !ok || p.expires <= r.clock.Now() {
		return buf, nil, false
	}
	r.stats.hits.Add(1)
	return r.draw(p, buf), p.err, true
}

// Lookup is Cached that asks the DNS if need be. It blocks until ctx ends at
// the latest; the questions go on without it, for those who ask next. q's host
// is not used after Lookup has returned.
func (r *Resolver) Lookup(ctx context.Context, q *Query, buf []Target) ([]Target, error) {
	if list, err, known := r.Cached(q, buf); known {
		return list, err
	}
	r.stats.misses.Add(1)
	key, _ := q.appendKey(nil)
	p, err := r.makePlan(ctx, string(key), q)
	if err != nil {
		return buf, err
	}
	return r.draw(p, buf), p.err
}

// draw appends the targets of a plan in an order drawn for this call, those
// believed dead at the end.
func (r *Resolver) draw(p *plan, buf []Target) []Target {
	n := len(buf)
	buf = p.appendTargets(buf, r.config.Load().Rand)
	if list := buf[n:]; len(list) > 1 && r.dead.any() {
		r.dead.last(list, r.clock.Now())
	}
	return buf
}

// Fail marks a destination as dead for a while (Config.DeadFor): it did not
// answer, its connection failed, or it answered 503 (RFC 3263 §4.3).
func (r *Resolver) Fail(p core.Proto, addr netip.AddrPort) {
	if keep := r.config.Load().DeadFor; keep > 0 {
		now := r.clock.Now()
		r.dead.add(place{p, unmap(addr)}, now, now.Add(keep))
	}
}

// Alive tells whether a destination is not marked as dead.
func (r *Resolver) Alive(p core.Proto, addr netip.AddrPort) bool {
	return !r.dead.any() || !r.dead.has(place{p, unmap(addr)}, r.clock.Now())
}

// Revive takes the mark of Fail away: the destination has answered.
func (r *Resolver) Revive(p core.Proto, addr netip.AddrPort) {
	if r.dead.any() {
		r.dead.remove(place{p, unmap(addr)})
	}
}

// Flush forgets all answers and all dead destinations.
func (r *Resolver) Flush() {
	r.plans.clear()
	r.records.clear()
	r.dead.clear()
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
