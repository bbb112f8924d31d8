package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sort"
	"strings"
	"time"

	"sipr/core"
)

func (m *coreModule) cmdVersion(_ context.Context, c *core.Call) error {
	c.Add("sipr " + m.e.opts.Version)
	return nil
}

func (m *coreModule) cmdUptime(_ context.Context, c *core.Call) error {
	now := m.e.clock.Now()
	s := c.Struct()
	s.Add("now", now.Std().Format(time.ANSIC))
	s.Add("up_since", m.e.started.Std().Format(time.ANSIC))
	s.Add("uptime", int64(now.Sub(m.e.started)/time.Second))
	return nil
}

func (m *coreModule) cmdPs(_ context.Context, c *core.Call) error {
	_, p := m.e.scripts.load()
	s := c.Struct()
	s.Add("pid", int64(os.Getpid()))
	s.Add("goroutines", int64(runtime.NumGoroutine()))
	s.Add("processors", int64(runtime.GOMAXPROCS(0)))
	s.Add("script_states", int64(p.States()))
	s.Add("requests_in_hand", m.e.running.Load())
	return nil
}

func (m *coreModule) cmdInfo(_ context.Context, c *core.Call) error {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s := c.Struct()
	s.Add("version", m.e.opts.Version)
	s.Add("go", runtime.Version())
	present, p := m.e.scripts.load()
	alive, old := m.e.scripts.levels()
	s.Add("script", p.File)
	s.Add("script_generation", present.number)
	s.Add("script_generations", alive)
	s.Add("script_old_transactions", old)
	s.Add("heap", int64(mem.HeapAlloc))
	s.Add("mallocs", int64(mem.Mallocs))
	s.Add("gc_runs", int64(mem.NumGC))
	for _, n := range m.e.Modules() {
		s.Add("module", n)
	}
	for _, k := range m.e.Sockets() {
		s.Add("listen", strings.ToLower(k.Proto.String())+":"+k.Addr.String())
	}
	return nil
}

func (m *coreModule) cmdEcho(_ context.Context, c *core.Call) error {
	for _, p := range c.Params {
		c.Add(p)
	}
	return nil
}

func (m *coreModule) cmdSockets(_ context.Context, c *core.Call) error {
	for _, k := range m.e.Sockets() {
		c.Struct().Add("proto", strings.ToLower(k.Proto.String())).Add("address", k.Addr.Addr().String()).
			Add("port", int64(k.Addr.Port())).Add("advertised", string(k.SentBy))
	}
	return nil
}

func (m *coreModule) cmdTCPList(_ context.Context, c *core.Call) error {
	if m.e.transport == nil {
		return nil
	}
	for _, k := range m.e.transport.Conns(1000) {
		c.Struct().Add("id", int64(k.ID)).Add("type", k.Proto.String()).Add("local", k.Local.String()).
			Add("remote", k.Remote.String()).Add("write_queue", int64(k.Queued))
	}
	return nil
}

func (m *coreModule) cmdStats(_ context.Context, c *core.Call) error {
	prefix := c.String(0)
	e := m.e
	values := map[string]int64{}
	e.mu.Lock()
	for n, v := range e.counters {
		values[n] = v.Load()
	}
	e.mu.Unlock()
	values["core.script_generations"], values["core.script_old_transactions"] = e.scripts.levels()
	if t := e.transport; t != nil {
		for n, v := range map[string]*core.Counter{"received": &t.Stats.Received, "sent": &t.Stats.Sent, "send_errors": &t.Stats.SendErrors,
			"connections": &t.Stats.ConnsOpen, "connections_refused": &t.Stats.ConnsRefused, "queue_full": &t.Stats.QueueFull} {
			values["transport."+n] = v.Load()
		}
	}
	var names []string
	for n := range values {
		if strings.HasPrefix(n, prefix) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	s := c.Struct()
	for _, n := range names {
		s.Add(n, values[n])
	}
	return nil
}

func (m *coreModule) cmdReload(ctx context.Context, _ *core.Call) error {
	if err := m.e.Reload(ctx); err != nil {
		return &core.Fault{Code: 500, Reason: err.Error()}
	}
	return nil
}

func (m *coreModule) cmdLogLevel(_ context.Context, c *core.Call) error {
	v := m.e.opts.Level
	if v == nil {
		return &core.Fault{Code: 500, Reason: "the log level cannot be changed"}
	}
	if name := c.String(0); name != "" {
		var level slog.Level
		if err := level.UnmarshalText([]byte(name)); err != nil {
			return &core.Fault{Code: 400, Reason: fmt.Sprintf("%q is no log level: debug, info, warn and error are", name)}
		}
		v.Set(level)
	}
	c.Add(strings.ToLower(v.Level().String()))
	return nil
}

func (m *coreModule) cmdKill(context.Context, *core.Call) error {
	if m.e.kill == nil {
		return &core.Fault{Code: 500, Reason: "this router cannot be stopped from here"}
	}
	go m.e.kill()
	return nil
}
