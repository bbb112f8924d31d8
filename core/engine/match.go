package engine

import (
	"bytes"
	"regexp"
	"strings"
	"sync"

	"sipr/core"
)

// matcher is a compiled pattern of search_hf. An alternation of plain texts is
// searched for directly, which is many times faster than an expression.
type matcher struct {
	plain [][]byte
	re    *regexp.Regexp
}

func (m *matcher) match(b []byte) bool {
	if m.re != nil {
		return m.re.Match(b)
	}
	for _, p := range m.plain {
		if bytes.Contains(b, p) {
			return true
		}
	}
	return false
}

func compileMatcher(pattern string) (*matcher, error) {
	if !strings.ContainsAny(pattern, `\.+*?()[]{}^$`) {
		m := &matcher{}
		for _, p := range strings.Split(pattern, "|") {
			m.plain = append(m.plain, []byte(p))
		}
		return m, nil
	}
	re, err := regexp.Compile(pattern)
	return &matcher{re: re}, err
}

// matchers remembers what was compiled; a script has few patterns.
type matchers struct {
	mu sync.RWMutex
	m  map[string]*matcher
}

const maxMatchers = 10000

func (c *matchers) get(pattern string) (*matcher, error) {
	c.mu.RLock()
	m := c.m[pattern]
	c.mu.RUnlock()
	if m != nil {
		return m, nil
	}
	m, err := compileMatcher(pattern)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxMatchers {
		c.m = map[string]*matcher{}
	}
	c.m[pattern] = m
	return m, nil
}

func checkPattern(pattern string) error {
	_, err := compileMatcher(pattern)
	return err
}

func (m *coreModule) searchHF(r *core.Request, a *core.Args) core.Result {
	p, err := m.matchers.get(a.String(1))
	if err != nil {
		return core.Fail(err)
	}
	msg := r.Message()
	name := a.Value(0).Str
	for i := msg.Find(name, 0); i >= 0; i = msg.Find(name, i+1) {
		if p.match(msg.Value(i)) {
			return core.True
		}
	}
	return core.Is(false)
}

func (m *coreModule) search(_ *core.Request, a *core.Args) core.Result {
	p, err := m.matchers.get(a.String(1))
	if err != nil {
		return core.Fail(err)
	}
	return core.Is(p.match(a.Bytes(0)))
}
