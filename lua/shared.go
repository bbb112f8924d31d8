package lua

import (
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"

	"sipr/core"
	"sipr/core/clock"
)

// Shared is a table that all scripts share: texts and numbers by name, each
// with an expiry. It is bounded; at the bound the oldest entries go.
type Shared struct {
	clock clock.Clock
	max   int

	mu      sync.Mutex
	entries map[string]sharedEntry
}

type sharedEntry struct {
	v       core.Value
	expires clock.Time // 0: never
}

// NewShared returns an empty table for at most max entries.
func NewShared(c clock.Clock, max int) *Shared {
	return &Shared{clock: c, max: max, entries: map[string]sharedEntry{}}
}

func (s *Shared) get(key string) core.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	if !ok {
		return core.Value{}
	}
	if e.expires != 0 && e.expires <= s.clock.Now() {
		delete(s.entries, key)
		return core.Value{}
	}
	return e.v
}

func (s *Shared) set(key string, v core.Value, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(key, v, ttl)
}

// store needs s.mu.
func (s *Shared) store(key string, v core.Value, ttl time.Duration) {
	if v.Kind == core.KindNil {
		delete(s.entries, key)
		return
	}
	now := s.clock.Now()
	if _, there := s.entries[key]; !there && len(s.entries) >= s.max {
		s.evict(now)
	}
	e := sharedEntry{v: v}
	if ttl > 0 {
		e.expires = now.Add(ttl)
	}
	s.entries[key] = e
}

// evict drops what has expired among some entries, or else any of them.
func (s *Shared) evict(now clock.Time) {
	looked := 0
	var any string
	for k, e := range s.entries {
		any = k
		if e.expires != 0 && e.expires <= now {
			delete(s.entries, k)
			return
		}
		if looked++; looked == 64 {
			break
		}
	}
	delete(s.entries, any)
}

func (s *Shared) add(key string, n int64, ttl time.Duration) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	now := s.clock.Now()
	if !ok || e.expires != 0 && e.expires <= now {
		s.store(key, core.IntValue(n), ttl)
		return n
	}
	old, _ := e.v.Int()
	e.v = core.IntValue(old + n)
	s.entries[key] = e
	return old + n
}

// bindShared makes shared.get(key), shared.set(key, value, seconds) and
// shared.add(key, n, seconds) callable.
func (st *state) bindShared() {
	s := st.p.binding.Shared
	if s == nil {
		return
	}
	L := st.L
	t := L.NewTable()
	ttl := func(L *glua.LState, i int) time.Duration {
		return time.Duration(float64(L.OptNumber(i, 0)) * float64(time.Second))
	}
	t.RawSetString("get", L.NewFunction(func(L *glua.LState) int {
		L.Push(st.value(s.get(L.CheckString(1))))
		return 1
	}))
	t.RawSetString("set", L.NewFunction(func(L *glua.LState) int {
		v, ok := toValue(L.Get(2))
		if !ok {
			st.raise("shared.set: a text, a number, a boolean or nil is expected, not a %s", L.Get(2).Type())
		}
		s.set(L.CheckString(1), v, ttl(L, 3))
		return 0
	}))
	t.RawSetString("add", L.NewFunction(func(L *glua.LState) int {
		L.Push(st.int(s.add(L.CheckString(1), L.OptInt64(2, 1), ttl(L, 3))))
		return 1
	}))
	L.SetGlobal("shared", t)
}
