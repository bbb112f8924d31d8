// Package clock is sipr's only source of time. Everything that waits takes a
// Clock, so that the same engine runs on real time and, in tests, on virtual
// time that jumps.
package clock

import (
	"sync"
	"time"
)

// Time is nanoseconds since the Unix epoch. A Clock's readings never go
// backwards, not even when the wall clock is set back.
type Time int64

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Before tells whether t is earlier than u.
func (t Time) Before(u Time) bool { return t < u }

// Unix returns t as whole seconds since the epoch.
func (t Time) Unix() int64 { return int64(t) / int64(time.Second) }

// Std returns t as a time.Time in UTC.
func (t Time) Std() time.Time { return time.Unix(0, int64(t)).UTC() }

// FromStd converts a wall-clock time.
func FromStd(t time.Time) Time { return Time(t.UnixNano()) }

// Clock tells the time and calls back later.
type Clock interface {
	// Now returns the present. It may be called by any goroutine.
	Now() Time
	// AfterFunc calls f once, on a goroutine of the clock's choice, when d
	// has passed. The returned stop reports whether it prevented the call.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Real is the machine's clock.
type Real struct {
	wall Time
	mono time.Time
}

// NewReal returns a clock that starts at the present wall time and then
// follows the monotonic clock.
func NewReal() *Real {
	now := time.Now()
	return &Real{wall: FromStd(now), mono: now}
}

// Now implements Clock.
func (c *Real) Now() Time { return c.wall.Add(time.Since(c.mono)) }

// AfterFunc implements Clock.
func (c *Real) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// Fake is a clock for tests: it stands still until Advance moves it.
type Fake struct {
	mu     sync.Mutex
	now    Time
	timers []*fakeTimer
}

type fakeTimer struct {
	at    Time
	every time.Duration // 0 for once
	f     func()
	done  bool
}

// NewFake returns a clock that stands at 2026-01-01 00:00:00 UTC.
func NewFake() *Fake {
	return &Fake{now: FromStd(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
}

// Now implements Clock.
func (c *Fake) Now() Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc implements Clock; f runs on the goroutine that calls Advance.
func (c *Fake) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := !t.done
		t.done = true
		return was
	}
}

// Every calls f every d, on the goroutine that calls Advance, until stop is
// called.
func (c *Fake) Every(d time.Duration, f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{at: c.now.Add(d), every: d, f: f}
	c.timers = append(c.timers, t)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		t.done = true
	}
}

// Advance moves the clock by d. Callbacks that fall due run in the order of
// their times, each with the clock standing at its own time.
func (c *Fake) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for {
		var next *fakeTimer
		keep := c.timers[:0]
		for _, t := range c.timers {
			if t.done {
				continue
			}
			keep = append(keep, t)
			if t.at <= end && (next == nil || t.at < next.at) {
				next = t
			}
		}
		c.timers = keep
		if next == nil {
			break
		}
		if next.at > c.now {
			c.now = next.at
		}
		if next.every > 0 {
			next.at = c.now.Add(next.every)
		} else {
			next.done = true
		}
		c.mu.Unlock()
		next.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}
