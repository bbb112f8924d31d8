package users

import (
	"hash/maphash"
	"sync"

	"sipr/core"
	"sipr/core/clock"
)

// entry is what is known of an address: its owner, or that there is none.
type entry struct {
	user User
	// set is attribute uid, ready to be published; nil if there is no user.
	set   *core.AttrSet
	until clock.Time
}

const cacheShards = 16

// cache remembers entries. Its size is bounded: a new entry takes the place of
// any other, expired ones first among a few.
type cache struct {
	seed   maphash.Seed
	limit  int // of a shard
	shards [cacheShards]struct {
		sync.RWMutex
		m map[string]*entry
	}
}

func newCache(size int) *cache {
	c := &cache{seed: maphash.MakeSeed(), limit: (size + cacheShards - 1) / cacheShards}
	c.flush()
	return c
}

func (c *cache) get(key []byte, now clock.Time) *entry {
	s := &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
	s.RLock()
	e := s.m[string(key)]
	s.RUnlock()
	if e == nil || !now.Before(e.until) {
		return nil
	}
	return e
}

// put remembers e, whose time runs until e.until.
func (c *cache) put(key string, e *entry) {
	if c.limit == 0 {
		return
	}
	s := &c.shards[maphash.String(c.seed, key)%cacheShards]
	s.Lock()
	defer s.Unlock()
	if _, ok := s.m[key]; !ok && len(s.m) >= c.limit {
		victim, oldest := "", clock.Time(0)
		n := 0
		for k, v := range s.m { // a map's order is random
			if n == 0 || v.until.Before(oldest) {
				victim, oldest = k, v.until
			}
			if n++; n == 8 {
				break
			}
		}
		delete(s.m, victim)
	}
	s.m[key] = e
}

// flush forgets everything and returns how much that was.
func (c *cache) flush() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		n += len(s.m)
		s.m = map[string]*entry{}
		s.Unlock()
	}
	return n
}
