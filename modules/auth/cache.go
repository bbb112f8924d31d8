package auth

import (
	"hash/maphash"
	"sync"
	"time"

	"sipr/core/clock"
)

// credential is what is known of a user name in a realm. It is immutable.
type credential struct {
	user, realm, uid, did string
	ha1                   [algorithms]string // in lower-case hex; empty if none
	// known is false for a user name that the database does not have.
	known  bool
	loaded clock.Time
}

const cacheShards = 16

// cache keeps credentials, and the news that there are none, for a while.
// Both kinds live in memory of their own, so that who invents user names
// cannot push real users out.
type cache struct {
	expire time.Duration
	max    [2]int // entries a shard: unknown, known
	seed   maphash.Seed
	shards [cacheShards]shard
}

type shard struct {
	sync.Mutex
	entries [2]map[string]*credential // unknown, known; by user, NUL, realm
}

func newCache(size int, expire time.Duration) *cache {
	c := &cache{expire: expire, seed: maphash.MakeSeed()}
	if size > 0 {
		c.max[1] = (size + cacheShards - 1) / cacheShards
		c.max[0] = (c.max[1] + 7) / 8
	}
	for i := range c.shards {
		for k := range c.shards[i].entries {
			c.shards[i].entries[k] = map[string]*credential{}
		}
	}
	return c
}

func (c *cache) shard(key []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
}

// get returns a credential that has not expired, or nil.
func (c *cache) get(key []byte, now clock.Time) *credential {
	s := c.shard(key)
	s.Lock()
	e := s.entries[1][string(key)]
	if e == nil {
		e = s.entries[0][string(key)]
	}
	s.Unlock()
	if e == nil || now.Sub(e.loaded) >= c.expire {
		return nil
	}
	return e
}

// put keeps a credential. Where there is no room, some other one goes.
func (c *cache) put(key []byte, e *credential) {
	kind := 0
	if e.known {
		kind = 1
	}
	if c.max[kind] == 0 {
		return
	}
	s := c.shard(key)
	s.Lock()
	defer s.Unlock()
	delete(s.entries[1-kind], string(key))
	m := s.entries[kind]
	if _, there := m[string(key)]; !there && len(m) >= c.max[kind] {
		for k := range m {
			delete(m, k)
			break
		}
	}
	m[string(key)] = e
}

// flush forgets a user in all realms, or everybody, and returns how many
// entries that were.
func (c *cache) flush(user string) int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		for _, m := range s.entries {
			for k, e := range m {
				if user == "" || e.user == user {
					delete(m, k)
					n++
				}
			}
		}
		s.Unlock()
	}
	return n
}

// size returns how many credentials and how many unknown names are kept.
func (c *cache) size() (known, unknown int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		unknown += len(s.entries[0])
		known += len(s.entries[1])
		s.Unlock()
	}
	return known, unknown
}
