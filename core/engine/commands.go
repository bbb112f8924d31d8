package engine

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"sipr/core"
)

// commands are the commands under the names that operators know from Kamailio.
func (m *coreModule) commands() []core.Command {
	list := []core.Command{
		{Name: "version", Doc: "The version of the router.", Run: m.cmdVersion},
		{Name: "uptime", Doc: "Since when the router runs, and for how many seconds.", Run: m.cmdUptime},
		{Name: "ps", Doc: "What works in the process: its readers, helpers, timers and doors, each with a number and a description.", Run: m.cmdPs},
		{Name: "psx", Doc: "core.ps with a struct for each.", Run: m.cmdPsx},
		{Name: "info", Doc: "The process, its memory, script, modules and sockets.", Run: m.cmdInfo},
		{Name: "echo", Doc: "Answers with its parameters.", Args: "[text …]", Run: m.cmdEcho},
		{Name: "sockets_list", Doc: "The local sockets.", Run: m.cmdSockets},
		{Name: "aliases_list", Doc: "Further names of this router.", Run: m.cmdAliases},
		{Name: "tcp_info", Doc: "Counts stream connections, and shows their bounds.", Run: m.cmdTCPInfo},
		{Name: "tcp_list", Doc: "Open stream connections, at most 1000.", Run: m.cmdTCPList},
		{Name: "reload", Doc: "Reads the script, all data of modules and the certificates anew. Settings stay as they are.", Run: m.cmdReload},
		{Name: "log_level", Doc: "Shows or sets the log level; Kamailio's numbers -1 to 3 are taken too.", Args: "[error|warn|info|debug]", Run: m.cmdLogLevel},
		{Name: "kill", Doc: "Drains and stops the router, as SIGTERM does.", Run: m.cmdKill},
	}
	return slices.Concat(list, m.statsCommands(), m.cfgCommands(), m.tlsCommands(), m.dnsCommands())
}

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

func (m *coreModule) cmdInfo(_ context.Context, c *core.Call) error {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s := c.Struct()
	s.Add("version", m.e.opts.Version)
	s.Add("go", runtime.Version())
	s.Add("pid", int64(os.Getpid()))
	s.Add("goroutines", int64(runtime.NumGoroutine()))
	s.Add("processors", int64(runtime.GOMAXPROCS(0)))
	s.Add("requests_in_hand", m.e.running.Load())
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
	if len(c.Params) > 0 {
		level, err := parseLevel(c.String(0))
		if err != nil {
			return &core.Fault{Code: 400, Reason: err.Error()}
		}
		v.Set(level)
	}
	c.Add(levelName(v.Level()))
	return nil
}

func (m *coreModule) cmdKill(context.Context, *core.Call) error {
	if m.e.kill == nil {
		return &core.Fault{Code: 500, Reason: "this router cannot be stopped from here"}
	}
	go m.e.kill()
	return nil
}
