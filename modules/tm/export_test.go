package tm

import "sipr/core"

// Settled waits for the goroutines that handle what a timer began.
func (m *Module) Settled() { m.apart.Wait() }

// Levels returns how many transactions and timers there are, and how many
// entries the tables have.
func (m *Module) Levels() (active, timers, server, client int) {
	for _, w := range m.wheels {
		timers += w.Len()
	}
	for i := range m.server.shard {
		server += m.server.shard[i].n
	}
	return int(m.stats.active.Load()), timers, server, len(m.client.slots) - len(m.client.free)
}

// MatchStatus is the matching of t_check_status.
func MatchStatus(list, code string) bool { return matchStatus(list, []byte(code)) }

// Rank orders final responses.
func Rank(code int) int { return rank(code) }

var _ core.Module = (*Module)(nil)
