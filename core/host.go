package core

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// Response is a received response that is being handled.
type Response struct {
	Msg  *sipmsg.Message
	Flow Flow
	Now  clock.Time
	Out  Sender
}

// Host is what the engine gives a module when it configures it.
type Host interface {
	Clock() clock.Clock
	// Log returns a logger that names the module.
	Log() *slog.Logger
	// Network is the transport layer; its sockets are open before the first
	// module starts and deliver messages after the last one has started.
	Network() Network
	// Path makes a file name of the settings absolute: relative ones are
	// relative to the settings file.
	Path(name string) string
	// DBURL returns url, or core's db_url if url is empty.
	DBURL(url string) string
	// Secret returns 32 bytes that belong to a purpose: the same after a
	// restart, and on every node that shares core's secret parameter. Call it
	// in Start or later.
	Secret(purpose string) [32]byte
	// Shared returns the one value that belongs to key, such as a database
	// by its URL; the first caller opens it, the engine closes it after the
	// last module has stopped.
	Shared(key string, open func() (io.Closer, error)) (io.Closer, error)
	// Module returns another module; see Bind.
	Module(name string) (Module, error)
	// Loaded tells whether a module is loaded.
	Loaded(name string) bool
	// Every calls f every d, never twice at once, from the module's start to
	// its stop. f may block.
	Every(d time.Duration, f func(context.Context))
	// Counter returns the statistic of that name, "module.name" at the doors.
	Counter(name string) *Counter

	// OnRequest registers a hook that sees every request before the script;
	// true says that it has handled it.
	OnRequest(f func(r *Request) bool)
	// OnResponse registers a hook that sees every response first; true says
	// that it has handled it.
	OnResponse(f func(r *Response) bool)
	// OnHold registers what makes a transaction for a request that is about
	// to wait.
	OnHold(f func(r *Request))
	// OnFinal registers an observer of final responses to server
	// transactions. It must not block.
	OnFinal(f func(e *FinalEvent))
	// AddMyself registers a test for host names that are the router's own.
	AddMyself(f func(host []byte) bool)
	// Draining tells whether the router is about to stop.
	Draining() bool
}

// Counter is a statistic that only grows, or a level that also falls.
type Counter struct {
	atomic.Int64
	level atomic.Bool
}

// Level declares that the counter is a level, which a reset of the statistics
// leaves alone, and returns it.
func (c *Counter) Level() *Counter {
	c.level.Store(true)
	return c
}

// Reset makes a counter begin at 0 again; a level stays as it is.
func (c *Counter) Reset() {
	if !c.level.Load() {
		c.Store(0)
	}
}

// Bind returns module name as the interface that it exports. It fails unless
// the binding module's Spec names it in Needs or Wants.
func Bind[T any](h Host, name string) (T, error) {
	var zero T
	m, err := h.Module(name)
	if err != nil {
		return zero, err
	}
	api, ok := m.(T)
	if !ok {
		return zero, fmt.Errorf("module %s does not offer %T", name, (*T)(nil))
	}
	return api, nil
}
