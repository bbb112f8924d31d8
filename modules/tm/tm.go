// Package tm is the transaction layer and the stateful proxy: server and client
// transactions of RFC 3261 §17 with the corrections of RFC 6026, forking and
// the choice of the best response (§16.7), CANCEL, retransmissions and timers.
// A script never has to absorb a retransmission, to match a CANCEL or to
// remember an ACK.
//
// A transaction has one owner at a time. Whoever finds it owned leaves an event
// in its queue and goes on; the owner empties the queue before it lets go. No
// lock is held while a script runs.
package tm

import (
	"context"
	"encoding/binary"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// Module is the module tm.
type Module struct {
	host  core.Host
	log   *slog.Logger
	clock clock.Clock

	frTimer, frInvTimer   core.Live[time.Duration]
	frInvNext             core.Live[time.Duration]
	failoverTimer         core.Live[time.Duration]
	serialForking         core.Live[bool]
	recursion             core.Live[bool]
	nonInvite408          core.Live[bool]
	t1, t2, t4            time.Duration
	maxTx, maxPerSource   int
	maxBranches, maxQueue int
	maxBreadth            int
	trying                string

	pool  freeList[*tx]
	bufs  freeList[[]byte] // for messages on their way
	small freeList[[]byte] // for responses that are kept
	// scratch keeps messages to parse into, marks the edits of a branch.
	scratch, marks sync.Pool
	server         serverTable
	client         clientTable
	wheels         []*clock.Wheel
	out            core.Sender // of the goroutine that turns the wheels
	loop           loopKey
	apart          sync.WaitGroup // goroutines that handle an event of a timer's
	stats          counters
}

type counters struct {
	active, pending, created, refused, retransmissions, timeouts, late, cancels, loops, groups, recursions, failovers *core.Counter
	replies                                                                                                           [7]*core.Counter // by class
}

// New returns the module with its defaults.
func New() core.Module {
	return &Module{
		pool: freeList[*tx]{max: maxFree}, bufs: freeList[[]byte]{max: maxFree / 8}, small: freeList[[]byte]{max: maxFree},
		scratch: sync.Pool{New: func() any { return new(sipmsg.Message) }},
		marks:   sync.Pool{New: func() any { return new(sipmsg.Mark) }},
		frTimer: core.LiveOf(30 * time.Second), frInvTimer: core.LiveOf(120 * time.Second),
		frInvNext: core.LiveOf(30 * time.Second), failoverTimer: core.LiveOf(8 * time.Second),
		t1: 500 * time.Millisecond, t2: 4 * time.Second, t4: 5 * time.Second,
		maxTx: 1_000_000, maxPerSource: 0, maxBranches: 12, maxQueue: 64, maxBreadth: 60,
		trying: "Trying",
	}
}

var (
	_ core.Configurer = (*Module)(nil)
	_ core.Starter    = (*Module)(nil)
	_ core.Stopper    = (*Module)(nil)
	_ API             = (*Module)(nil)
)

// Describe implements core.Module.
func (m *Module) Describe() core.Spec {
	ms := time.Millisecond
	return core.Spec{
		Name:    "tm",
		Summary: "Transactions: stateful relay, forking, failure, branch and reply routes.",
		Also:    []string{"tmx"},
		Params: []core.Param{
			core.LiveDurationParam(&m.frTimer, ms, "fr_timer", "how long a branch may be without any response, or a request other than INVITE without a final one", core.Between(100*ms, 10*time.Minute)),
			core.LiveDurationParam(&m.frInvTimer, ms, "fr_inv_timer", "how long an INVITE may ring: RFC 3261's Timer C, started anew by each provisional response", core.Between(100*ms, 24*time.Hour)),
			core.LiveDurationParam(&m.frInvNext, ms, "fr_inv_timer_next", "how long an INVITE may ring while less preferred destinations wait for their turn", core.Between(100*ms, 24*time.Hour)),
			core.LiveDurationParam(&m.failoverTimer, ms, "failover_timer", "how long an address may be silent while the name that led to it has others; RFC 3263 has Timer B, after which few callers still wait", core.Between(100*ms, 10*time.Minute)),
			core.LiveBoolParam(&m.serialForking, "serial_forking", "tries destinations with different q values one after the other, the most preferred first, instead of all at once"),
			core.LiveBoolParam(&m.recursion, "recurse", "follows redirections (300, 301, 302) instead of sending them to the caller; t_recurse decides it for one request"),
			core.LiveBoolParam(&m.nonInvite408, "non_invite_408", "answers a request other than INVITE with 408 after a timeout, which RFC 4320 forbids: the answer comes when nobody waits for it"),
			core.DurationParam(&m.t1, ms, "retr_timer1", "T1 of RFC 3261: the first retransmission comes after it", core.Between(10*ms, 10*time.Second)),
			core.DurationParam(&m.t2, ms, "retr_timer2", "T2 of RFC 3261: the longest interval of retransmissions", core.Between(10*ms, time.Minute)),
			core.DurationParam(&m.t4, ms, "t4", "T4 of RFC 3261: how long a message lives in the network", core.Between(10*ms, time.Minute)),
			core.IntParam(&m.maxTx, "max_transactions", "transactions at once; beyond it requests outside dialogs get 503", core.Between(1, 1<<24)),
			core.IntParam(&m.maxPerSource, "max_per_source", "transactions of one source address at once; 0 for no limit of its own", core.Between(0, 1<<24)),
			core.IntParam(&m.maxBranches, "max_branches", "branches of one transaction", core.Between(1, 200)),
			core.IntParam(&m.maxBreadth, "max_breadth", "branches that one request may have in all, here and further on (RFC 5393)", core.Between(1, 10000)),
			core.StringParam(&m.trying, "trying_reason", "reason phrase of 100"),
		},
		Exports:  m.exports(),
		Commands: m.commands(),
	}
}

// Configure implements core.Configurer.
func (m *Module) Configure(h core.Host) error {
	m.host, m.log, m.clock = h, h.Log(), h.Clock()
	for name, p := range map[string]**core.Counter{
		"active": &m.stats.active, "pending": &m.stats.pending, "created": &m.stats.created, "refused": &m.stats.refused,
		"retransmissions": &m.stats.retransmissions, "timeouts": &m.stats.timeouts, "late_replies": &m.stats.late,
		"cancels": &m.stats.cancels, "loops": &m.stats.loops,
		"groups": &m.stats.groups, "recursions": &m.stats.recursions, "failovers": &m.stats.failovers,
	} {
		*p = h.Counter(name)
	}
	m.stats.active.Level()
	m.stats.pending.Level()
	for i := 1; i <= 6; i++ {
		m.stats.replies[i] = h.Counter("replies_" + string(rune('0'+i)) + "xx")
	}
	h.OnRequest(m.onRequest)
	h.OnResponse(m.onResponse)
	h.OnHold(m.onHold)
	h.Every(clock.Tick, m.turn)
	return nil
}

// Start implements core.Starter.
func (m *Module) Start(context.Context) error {
	key := m.host.Secret("tm loop detection")
	m.loop.k0, m.loop.k1 = binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	now := m.clock.Now()
	for range runtime.GOMAXPROCS(0) {
		m.wheels = append(m.wheels, clock.NewWheel(now))
	}
	m.out = m.host.Network().NewSender()
	m.server.init(m.maxPerSource)
	m.client.init(m.maxTx)
	return nil
}

// Stop implements core.Stopper.
func (m *Module) Stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() { m.apart.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn advances the timers.
func (m *Module) turn(context.Context) {
	now := m.clock.Now()
	for _, w := range m.wheels {
		w.Advance(now)
	}
	m.out.Flush()
}
