package engine

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"sipr/core"
)

// maxConnList bounds core.tcp_list.
const maxConnList = 1000

func protoName(p core.Proto) string { return strings.ToLower(p.String()) }

func (m *coreModule) cmdSockets(_ context.Context, c *core.Call) error {
	for _, k := range m.e.Sockets() {
		c.Struct().Add("proto", protoName(k.Proto)).Add("address", k.Addr.Addr().String()).
			Add("port", int64(k.Addr.Port())).Add("advertised", string(k.SentBy))
	}
	return nil
}

// cmdAliases answers with what the settings call further names, and not with
// those that modules add, such as the virtual domains: domain.dump shows them.
func (m *coreModule) cmdAliases(_ context.Context, c *core.Call) error {
	for _, a := range m.e.params.aliases {
		host, port := a, "*"
		if i := strings.LastIndexByte(a, ':'); i > strings.LastIndexByte(a, ']') {
			host, port = a[:i], a[i+1:]
		}
		c.Struct().Add("proto", "*").Add("address", host).Add("port", port)
	}
	return nil
}

func (m *coreModule) cmdTCPInfo(_ context.Context, c *core.Call) error {
	p, t := &m.e.params, m.e.transport
	var open, refused, queued int64
	if t != nil {
		open, refused = t.Stats.ConnsOpen.Load(), t.Stats.ConnsRefused.Load()
		for _, k := range t.Conns(p.maxConns) {
			queued += int64(k.Queued)
		}
	}
	c.Struct().Add("max_connections", int64(p.maxConns)).Add("max_connections_per_source", int64(p.maxConnsPerIP)).
		Add("opened_connections", open).Add("refused_connections", refused).Add("write_queued_bytes", queued).
		Add("lifetime", int64(p.connIdle/time.Second)).Add("connect_timeout", int64(p.connectTime/time.Second))
	return nil
}

func (m *coreModule) cmdTCPList(_ context.Context, c *core.Call) error {
	if m.e.transport == nil {
		return nil
	}
	for _, k := range m.e.transport.Conns(maxConnList) {
		c.Struct().Add("id", int64(k.ID)).Add("type", k.Proto.String()).Add("local", k.Local.String()).
			Add("remote", k.Remote.String()).Add("idle", int64(k.Idle/time.Second)).Add("write_queue", int64(k.Queued))
	}
	return nil
}

// process is core.ps as JSON doors show it.
type process struct {
	PID        int      `json:"pid"`
	Goroutines int      `json:"goroutines"`
	Processors int      `json:"processors"`
	States     int      `json:"script_states"`
	InHand     int64    `json:"requests_in_hand"`
	Workers    []worker `json:"workers"`
}

// worker is one thing that works. They are goroutines of one process, so their
// numbers are ours: they only tell one from the other.
type worker struct {
	PID         int    `json:"pid"`
	Description string `json:"description"`
}

func (m *coreModule) workers() (list []worker) {
	e := m.e
	add := func(format string, args ...any) {
		list = append(list, worker{len(list), fmt.Sprintf(format, args...)})
	}
	add("main process %d", os.Getpid())
	for _, k := range e.Sockets() {
		if k.Proto != core.UDP {
			add("%s listener %s", protoName(k.Proto), k.Addr)
			continue
		}
		n := e.params.udpReaders
		if n == 0 {
			n = runtime.GOMAXPROCS(0)
		}
		for i := range n {
			add("udp receiver %d %s", i, k.Addr)
		}
	}
	if t := e.transport; t != nil {
		for i := range t.Helpers() {
			add("helper %d", i)
		}
		if n := t.Stats.ConnsOpen.Load(); n > 0 {
			add("stream receivers of %d connections", n)
		}
	}
	for _, l := range e.loaded {
		for _, p := range l.every {
			add("timer %s every %s", l.spec.Name, p.d)
		}
	}
	for _, d := range e.openedDoors() {
		add("control %s", d.name)
	}
	return list
}

// cmdPs answers as Kamailio does: numbers and descriptions in turn.
func (m *coreModule) cmdPs(_ context.Context, c *core.Call) error {
	_, p := m.e.scripts.load()
	d := process{
		PID: os.Getpid(), Goroutines: runtime.NumGoroutine(), Processors: runtime.GOMAXPROCS(0),
		States: p.States(), InHand: m.e.running.Load(), Workers: m.workers(),
	}
	for _, w := range d.Workers {
		c.Add(int64(w.PID))
		c.Add(w.Description)
	}
	c.Data = d
	return nil
}

func (m *coreModule) cmdPsx(_ context.Context, c *core.Call) error {
	for _, w := range m.workers() {
		c.Struct().Add("IDX", int64(w.PID)).Add("PID", int64(os.Getpid())).Add("DSC", w.Description)
	}
	return nil
}
