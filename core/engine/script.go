package engine

import (
	"sync"
	"sync/atomic"
	"weak"

	"sipr/core"
	"sipr/lua"
)

// oldScripts is how many generations of the script are kept beside the present
// one, for the transactions that began on them.
const oldScripts = 2

// script is one generation of the routing script. A request points to it; when
// too many came after it, it lets go of the program and its Lua states, and what
// still points to it goes on with the present one.
type script struct {
	number  int64
	program atomic.Pointer[lua.Program] // nil: retired

	// held counts the transactions that belong to it. It is spread, since
	// every worker counts at every transaction.
	held [8]struct {
		n atomic.Int64
		_ [56]byte
	}

	told    atomic.Bool // that its transactions go on with another one
	mu      sync.Mutex
	missing map[string]bool // routes that other transactions asked it for
}

// scripts is the present generation and what is left of older ones. Those are
// not kept for their own sake: one that no transaction needs is collected.
type scripts struct {
	present atomic.Pointer[script]
	mu      sync.Mutex
	old     []weak.Pointer[script] // newest first
}

// load returns the present generation and its program.
func (l *scripts) load() (*script, *lua.Program) {
	for {
		s := l.present.Load()
		if p := s.program.Load(); p != nil {
			return s, p
		} // it was replaced and retired just now
	}
}

// replace makes p the present generation and retires what is too old.
func (l *scripts) replace(p *lua.Program) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &script{}
	next.program.Store(p)
	was := l.present.Load()
	if was == nil {
		next.number = 1
		l.present.Store(next)
		return
	}
	next.number = was.number + 1
	l.present.Store(next)
	old := []weak.Pointer[script]{weak.Make(was)}
	for _, w := range l.old {
		if s := w.Value(); s != nil {
			old = append(old, w)
		}
	}
	for i, w := range old {
		if s := w.Value(); i >= oldScripts && s != nil {
			s.program.Store(nil)
		}
	}
	l.old = old
}

// levels returns how many generations are in use, and how many transactions
// began on another one than the present and have not moved to it.
func (l *scripts) levels() (alive, old int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	alive = 1
	for _, w := range l.old {
		s := w.Value()
		if s == nil {
			continue
		}
		n := s.transactions()
		if n > 0 && s.program.Load() != nil {
			alive++
		}
		old += n
	}
	return alive, old
}

// count adds n to the transactions of s. The time of arrival spreads the
// counting: it stays the same as long as r lives.
func (s *script) count(r *core.Request, n int64) {
	s.held[uint64(r.Now)>>10%uint64(len(s.held))].n.Add(n)
}

func (s *script) transactions() (n int64) {
	for i := range s.held {
		n += s.held[i].n.Load()
	}
	return n
}

// move gives a request whose script is retired the present one, for good.
func (e *Engine) move(r *core.Request, from *script) (*script, *lua.Program) {
	to, p := e.scripts.load()
	if es := r.EngineState(); es.Counted {
		to.count(r, 1)
		from.count(r, -1)
	}
	r.Script = to
	e.stats.scriptMoved.Add(1)
	if from.told.CompareAndSwap(false, true) {
		e.log.Warn("transactions go on with the present script: theirs is too old", "generation", from.number, "present", to.number)
	}
	return to, p
}

// lacks notes that the program of s has no such route, which happens to
// transactions that began on another one; the log has it once.
func (e *Engine) lacks(s *script, route string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missing[route] {
		return
	}
	if s.missing == nil {
		s.missing = map[string]bool{}
	}
	s.missing[route] = true
	e.log.Warn("the present script lacks a route that an older one named: the default is done", "route", route, "generation", s.number)
}
