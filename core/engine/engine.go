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
	"net"
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
	// Level, if set, is what core.log_level changes.
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
	program  atomic.Pointer[lua.Program]
	hooks    hooks

	transport *transport.Transport
	network   core.Network
	resolver  *resolve.Resolver
	control   *control.Table
	unix      *control.Unix
	fifo      *control.FIFO
	tagKey    macKey
	branchKey macKey
	secret    [32]byte

	stats    stats
	errors   errorLog
	started  clock.Time
	draining atomic.Bool
	running  atomic.Int64 // requests in hand
	serving  chan struct{}

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
		serving: make(chan struct{}), control: control.NewTable(), network: opts.Network,
	}
	e.params.defaults()
	e.stats.register(e)
	e.resolver = resolve.New(opts.Clock, net.DefaultResolver)
	if err := e.loadModules(); err != nil {
		return nil, err
	}
	if err := e.setParams(); err != nil {
		return nil, err
	}
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
	e.program.Store(p)
	return e, nil
}

// loadModules makes a value of each module that the settings name, and of the
// engine's own.
func (e *Engine) loadModules() error {
	known := map[string]func() core.Module{}
	var names []string
	for _, f := range e.opts.Modules {
		spec := f().Describe()
		for _, n := range append([]string{spec.Name}, spec.Also...) {
			known[n] = f
			names = append(names, n)
		}
	}
	own := &coreModule{e: e}
	if err := e.add(own, own.Describe(), lua.Pos{}); err != nil {
		return err
	}
	for _, s := range e.settings.Modules {
		if e.byName[s.Name] != nil {
			continue // named twice, or a part of one that is there
		}
		f := known[s.Name]
		if f == nil {
			return s.Errorf("there is no module %s%s", s.Name, lua.Suggest(s.Name, names))
		}
		m := f()
		if err := e.add(m, m.Describe(), s.Pos); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) add(m core.Module, spec core.Spec, pos lua.Pos) error {
	l := &loaded{e: e, module: m, spec: spec, pos: pos}
	e.loaded = append(e.loaded, l)
	for _, n := range append([]string{spec.Name}, spec.Also...) {
		e.byName[n] = l
	}
	return nil
}

// setParams gives every modparam to its module.
func (e *Engine) setParams() error {
	for _, s := range e.settings.Params {
		l := e.byName[s.Module]
		if l == nil {
			return s.Errorf("modparam: module %s is not loaded; loadmodule %q comes first", s.Module, s.Module)
		}
		var p *core.Param
		var names []string
		for i := range l.spec.Params {
			names = append(names, l.spec.Params[i].Name)
			if l.spec.Params[i].Name == s.Name {
				p = &l.spec.Params[i]
			}
		}
		if p == nil {
			return s.Errorf("module %s has no parameter %s%s", l.spec.Name, s.Name, lua.Suggest(s.Name, names))
		}
		if err := p.Set(s.Value); err != nil {
			return s.Errorf("%s: %s", s.Name, err)
		}
	}
	return nil
}

// sortModules orders the modules so that each comes after what it needs and
// wants.
func (e *Engine) sortModules() error {
	var order []*loaded
	state := map[*loaded]int{} // 1: being placed, 2: placed
	var place func(l *loaded) error
	place = func(l *loaded) error {
		switch state[l] {
		case 1:
			return l.pos.Errorf("modules need each other in a circle through %s", l.spec.Name)
		case 2:
			return nil
		}
		state[l] = 1
		for _, n := range l.spec.Needs {
			dep := e.byName[n]
			if dep == nil {
				return l.pos.Errorf("module %s needs module %s: add loadmodule %q", l.spec.Name, n, n)
			}
			if err := place(dep); err != nil {
				return err
			}
		}
		for _, n := range l.spec.Wants {
			if dep := e.byName[n]; dep != nil && state[dep] != 1 {
				if err := place(dep); err != nil {
					return err
				}
			}
		}
		state[l] = 2
		order = append(order, l)
		return nil
	}
	for _, l := range e.loaded {
		if err := place(l); err != nil {
			return err
		}
	}
	e.loaded = order
	return nil
}

func (e *Engine) configure() error {
	e.binding = lua.NewBinding()
	e.binding.Shared = lua.NewShared(e.clock, e.params.sharedEntries)
	e.binding.Log = func(line string) { e.log.Info("script", "line", line) }
	for _, l := range e.loaded {
		if c, ok := l.module.(core.Configurer); ok {
			if err := c.Configure(&host{l}); err != nil {
				return l.pos.Errorf("module %s: %s", l.spec.Name, err)
			}
		}
		if err := e.binding.Add(l.spec.Name, l.spec.Exports); err != nil {
			return l.pos.Errorf("%s", err)
		}
		for _, c := range l.spec.Commands {
			if err := e.control.Add(l.spec.Name, c); err != nil {
				return l.pos.Errorf("%s", err)
			}
		}
	}
	return e.aliasCommands()
}

// aliasCommands makes the registrar's commands known under Kamailio's ul too.
func (e *Engine) aliasCommands() error {
	l := e.byName["registrar"]
	if l == nil {
		return nil
	}
	for _, c := range l.spec.Commands {
		if err := e.control.Add("ul", c); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) compile() (*lua.Program, error) {
	s := e.settings
	if s.Route == "" {
		return nil, fmt.Errorf("%s: there is no routing script: add route \"route.lua\"", s.File)
	}
	p, err := lua.Compile(e.path(s.Route), e.binding, lua.Options{Budget: e.params.budget, MaxStates: e.params.maxScripts})
	var pos *lua.Error
	if err != nil && !errors.As(err, &pos) {
		return nil, s.RoutePos.Errorf("route: %s", err)
	}
	return p, err
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
	close(e.serving)
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
	if e.unix != nil {
		errs = append(errs, e.unix.Close(ctx))
		e.unix = nil
	}
	if e.fifo != nil {
		errs = append(errs, e.fifo.Close(ctx))
		e.fifo = nil
	}
	if e.transport != nil {
		errs = append(errs, e.transport.Close(ctx))
	}
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
	var errs []error
	p, err := e.compile()
	if err != nil {
		errs = append(errs, fmt.Errorf("the old script stays: %w", err))
	} else {
		e.program.Store(p)
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
