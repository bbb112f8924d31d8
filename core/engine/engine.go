// Package engine makes a running router of settings: it loads modules by name,
// orders, configures and starts them, hands every message to the hooks and to
// the script, reloads, drains and stops.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/control"
	"sipr/core/resolve"
	"sipr/core/transport"
	"sipr/lua"
)

// Options are what an Engine is made of beside its settings.
type Options struct {
	// Modules constructs the modules that settings may load.
	Modules []func() core.Module
	Clock   clock.Clock
	Log     *slog.Logger
	// Level, if set, is what the parameter and the command log_level change.
	Level *slog.LevelVar
	// Version is what core.version reports.
	Version string
	// Network, if set, takes the place of the sockets: whoever made it calls
	// Handle with each message.
	Network core.Network
}

// Engine is one router.
type Engine struct {
	opts     Options
	settings *lua.Settings
	log      *slog.Logger
	clock    clock.Clock
	params   coreParams
	loaded   []*loaded          // in the order of their starts
	byName   map[string]*loaded // also by the names whose place they take
	binding  *lua.Binding
	scripts  scripts
	hooks    hooks

	transport *transport.Transport
	network   core.Network
	resolver  *resolve.Resolver
	control   *control.Table
	doors     []door // in the order in which they were opened
	tagKey    macKey
	branchKey macKey
	secret    [32]byte

	stats    stats
	errors   errorLog
	started  clock.Time
	draining atomic.Bool
	running  atomic.Int64 // requests in hand

	reload   sync.Mutex
	cfg      sync.Mutex // held while a parameter changes
	mu       sync.Mutex
	shared   []sharedThing
	counters map[string]*core.Counter
	kill     func()
}

type sharedThing struct {
	key string
	c   io.Closer
}

// loaded is one module in use.
type loaded struct {
	e      *Engine
	module core.Module
	spec   core.Spec
	pos    lua.Pos
	cancel context.CancelFunc
	every  []periodic
	wg     sync.WaitGroup
	done   bool // started
}

type periodic struct {
	d time.Duration
	f func(context.Context)
}

type hooks struct {
	request  []func(*core.Request) bool
	response []func(*core.Response) bool
	hold     []func(*core.Request)
	final    []func(*core.FinalEvent)
	myself   []func([]byte) bool
}

// New reads nothing but the settings it is given: it loads and configures the
// modules and compiles the script, without opening, writing or sending
// anything. Its errors name file and line.
func New(settings *lua.Settings, opts Options) (*Engine, error) {
	e := &Engine{
		opts: opts, settings: settings, log: opts.Log, clock: opts.Clock,
		byName: map[string]*loaded{}, counters: map[string]*core.Counter{},
		control: control.NewTable(), network: opts.Network,
	}
	e.params.defaults()
	e.stats.register(e)
	if err := e.loadModules(); err != nil {
		return nil, err
	}
	if err := e.setParams(); err != nil {
		return nil, err
	}
	dns := e.params.dns.config()
	dns.Clock, dns.Supports = opts.Clock, e.supports
	e.resolver = resolve.New(dns)
	if err := e.sortModules(); err != nil {
		return nil, err
	}
	if err := e.configure(); err != nil {
		return nil, err
	}
	if _, err := e.listens(); err != nil {
		return nil, err
	}
	p, err := e.compile()
	if err != nil {
		return nil, err
	}
	e.scripts.replace(p)
	return e, nil
}

// Start opens everything and begins to serve. If anything fails, what was
// done is undone, and the error says what failed.
func (e *Engine) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			err = errors.Join(err, e.close(stop))
		}
	}()
	e.started = e.clock.Now()
	if err := e.loadSecret(); err != nil {
		return err
	}
	if e.network == nil {
		if err := e.openTransport(); err != nil {
			return err
		}
	}
	if err := e.dropRoot(); err != nil {
		return err
	}
	for _, l := range e.loaded {
		if s, ok := l.module.(core.Starter); ok {
			if err := s.Start(ctx); err != nil {
				return l.pos.Errorf("module %s: %s", l.spec.Name, err)
			}
		}
		l.done = true
		l.startPeriodic()
	}
	if err := e.openDoors(); err != nil {
		return err
	}
	if e.transport != nil {
		e.transport.Serve(e)
	}
	return nil
}

func (l *loaded) startPeriodic() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	virtual, _ := l.e.clock.(interface {
		Every(d time.Duration, f func()) (stop func())
	})
	for _, p := range l.every {
		if virtual != nil { // in step with the test that moves the clock
			stop := virtual.Every(p.d, func() { p.f(ctx) })
			context.AfterFunc(ctx, stop)
			continue
		}
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			for {
				wake := make(chan struct{})
				stop := l.e.clock.AfterFunc(p.d, func() { close(wake) })
				select {
				case <-wake:
					p.f(ctx)
				case <-ctx.Done():
					stop()
					return
				}
			}
		}()
	}
}

// Stop drains and stops the router: requests outside dialogs are refused, what
// is under way goes on until it ends or ctx does.
func (e *Engine) Stop(ctx context.Context) error {
	e.draining.Store(true)
	e.drain(ctx)
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return e.close(stop)
}

// drain waits until nothing is under way.
func (e *Engine) drain(ctx context.Context) {
	busy := func() bool { return e.running.Load() > 0 || e.level("tm.pending") > 0 }
	lingering := busy()
	for busy() || lingering {
		pause := 20 * time.Millisecond
		if lingering && !busy() { // the ACK of a call that was just answered
			lingering, pause = false, 500*time.Millisecond
		}
		wake := make(chan struct{})
		stop := e.clock.AfterFunc(pause, func() { close(wake) })
		select {
		case <-wake:
		case <-ctx.Done():
			stop()
			return
		}
	}
}

func (e *Engine) level(name string) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.counters[name]; c != nil {
		return c.Load()
	}
	return 0
}

// close undoes Start in the reverse order.
func (e *Engine) close(ctx context.Context) error {
	var errs []error
	errs = append(errs, e.closeDoors(ctx))
	if e.transport != nil {
		errs = append(errs, e.transport.Close(ctx))
	}
	e.resolver.Close()
	for i := len(e.loaded) - 1; i >= 0; i-- {
		l := e.loaded[i]
		if l.cancel != nil {
			l.cancel()
			l.wg.Wait()
			l.cancel = nil
		}
		if s, ok := l.module.(core.Stopper); ok && l.done {
			if err := s.Stop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("module %s: %w", l.spec.Name, err))
			}
		}
		l.done = false
	}
	e.mu.Lock()
	shared := e.shared
	e.shared = nil
	e.mu.Unlock()
	for i := len(shared) - 1; i >= 0; i-- {
		errs = append(errs, shared[i].c.Close())
	}
	return errors.Join(errs...)
}

// Reload reads the script and every module's data anew. What fails keeps what
// it had; the errors are joined.
func (e *Engine) Reload(ctx context.Context) error {
	e.reload.Lock() // an older script must not come after a newer one
	defer e.reload.Unlock()
	var errs []error
	p, err := e.compile()
	if err != nil {
		errs = append(errs, fmt.Errorf("the old script stays: %w", err))
	} else {
		e.scripts.replace(p)
	}
	if err := e.reloadTLS(); err != nil {
		errs = append(errs, err)
	}
	for _, l := range e.loaded {
		if r, ok := l.module.(core.Reloader); ok && l.done {
			if err := r.Reload(ctx); err != nil {
				errs = append(errs, fmt.Errorf("module %s keeps its old data: %w", l.spec.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// DrainTime is how long a stop should wait for what is under way.
func (e *Engine) DrainTime() time.Duration { return e.params.drainTime }

// Modules returns the names of the loaded modules in the order of their starts.
func (e *Engine) Modules() []string {
	var names []string
	for _, l := range e.loaded {
		names = append(names, l.spec.Name)
	}
	return names
}

// Sockets returns the local sockets; empty before Start.
func (e *Engine) Sockets() []*core.Socket {
	if e.network == nil {
		return nil
	}
	return e.network.Sockets()
}

// Commands returns the table of management commands.
func (e *Engine) Commands() *control.Table { return e.control }

// OnKill registers what core.kill calls.
func (e *Engine) OnKill(f func()) { e.kill = f }
