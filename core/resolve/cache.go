package resolve

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// cache is a bounded map that names made up in great number cannot sweep
// clean. Answers that say "no" have room of their own. Within a room, what is
// new has to be asked for once more before it counts as proven; when there is
// no space, something new and never asked for again goes first, and what is
// proven only if it has not been asked for since the last look at it.
type cache[V any] struct {
	mu    sync.RWMutex
	m     map[string]*item[V]
	rooms [2]room
}

type item[V any] struct {
	key    string
	v      V
	used   atomic.Bool
	room   *room
	proven bool
	place  *list.Element
}

type room struct {
	max           int
	young, proven *list.List // of *item, the oldest first
}

func (c *cache[V]) init() {
	c.m = map[string]*item[V]{}
	for i := range c.rooms {
		c.rooms[i].young, c.rooms[i].proven = list.New(), list.New()
	}
}

// limit sets how many good answers are kept, and a quarter as many bad ones.
func (c *cache[V]) limit(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms[0].max, c.rooms[1].max = max(n, 4), max(n/4, 4)
	for i := range c.rooms {
		c.shrink(&c.rooms[i], c.rooms[i].max)
	}
}

// get returns what is kept under a key, however old.
func (c *cache[V]) get(key []byte) (V, bool) {
	c.mu.RLock()
	it, ok := c.m[string(key)]
	if !ok {
		c.mu.RUnlock()
		var none V
		return none, false
	}
	v := it.v
	if !it.used.Load() { // a store by every reader would make the line travel
		it.used.Store(true)
	}
	c.mu.RUnlock()
	return v, true
}

// put keeps v; negative says which room it belongs to.
func (c *cache[V]) put(key string, v V, negative bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := &c.rooms[0]
	if negative {
		to = &c.rooms[1]
	}
	it, ok := c.m[key]
	if ok && it.room == to {
		it.v = v
		return
	}
	if ok {
		c.remove(it)
	}
	c.shrink(to, to.max-1)
	it = &item[V]{key: key, v: v, room: to}
	it.place = to.young.PushBack(it)
	c.m[key] = it
}

func (c *cache[V]) shrink(r *room, n int) {
	for r.young.Len()+r.proven.Len() > n {
		c.evict(r)
	}
}

// evict removes one item. It ends: each step clears a mark or removes.
func (c *cache[V]) evict(r *room) {
	for {
		from := r.proven
		if r.young.Len() > r.max/8 || from.Len() == 0 {
			from = r.young
		}
		it := from.Front().Value.(*item[V])
		if !it.used.Swap(false) {
			c.remove(it)
			return
		}
		if it.proven {
			from.MoveToBack(it.place)
			continue
		}
		from.Remove(it.place)
		it.proven = true
		it.place = r.proven.PushBack(it)
	}
}

func (c *cache[V]) remove(it *item[V]) {
	from := it.room.young
	if it.proven {
		from = it.room.proven
	}
	from.Remove(it.place)
	delete(c.m, it.key)
}

func (c *cache[V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
	for i := range c.rooms {
		c.rooms[i].young.Init()
		c.rooms[i].proven.Init()
	}
}

// each calls f for every item until it returns false. f must be quick.
func (c *cache[V]) each(f func(key string, v V) bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for k, it := range c.m {
		if !f(k, it.v) {
			return
		}
	}
}

func (c *cache[V]) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.m)
}
