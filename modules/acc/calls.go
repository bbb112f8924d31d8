package acc

import (
	"sync"

	"sipr/core"
	"sipr/core/clock"
)

// calls is the open calls, by dialog and in the order of their answers.
type calls struct {
	mu    sync.Mutex
	byKey map[string]*record
	// oldest and newest are the ends of the list. Every call may last equally
	// long, so the oldest is always the next to expire.
	oldest, newest *record
	max            int
	level          *core.Counter
}

func (c *calls) init(max int, level *core.Counter) {
	c.byKey = map[string]*record{}
	c.max, c.level = max, level
}

// add opens a call, which then owns r. known says that it was open already,
// full that there is no room.
func (c *calls) add(key []byte, r *record) (known, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[string(key)] != nil {
		return true, false
	}
	if len(c.byKey) >= c.max {
		return false, true
	}
	r.key = string(key)
	c.byKey[r.key] = r
	r.prev, r.next = c.newest, nil
	if c.newest != nil {
		c.newest.next = r
	} else {
		c.oldest = r
	}
	c.newest = r
	c.level.Add(1)
	return false, false
}

// empty tells whether no call is open.
func (c *calls) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest == nil
}

// take closes a call and returns it, nil if it is not open.
func (c *calls) take(key []byte) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.byKey[string(key)]
	if r != nil {
		c.remove(r)
	}
	return r
}

// popOlder closes a call that was answered before t and returns it.
func (c *calls) popOlder(t clock.Time) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.oldest
	if r == nil || !r.time.Before(t) {
		return nil
	}
	c.remove(r)
	return r
}

// popAll closes every call and returns them as a list.
func (c *calls) popAll() *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.oldest
	c.level.Add(-int64(len(c.byKey)))
	clear(c.byKey)
	c.oldest, c.newest = nil, nil
	return first
}

func (c *calls) remove(r *record) {
	delete(c.byKey, r.key)
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		c.oldest = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		c.newest = r.prev
	}
	r.prev, r.next = nil, nil
	c.level.Add(-1)
}

func (c *calls) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey)
}
