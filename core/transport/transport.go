// Package transport owns sipr's sockets. It reads batches of datagrams and
// frames streams, hands every message to one Handler, and sends what the
// handler queues: datagrams in batches, streams through a bounded queue.
//
// A message is handled to the end on the goroutine that read it. If the
// handler has to wait, it yields: another goroutine takes over the socket and
// the rest of the batch.
package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// Handler is what messages are handed to.
type Handler interface {
	// Handle handles one framed message, keep-alives excepted. msg lies in a
	// buffer of w's batch; w.Keep takes it over.
	Handle(w Worker, msg []byte, from core.Flow, now clock.Time)
	// Undeliverable tells of a message that was queued for a connection that
	// could not be opened or broke before it was written.
	Undeliverable(w Worker, msg []byte, to core.Flow)
}

// Worker is the goroutine that handles a message.
type Worker interface {
	core.Sender
	// Yield sends what is queued and hands the socket and the rest of the
	// batch to another goroutine; the message in hand stays where it is.
	Yield()
	// Resume is called after a wait: it returns when the goroutine may go on.
	Resume()
	// Keep takes the buffer that the message in hand lies in out of the
	// batch. Give it back with Buffer.Free.
	Keep() *Buffer
}

// Listen is one address to listen on.
type Listen struct {
	Proto core.Proto
	Addr  netip.AddrPort // port 0: any free one
	// Advertise is the host, or host and port, that stands in Via and
	// Record-Route instead of Addr; empty for Addr.
	Advertise string
	// Certificates are those of this tls or wss socket alone; empty for
	// Config.TLS.Certificates.
	Certificates []CertFile
}

// Config is what a Transport is made of.
type Config struct {
	Clock  clock.Clock
	Log    *slog.Logger
	Listen []Listen
	// Readers is the number of sockets for each UDP address; 0 for one per
	// processor.
	Readers int
	// Segment lets UDP datagrams of one length to one address go down the
	// kernel's stack as one, where the system can do that.
	Segment bool
	// ReceiveBuffer is the size in bytes asked for each UDP socket.
	ReceiveBuffer int
	// MaxConns bounds stream connections, MaxConnsPerIP those of one source
	// address (0: no bound of its own).
	MaxConns, MaxConnsPerIP int
	// Idle closes a connection on which nothing was received for so long;
	// MessageTime one whose message does not get complete.
	Idle, MessageTime time.Duration
	// ConnectTime bounds opening a connection, WriteTime each write.
	ConnectTime, WriteTime time.Duration
	// WriteQueue bounds the bytes that wait on one connection.
	WriteQueue int

	TLS TLS
	// HandshakeTime bounds the handshakes that an accepted connection begins
	// with, MaxHandshakes how many of them are under way.
	HandshakeTime time.Duration
	MaxHandshakes int
	// WSPath is the one path of a URL that WebSockets may be opened at; empty
	// for any. WSOrigins are the origins whose pages may; empty for all.
	WSPath    string
	WSOrigins []string
	// WSPing is how often silent WebSockets are pinged, Ping how often silent
	// TCP and TLS connections are that we have opened; 0 for never.
	WSPing, Ping time.Duration
	// TCPAlias believes the alias parameter of a Via without TLS.
	TCPAlias bool
}

func (c *Config) defaults() {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	setd := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.Readers, runtime.GOMAXPROCS(0))
	set(&c.ReceiveBuffer, 4<<20)
	set(&c.MaxConns, 20000)
	set(&c.WriteQueue, 1<<20)
	setd(&c.Idle, 3605*time.Second)
	setd(&c.MessageTime, 30*time.Second)
	setd(&c.ConnectTime, 5*time.Second)
	setd(&c.WriteTime, 10*time.Second)
	set(&c.MaxHandshakes, 2000)
	setd(&c.HandshakeTime, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Stats counts what happened on the sockets.
type Stats struct {
	Received, Sent, SendErrors, ConnsRefused, ConnsOpen, QueueFull core.Counter
	HandshakesFailed, ConnectsFailed                               core.Counter
}

// Transport is the set of a router's sockets. It implements core.Network.
type Transport struct {
	cfg     Config
	handler Handler
	sockets []*core.Socket
	udp     []*udpSocket
	streams []*streamListener
	locks   []*net.UnixListener
	conns   connTable
	Stats   Stats

	keyrings   []*keyring // each once
	shared     *keyring   // of the sockets that have no certificates of their own
	keys       map[*core.Socket]*keyring
	reload     sync.Mutex
	handshakes handshakes
	warned     atomic.Int64 // when an untrusted server was logged

	slots   chan struct{} // run slots of workers that come back from a wait
	helpers chan *batch   // helpers with nothing to do
	busy    atomic.Int32  // batches that are being handled

	ctx     context.Context // ends with the transport; dialing stops then
	cancel  context.CancelFunc
	mu      sync.RWMutex // held to close closing, and by begin
	closing chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

// Open binds every address. On an error everything that was bound is closed
// again.
func Open(cfg Config) (*Transport, error) {
	cfg.defaults()
	t := &Transport{cfg: cfg, closing: make(chan struct{}), slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	t.keys = map[*core.Socket]*keyring{}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.conns.init()
	for _, l := range cfg.Listen {
		if err := t.listen(l); err != nil {
			t.Close(context.Background())
			return nil, fmt.Errorf("listen %s:%s: %w", l.Proto, l.Addr, explain(err))
		}
	}
	return t, nil
}

func explain(err error) error {
	switch {
	case isAddrInUse(err):
		return fmt.Errorf("the address is in use by another program (%w)", err)
	case errors.Is(err, errLocked):
		return fmt.Errorf("another sipr listens there already")
	}
	return err
}

func (t *Transport) listen(l Listen) error {
	s := &core.Socket{Index: len(t.sockets), Proto: l.Proto, Addr: l.Addr}
	switch l.Proto {
	case core.UDP:
		if l.Addr.Port() != 0 {
			lock, err := lockAddress(l.Addr)
			if err != nil {
				return err
			}
			if lock != nil {
				t.locks = append(t.locks, lock)
			}
		}
		u, err := openUDP(t, s)
		if err != nil {
			return err
		}
		t.udp = append(t.udp, u)
	default:
		if l.Proto.Secure() {
			k, err := t.openKeys(l)
			if err != nil {
				return err
			}
			t.keys[s] = k
		}
		sl, err := openStream(t, s)
		if err != nil {
			return err
		}
		t.streams = append(t.streams, sl)
	}
	if err := name(s, l.Advertise); err != nil {
		return err
	}
	t.sockets = append(t.sockets, s)
	return nil
}

// name sets the socket's sent-by.
func name(s *core.Socket, advertise string) error {
	host, port := "", s.Addr.Port()
	if s.Addr.Addr().Is6() {
		host = "[" + s.Addr.Addr().String() + "]"
	} else {
		host = s.Addr.Addr().String()
	}
	if advertise != "" {
		h, p, err := net.SplitHostPort(advertise)
		if err != nil {
			h, p = advertise, ""
		} else if strings.Contains(h, ":") {
			h = "[" + h + "]"
		}
		host = h
		if p != "" {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return fmt.Errorf("advertise %q: bad port", advertise)
			}
			port = uint16(n)
		}
	}
	s.Host, s.Port = []byte(host), port
	s.SentBy = []byte(host)
	if port != s.Proto.Port() {
		s.SentBy = []byte(fmt.Sprintf("%s:%d", host, port))
	}
	return nil
}

// Serve starts reading; h gets every message from now on.
func (t *Transport) Serve(h Handler) {
	t.handler = h
	if len(t.udp) > 0 && reusePortSupported {
		t.startHelpers()
	}
	for _, u := range t.udp {
		u.serve()
	}
	for _, l := range t.streams {
		t.wg.Add(1)
		go l.accept()
	}
	t.startPings()
}

// Close stops reading, closes every socket and waits for the goroutines, at
// most until ctx ends.
func (t *Transport) Close(ctx context.Context) error {
	t.once.Do(func() {
		t.mu.Lock()
		close(t.closing)
		t.mu.Unlock()
		t.cancel()
		for _, u := range t.udp {
			u.close()
		}
		for _, l := range t.streams {
			l.ln.Close()
		}
		t.conns.closeAll()
		for _, l := range t.locks {
			l.Close()
		}
	})
	done := make(chan struct{})
	go func() { t.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin counts a goroutine that Close has to wait for; false says that it is
// too late to start one. Goroutines that are counted themselves need not ask.
func (t *Transport) begin() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed() {
		return false
	}
	t.wg.Add(1)
	return true
}

func (t *Transport) closed() bool {
	select {
	case <-t.closing:
		return true
	default:
		return false
	}
}

// Sockets implements core.Network.
func (t *Transport) Sockets() []*core.Socket { return t.sockets }

// ErrNoSocket says that the router does not listen on anything that could
// reach an address.
var ErrNoSocket = errors.New("no local socket has the protocol and address family")

// Route implements core.Network.
func (t *Transport) Route(p core.Proto, to netip.AddrPort, prefer *core.Socket) (core.Flow, error) {
	return RouteOver(t.sockets, p, to, prefer)
}

// RouteOver picks, of several sockets, the one to reach an address from: prefer
// if it fits, else the first that fits. A socket on a loopback address is taken
// only for loopback addresses, and the other way round, if there is a choice.
func RouteOver(sockets []*core.Socket, p core.Proto, to netip.AddrPort, prefer *core.Socket) (core.Flow, error) {
	fits := func(s *core.Socket) bool {
		return s.Proto == p && s.Addr.Addr().Is4() == to.Addr().Is4()
	}
	if prefer != nil && fits(prefer) {
		return core.Flow{Socket: prefer, Remote: to}, nil
	}
	var found *core.Socket
	for _, s := range sockets {
		if !fits(s) {
			continue
		}
		if s.Addr.Addr().IsLoopback() == to.Addr().IsLoopback() {
			return core.Flow{Socket: s, Remote: to}, nil
		}
		if found == nil {
			found = s
		}
	}
	if found == nil {
		return core.Flow{}, ErrNoSocket
	}
	return core.Flow{Socket: found, Remote: to}, nil
}

// Alive implements core.Network.
func (t *Transport) Alive(f core.Flow) bool {
	return f.Proto() == core.UDP || t.conns.get(f.Conn) != nil
}

// NewSender implements core.Network.
func (t *Transport) NewSender() core.Sender { return &worker{t: t} }
