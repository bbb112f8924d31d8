package registrar

import (
	"bytes"
	"context"
	"hash/maphash"
	"sync"

	"sipr/core"
	"sipr/core/clock"
)

// change decides what becomes of an AoR's bindings. decide gets the present
// ones, expired ones included, and returns those that shall be; changed is
// false if there is nothing to write. It runs alone for the AoR, must be quick,
// and must not alter now.
type change interface {
	decide(now []binding) (next []binding, changed bool, err error)
}

// store holds the bindings. All that the registrar knows of them goes through
// it, so that a location service that several routers share can take its place.
type store interface {
	// read returns the bindings of an AoR, which must not be altered; some may
	// have expired.
	read(key []byte) []binding
	// change has c decide and makes the result durable, then visible. After
	// an error nothing has become visible, unless the error is ctx's: then the
	// outcome is unknown.
	change(ctx context.Context, key []byte, c change) error
	// watch calls f after each change has become visible. f must not block.
	// It may be called before the first change only.
	watch(f func(key string, now []binding))
}

// shards is how many parts the memory has, each with its own lock.
const shards = 64

// record is an AoR.
type record struct {
	list []binding
	// turn is set while somebody writes the AoR to the database.
	turn *turn
}

type shard struct {
	mu sync.RWMutex
	m  map[string]*record
}

// memory is the store without a database, and the memory of the one with it.
type memory struct {
	seed     maphash.Seed
	shards   [shards]shard
	aors     *core.Counter
	contacts *core.Counter
	watchers []func(key string, now []binding)
}

var _ store = (*memory)(nil)

func newMemory() *memory {
	s := &memory{seed: maphash.MakeSeed(), aors: new(core.Counter), contacts: new(core.Counter)}
	for i := range s.shards {
		s.shards[i].m = map[string]*record{}
	}
	return s
}

// appendAoR appends the key of an AoR: the domain's id, NUL, the user.
func appendAoR[A, B ~string | ~[]byte](dst []byte, did A, user B) []byte {
	return append(append(append(dst, did...), 0), user...)
}

// splitAoR splits a key. Neither part holds a NUL.
func splitAoR(key string) (did, user string) {
	for i := 0; i < len(key); i++ {
		if key[i] == 0 {
			return key[:i], key[i+1:]
		}
	}
	return key, ""
}

func (s *memory) shard(key []byte) *shard {
	return &s.shards[maphash.Bytes(s.seed, key)%shards]
}

func (s *memory) read(key []byte) []binding {
	sh := s.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if rec := sh.m[string(key)]; rec != nil {
		return rec.list
	}
	return nil
}

func (s *memory) change(_ context.Context, key []byte, c change) error {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rec := sh.m[string(key)]
	var old []binding
	if rec != nil {
		old = rec.list
	}
	next, changed, err := c.decide(old)
	if err != nil || !changed {
		return err
	}
	if rec == nil {
		rec = new(record)
		sh.m[string(key)] = rec
	}
	s.set(sh, key, rec, next)
	return nil
}

// set publishes a list; the shard is locked.
func (s *memory) set(sh *shard, key []byte, rec *record, next []binding) {
	s.contacts.Add(int64(len(next) - len(rec.list)))
	switch {
	case len(rec.list) == 0 && len(next) > 0:
		s.aors.Add(1)
	case len(rec.list) > 0 && len(next) == 0:
		s.aors.Add(-1)
	}
	rec.list = next
	s.tidy(sh, key, rec)
	for _, f := range s.watchers {
		f(string(key), next)
	}
}

// tidy forgets a record that holds nothing; the shard is locked.
func (s *memory) tidy(sh *shard, key []byte, rec *record) {
	if len(rec.list) == 0 && rec.turn == nil {
		delete(sh.m, string(key))
	}
}

func (s *memory) watch(f func(key string, now []binding)) { s.watchers = append(s.watchers, f) }

// insert adds a binding while the memory is being loaded. Of two rows for one
// contact, which a commit with an unknown outcome may leave, the later counts.
func (s *memory) insert(key []byte, b binding) {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rec := sh.m[string(key)]
	if rec == nil {
		rec = new(record)
		sh.m[string(key)] = rec
		s.aors.Add(1)
	}
	for i := range rec.list {
		if bytes.Equal(rec.list[i].get(fContact), b.get(fContact)) {
			if b.modified >= rec.list[i].modified {
				rec.list[i] = b
			}
			return
		}
	}
	list := make([]binding, len(rec.list)+1)
	list[copy(list, rec.list)] = b
	rec.list = list
	s.contacts.Add(1)
}

// sweep takes expired bindings out of shard i and returns how many there were.
// AoRs that are being written are left for the next time.
func (s *memory) sweep(i int, now clock.Time) (n int) {
	sh := &s.shards[i]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for key, rec := range sh.m {
		dead := 0
		for j := range rec.list {
			if !rec.list[j].live(now) {
				dead++
			}
		}
		if dead == 0 || rec.turn != nil {
			continue
		}
		n += dead
		var next []binding
		if dead < len(rec.list) {
			next = living(make([]binding, 0, len(rec.list)-dead), rec.list, now)
		}
		s.set(sh, []byte(key), rec, next)
	}
	return n
}

// living appends the bindings that have not expired.
func living(dst, list []binding, now clock.Time) []binding {
	for i := range list {
		if list[i].live(now) {
			dst = append(dst, list[i])
		}
	}
	return dst
}

// unchanged tells whether b is what old was, and needs no write.
func (b *binding) unchanged(old *binding) bool {
	return b.expires == old.expires && b.cseq == old.cseq && b.q == old.q && b.modified == old.modified &&
		b.regID == old.regID && b.conn == old.conn && b.port == old.port && b.addr == old.addr &&
		b.socket == old.socket && bytes.Equal(b.text, old.text)
}

// byRUID returns the binding of list that has b's row, or nil.
func (b *binding) byRUID(list []binding) *binding {
	for i := range list {
		if bytes.Equal(list[i].get(fRUID), b.get(fRUID)) {
			return &list[i]
		}
	}
	return nil
}
