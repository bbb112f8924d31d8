package resolve

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sipr/core"
)

type counters struct {
	hits, misses, stale, failures                  atomic.Uint64
	questions, timeouts, serverFailures, truncated atomic.Uint64
}

// Stats counts what a resolver did since its start, and has now.
type Stats struct {
	// Hits are queries answered from memory, Misses those that had to ask,
	// Failures the misses that found nothing, Stale those served with an
	// outlived answer because the servers failed.
	Hits, Misses, Failures, Stale uint64
	// Questions are messages sent to servers, Timeouts those without an answer
	// (a refused connection too), ServerFailures those answered with an error,
	// Truncated the answers asked for again over TCP.
	Questions, Timeouts, ServerFailures, Truncated uint64
	// Queries and Records are what is kept, Dead the destinations marked now.
	Queries, Records, Dead int
}

// Stats returns the counters.
func (r *Resolver) Stats() Stats {
	s := &r.stats
	return Stats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Failures: s.failures.Load(), Stale: s.stale.Load(),
		Questions: s.questions.Load(), Timeouts: s.timeouts.Load(), ServerFailures: s.serverFailures.Load(), Truncated: s.truncated.Load(),
		Queries: r.plans.len(), Records: r.records.len(), Dead: r.dead.count(r.clock.Now()),
	}
}

// Entry is a query whose answer is kept.
type Entry struct {
	Host      string
	Port      uint16     // 0 for none in the URI
	Transport core.Proto // ProtoNone for none in the URI
	Secure    bool
	// Targets are in an order as a call might draw it.
	Targets []Target
	Err     error
	// TTL is what is left; 0 or less for one that has outlived itself.
	TTL time.Duration
}

// Dump returns up to limit of the queries whose answers are kept, by host.
func (r *Resolver) Dump(limit int) []Entry {
	var plans []*plan
	r.plans.each(func(_ string, p *plan) bool {
		if len(plans) >= limit {
			return false
		}
		plans = append(plans, p)
		return true
	})
	slices.SortFunc(plans, func(a, b *plan) int {
		return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.port, b.port), cmp.Compare(a.proto, b.proto))
	})
	now := r.clock.Now()
	list := make([]Entry, len(plans))
	for i, p := range plans {
		list[i] = Entry{
			Host: p.host, Port: p.port, Transport: p.proto, Secure: p.secure,
			Targets: r.draw(p, nil), Err: p.err, TTL: p.expires.Sub(now),
		}
	}
	return list
}

// DeadEntry is a destination marked as dead.
type DeadEntry struct {
	Proto core.Proto
	Addr  netip.AddrPort
	// Left is how long the mark still holds.
	Left time.Duration
}

// Dead returns up to limit of the destinations marked as dead, by address.
func (r *Resolver) Dead(limit int) []DeadEntry {
	now := r.clock.Now()
	var list []DeadEntry
	r.dead.each(func(p place, left time.Duration) bool {
		if len(list) >= limit {
			return false
		}
		list = append(list, DeadEntry{p.proto, p.addr, left})
		return true
	}, now)
	slices.SortFunc(list, func(a, b DeadEntry) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Proto, b.Proto))
	})
	return list
}
