package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// host is the core.Host of one module.
type host struct{ l *loaded }

func (h *host) Clock() clock.Clock    { return h.l.e.clock }
func (h *host) Log() *slog.Logger     { return h.l.e.log.With("module", h.l.spec.Name) }
func (h *host) Network() core.Network { return lateNetwork{h.l.e} }
func (h *host) Path(n string) string  { return h.l.e.path(n) }
func (h *host) Draining() bool        { return h.l.e.draining.Load() }

func (h *host) DBURL(url string) string {
	if url == "" {
		return h.l.e.params.dbURL
	}
	return url
}

func (h *host) Secret(purpose string) (out [32]byte) {
	mac := hmac.New(sha256.New, h.l.e.secret[:])
	mac.Write([]byte(purpose))
	mac.Sum(out[:0])
	return out
}

func (h *host) Shared(key string, open func() (io.Closer, error)) (io.Closer, error) {
	e := h.l.e
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.shared {
		if s.key == key {
			return s.c, nil
		}
	}
	c, err := open()
	if err == nil {
		e.shared = append(e.shared, sharedThing{key, c})
	}
	return c, err
}

func (h *host) Module(name string) (core.Module, error) {
	spec := &h.l.spec
	if !slices.Contains(spec.Needs, name) && !slices.Contains(spec.Wants, name) {
		return nil, fmt.Errorf("module %s binds %s, which its Spec does not name", spec.Name, name)
	}
	l := h.l.e.byName[name]
	if l == nil {
		return nil, fmt.Errorf("module %s is not loaded", name)
	}
	return l.module, nil
}

func (h *host) Loaded(name string) bool { return h.l.e.byName[name] != nil }

func (h *host) Every(d time.Duration, f func(context.Context)) {
	h.l.every = append(h.l.every, periodic{d, f})
}

func (h *host) Counter(name string) *core.Counter {
	return h.l.e.counter(h.l.spec.Name + "." + name)
}

func (e *Engine) counter(name string) *core.Counter {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.counters[name]
	if c == nil {
		c = new(core.Counter)
		e.counters[name] = c
	}
	return c
}

func (h *host) OnRequest(f func(*core.Request) bool) {
	h.l.e.hooks.request = append(h.l.e.hooks.request, f)
}
func (h *host) OnResponse(f func(*core.Response) bool) {
	h.l.e.hooks.response = append(h.l.e.hooks.response, f)
}
func (h *host) OnHold(f func(*core.Request))     { h.l.e.hooks.hold = append(h.l.e.hooks.hold, f) }
func (h *host) OnFinal(f func(*core.FinalEvent)) { h.l.e.hooks.final = append(h.l.e.hooks.final, f) }
func (h *host) AddMyself(f func([]byte) bool)    { h.l.e.hooks.myself = append(h.l.e.hooks.myself, f) }

// path makes a name of the settings absolute.
func (e *Engine) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(e.settings.File), name)
}
