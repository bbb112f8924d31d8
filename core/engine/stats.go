package engine

import (
	"sync"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// stats counts what the engine itself sees.
type stats struct {
	requests, responses, unframed, malformed, strayResponses *core.Counter
	scriptErrors, busy, waitTimeouts, undeliverable          *core.Counter
	scriptMoved, dropped                                     *core.Counter
}

func (s *stats) register(e *Engine) {
	for name, p := range map[string]**core.Counter{
		"requests": &s.requests, "responses": &s.responses, "unframed": &s.unframed, "malformed": &s.malformed,
		"stray_responses": &s.strayResponses, "script_errors": &s.scriptErrors, "busy": &s.busy,
		"wait_timeouts": &s.waitTimeouts, "undeliverable": &s.undeliverable,
		"script_moved": &s.scriptMoved, "dropped_responses": &s.dropped,
	} {
		*p = e.counter("core." + name)
	}
}

// errorLog lets the first of many equal errors through each second, so that a
// broken script does not flood the log.
type errorLog struct {
	mu   sync.Mutex
	seen map[string]*seenError
}

type seenError struct {
	at         clock.Time
	suppressed int
}

// first reports whether an error may be logged, and how many equal ones were
// kept back before.
func (l *errorLog) first(text string, now clock.Time) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[text]
	if s != nil && now.Sub(s.at) < time.Second {
		s.suppressed++
		return 0, false
	}
	if s == nil {
		if l.seen == nil || len(l.seen) > 1000 {
			l.seen = map[string]*seenError{}
		}
		s = &seenError{}
		l.seen[text] = s
	}
	n := s.suppressed
	s.at, s.suppressed = now, 0
	return n, true
}
