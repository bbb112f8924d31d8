package resolve

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// maxDead bounds the destinations that are remembered as dead.
const maxDead = 4096

type place struct {
	proto core.Proto
	addr  netip.AddrPort
}

// dead remembers destinations that do not answer. While there is none, asking
// costs one atomic load.
type dead struct {
	n  atomic.Int64
	mu sync.RWMutex
	m  map[place]clock.Time // until
}

func (d *dead) any() bool { return d.n.Load() != 0 }

func (d *dead) add(p place, now, until clock.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m == nil {
		d.m = map[place]clock.Time{}
	}
	if _, again := d.m[p]; !again && len(d.m) >= maxDead {
		d.sweep(now)
		for any := range d.m { // any of them: the bound counts
			if len(d.m) < maxDead {
				break
			}
			delete(d.m, any)
		}
	}
	d.m[p] = until
	d.n.Store(int64(len(d.m)))
}

// sweep removes the marks that have ended.
func (d *dead) sweep(now clock.Time) {
	for p, until := range d.m {
		if until <= now {
			delete(d.m, p)
		}
	}
	d.n.Store(int64(len(d.m)))
}

// has tells whether p is dead. A mark that has ended is removed, so that the
// price of asking goes away with the last one.
func (d *dead) has(p place, now clock.Time) bool {
	d.mu.RLock()
	until, ok := d.m[p]
	d.mu.RUnlock()
	if !ok {
		return false
	}
	if until > now {
		return true
	}
	d.mu.Lock()
	d.sweep(now)
	d.mu.Unlock()
	return false
}

func (d *dead) remove(p place) {
	d.mu.Lock()
	delete(d.m, p)
	d.n.Store(int64(len(d.m)))
	d.mu.Unlock()
}

func (d *dead) clear() {
	d.mu.Lock()
	clear(d.m)
	d.n.Store(0)
	d.mu.Unlock()
}

// count returns how many are dead now.
func (d *dead) count(now clock.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(now)
	return len(d.m)
}

// last moves the dead ones of a list to its end; otherwise the order stays.
func (d *dead) last(list []Target, now clock.Time) {
	var moved [2 * MaxTargets]Target
	alive, n := 0, 0
	for _, t := range list {
		if n < len(moved) && d.has(place{t.Proto, t.Addr}, now) {
			moved[n] = t
			n++
			continue
		}
		list[alive] = t
		alive++
	}
	copy(list[alive:], moved[:n])
}

// each calls f for every dead destination until it returns false.
func (d *dead) each(f func(p place, left time.Duration) bool, now clock.Time) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for p, until := range d.m {
		if until > now && !f(p, until.Sub(now)) {
			return
		}
	}
}
