package attrs

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"sipr/core"
	"sipr/core/clock"
)

// The first byte of a cache key: what the rest names.
const (
	userKey = 'u' // uid
	uriKey  = 'r' // did, NUL, user name
)

// entry is a set that was loaded.
type entry struct {
	set   *core.AttrSet
	until clock.Time
}

const cacheShards = 16

// cache remembers sets. Its size is bounded: a new entry takes the place of the
// one among a few whose time ends first.
type cache struct {
	seed   maphash.Seed
	limit  int // of a shard
	forgot atomic.Uint64
	shards [cacheShards]struct {
		sync.RWMutex
		m map[string]entry
	}
}

func newCache(size int) *cache {
	c := &cache{seed: maphash.MakeSeed(), limit: (size + cacheShards - 1) / cacheShards}
	c.flush()
	return c
}

// get returns the set of a key, or nil.
func (c *cache) get(key []byte, now clock.Time) *core.AttrSet {
	s := &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
	s.RLock()
	e := s.m[string(key)]
	s.RUnlock()
	if e.set == nil || !now.Before(e.until) {
		return nil
	}
	return e.set
}

// age changes whenever something is forgotten: what was read before that may
// be out of date and must not be remembered.
func (c *cache) age() uint64 { return c.forgot.Load() }

// put remembers what was read when the cache had an age.
func (c *cache) put(key string, e entry, age uint64) {
	if c.limit == 0 {
		return
	}
	s := &c.shards[maphash.String(c.seed, key)%cacheShards]
	s.Lock()
	defer s.Unlock()
	if c.age() != age {
		return
	}
	if _, ok := s.m[key]; !ok && len(s.m) >= c.limit {
		victim, first, n := "", clock.Time(0), 0
		for k, v := range s.m { // a map's order is random
			if n == 0 || v.until.Before(first) {
				victim, first = k, v.until
			}
			if n++; n == 8 {
				break
			}
		}
		delete(s.m, victim)
	}
	s.m[key] = e
}

// forget removes one key.
func (c *cache) forget(key string) int {
	c.forgot.Add(1)
	s := &c.shards[maphash.String(c.seed, key)%cacheShards]
	s.Lock()
	defer s.Unlock()
	if _, ok := s.m[key]; !ok {
		return 0
	}
	delete(s.m, key)
	return 1
}

// flush forgets everything and returns how much that was.
func (c *cache) flush() (n int) {
	c.forgot.Add(1)
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		n += len(s.m)
		s.m = map[string]entry{}
		s.Unlock()
	}
	return n
}
