// Package sim runs a whole router on a virtual network in virtual time: a test
// sends text from an address, moves the clock, and reads what went where.
package sim

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/engine"
	"sipr/core/sipmsg"
	"sipr/core/transport"
	"sipr/lua"
)

// Packet is one message that the router has sent.
type Packet struct {
	At   time.Duration // since the start of the simulation
	Flow core.Flow
	Text string
}

// To returns where the packet went, such as "192.0.2.1:5060".
func (p Packet) To() string { return p.Flow.Remote.String() }

// Line returns the first line.
func (p Packet) Line() string { line, _, _ := strings.Cut(p.Text, "\r\n"); return line }

// Network is a core.Network whose messages lie in memory.
type Network struct {
	Clock *clock.Fake
	start clock.Time

	mu      sync.Mutex
	sockets []*core.Socket
	sent    []Packet
	fail    map[netip.AddrPort]bool
}

// Sockets implements core.Network.
func (n *Network) Sockets() []*core.Socket { return n.sockets }

// Route implements core.Network.
func (n *Network) Route(p core.Proto, to netip.AddrPort, prefer *core.Socket) (core.Flow, error) {
	return transport.RouteOver(n.sockets, p, to, prefer)
}

// NewSender implements core.Network.
func (n *Network) NewSender() core.Sender { return &worker{n: n} }

// Alive implements core.Network.
func (n *Network) Alive(core.Flow) bool { return true }

// worker is a transport.Worker; what it sends leaves when it is flushed.
type worker struct {
	n     *Network
	queue []Packet
	buf   *transport.Buffer // of the message in hand
	kept  bool
}

func (w *worker) Buffer() []byte { return make([]byte, 0, sipmsg.MaxSize) }

func (w *worker) Send(to core.Flow, msg []byte) error {
	w.n.mu.Lock()
	failing := w.n.fail[to.Remote]
	w.n.mu.Unlock()
	if failing {
		return errors.New("the network is down")
	}
	w.queue = append(w.queue, Packet{w.n.Clock.Now().Sub(w.n.start), to, string(msg)})
	return nil
}

func (w *worker) Flush() {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	w.n.sent = append(w.n.sent, w.queue...)
	w.queue = nil
}

func (w *worker) Yield()  { w.Flush() }
func (w *worker) Resume() {}
func (w *worker) Keep() *transport.Buffer {
	if w.kept {
		return nil
	}
	w.kept = true
	return w.buf
}

// Sim is a router on a virtual network.
type Sim struct {
	*Network
	T      testing.TB
	Engine *engine.Engine
}

// Config is what a Sim is made of.
type Config struct {
	Modules []func() core.Module
	// Settings is added to the settings file, which listens on udp and tcp at
	// 192.0.2.100:5060 and loads nothing by itself.
	Settings string
	// Script is the routing script.
	Script string
	Log    *slog.Logger
}

// New starts a router that ends with the test.
func New(t testing.TB, cfg Config) *Sim {
	t.Helper()
	fake := clock.NewFake()
	n := &Network{Clock: fake, start: fake.Now(), fail: map[netip.AddrPort]bool{}}
	for i, p := range []core.Proto{core.UDP, core.TCP} {
		n.sockets = append(n.sockets, &core.Socket{Index: i, Proto: p, Addr: netip.MustParseAddrPort("192.0.2.100:5060"),
			SentBy: []byte("192.0.2.100"), Host: []byte("192.0.2.100"), Port: 5060})
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("route.lua", cfg.Script)
	settings, err := lua.LoadSettings(write("sipr.lua", `listen "udp:192.0.2.100:5060"
listen "tcp:192.0.2.100:5060"
modparam("core", "ctl_socket", "")
modparam("core", "secret", "simulated")
`+cfg.Settings+"\nroute \"route.lua\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e, err := engine.New(settings, engine.Options{Modules: cfg.Modules, Clock: fake, Log: cfg.Log, Network: n})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing is waited for
		e.Stop(ctx)
	})
	return &Sim{Network: n, T: t, Engine: e}
}

// Receive hands the router a message that came over UDP from an address. Lines
// may end with LF.
func (s *Sim) Receive(from, text string) { s.ReceiveOn(0, from, text) }

// ReceiveOn is Receive over the socket of an index: 0 is UDP, 1 TCP. The buffer
// is destroyed afterwards, unless the router has kept it.
func (s *Sim) ReceiveOn(socket int, from, text string) {
	buf := &transport.Buffer{B: make([]byte, sipmsg.MaxSize+1)}
	n := copy(buf.B, Wire(text))
	flow := core.Flow{Socket: s.sockets[socket], Remote: netip.MustParseAddrPort(from)}
	if socket > 0 {
		flow.Conn = 1
	}
	w := &worker{n: s.Network, buf: buf}
	s.Engine.Handle(w, buf.B[:n], flow, s.Clock.Now())
	w.Flush()
	if !w.kept {
		for i := range buf.B[:n] {
			buf.B[i] = '#'
		}
	}
}

// Wire gives text the line ends and the Content-Length of a message.
func Wire(text string) string {
	if strings.Contains(text, "\r\n") {
		return text
	}
	head, body, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n\n")
	head = strings.ReplaceAll(strings.TrimRight(head, "\n"), "\n", "\r\n")
	return head + "\r\n\r\n" + strings.ReplaceAll(body, "\n", "\r\n")
}

// Undeliverable tells the router that a packet could not leave.
func (s *Sim) Undeliverable(p Packet) {
	w := &worker{n: s.Network, kept: true}
	s.Engine.Undeliverable(w, []byte(p.Text), p.Flow)
	w.Flush()
}

// Fail makes every sending to an address fail, or not any more.
func (s *Sim) Fail(to string, failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[netip.MustParseAddrPort(to)] = failing
}

// Sent returns and forgets what the router has sent.
func (s *Sim) Sent() []Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.sent
	s.sent = nil
	return p
}
