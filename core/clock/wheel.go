package clock

import (
	"sync"
	"time"
)

// Tick is the wheel's resolution. RFC 3261's shortest timer is T1, 500 ms.
const Tick = 10 * time.Millisecond

const (
	slotBits = 8
	slots    = 1 << slotBits // a level has 256 slots
	levels   = 4             // 256^4 ticks: 497 days
)

// Owner is what timers belong to. An interface in place of a function for each
// timer, since there are many and each function would be a piece of memory.
type Owner interface {
	// Expire is called by Wheel.Advance, without any lock of the wheel's. It
	// may set timers again.
	Expire(t *Timer, now Time)
}

// Timer is one entry of a Wheel. It is meant to be a field of the thing it
// times; it must not be copied while it is set. Owner must be set before the
// first Set and stay as it is.
type Timer struct {
	Owner Owner

	tick       int64
	next, prev *Timer
	set        bool
}

// Wheel is a hierarchical timing wheel: setting and stopping a timer cost a
// few pointer writes, whatever their number. Its methods may be called by any
// goroutine; a timer that is being stopped while it expires may still fire, so
// its owner decides by its own state whether the expiry is welcome.
type Wheel struct {
	mu    sync.Mutex
	now   int64 // the last tick that Advance has reached
	n     int
	lists [levels][slots]Timer // heads of circular lists
	due   []*Timer
}

// NewWheel returns an empty wheel that stands at now.
func NewWheel(now Time) *Wheel {
	w := &Wheel{now: int64(now) / int64(Tick)}
	for l := range w.lists {
		for s := range w.lists[l] {
			h := &w.lists[l][s]
			h.next, h.prev = h, h
		}
	}
	return w
}

// Len returns how many timers are set.
func (w *Wheel) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// Set arms t to fire at the first tick at or after at; a timer that was set
// moves.
func (w *Wheel) Set(t *Timer, at Time) {
	tick := (int64(at) + int64(Tick) - 1) / int64(Tick)
	w.mu.Lock()
	if t.set {
		t.unlink()
	} else {
		t.set = true
		w.n++
	}
	if tick <= w.now {
		tick = w.now + 1
	}
	t.tick = tick
	w.place(t)
	w.mu.Unlock()
}

// Stop disarms t and reports whether it was set.
func (w *Wheel) Stop(t *Timer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.set {
		return false
	}
	t.unlink()
	t.set = false
	w.n--
	return true
}

func (t *Timer) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// place links t into the slot that its tick belongs to, seen from w.now.
func (w *Wheel) place(t *Timer) {
	delta := t.tick - w.now
	level := 0
	for level < levels-1 && delta >= 1<<(slotBits*(level+1)) {
		level++
	}
	h := &w.lists[level][(t.tick>>(slotBits*level))&(slots-1)]
	t.prev, t.next = h.prev, h
	h.prev.next, h.prev = t, t
}

// Advance moves the wheel to now and fires what has fallen due, in the order
// of the ticks. Only one goroutine may call it at a time.
func (w *Wheel) Advance(now Time) {
	target := int64(now) / int64(Tick)
	w.mu.Lock()
	for w.now < target {
		if w.n == 0 {
			w.now = target
			break
		}
		w.now++
		w.cascade()
		h := &w.lists[0][w.now&(slots-1)]
		for h.next != h {
			t := h.next
			t.unlink()
			t.set = false
			w.n--
			w.due = append(w.due, t)
		}
		if len(w.due) == 0 {
			continue
		}
		due := w.due
		w.due = nil
		w.mu.Unlock()
		for i, t := range due {
			t.Owner.Expire(t, now)
			due[i] = nil
		}
		w.mu.Lock()
		w.due = due[:0]
	}
	w.mu.Unlock()
}

// cascade moves the timers of the upper levels' slots that begin at w.now
// down to where they now belong.
func (w *Wheel) cascade() {
	for level := 1; level < levels; level++ {
		if w.now&(1<<(slotBits*level)-1) != 0 {
			return
		}
		h := &w.lists[level][(w.now>>(slotBits*level))&(slots-1)]
		first, last := h.next, h.prev
		if first == h {
			continue
		}
		h.next, h.prev = h, h
		last.next = nil
		for t := first; t != nil; {
			next := t.next
			w.place(t)
			t = next
		}
	}
}
