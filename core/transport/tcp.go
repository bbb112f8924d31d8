package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"sipr/core"
	"sipr/core/sipmsg"
)

// streamListener accepts the connections of a socket: TCP, or what runs over it.
type streamListener struct {
	t      *Transport
	socket *core.Socket
	ln     *net.TCPListener
}

func openStream(t *Transport, s *core.Socket) (*streamListener, error) {
	network := "tcp4"
	if s.Addr.Addr().Is6() {
		network = "tcp6"
	}
	lc := net.ListenConfig{}
	ln, err := lc.Listen(context.Background(), network, s.Addr.String())
	if err != nil {
		return nil, err
	}
	if s.Addr.Port() == 0 {
		s.Addr = netip.AddrPortFrom(s.Addr.Addr(), ln.Addr().(*net.TCPAddr).AddrPort().Port())
	}
	return &streamListener{t, s, ln.(*net.TCPListener)}, nil
}

func (l *streamListener) accept() {
	defer l.t.wg.Done()
	for {
		nc, err := l.ln.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || l.t.closed() {
				return
			}
			// Out of descriptors, most likely: give others time to close.
			l.t.pause(50 * time.Millisecond)
			continue
		}
		remote := nc.RemoteAddr().(*net.TCPAddr).AddrPort()
		c := newConn(l.t, core.Flow{Socket: l.socket, Remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())})
		c.raw, c.nc = nc, nc
		if !l.t.conns.add(c, l.t.cfg.MaxConns, l.t.cfg.MaxConnsPerIP) {
			l.t.Stats.ConnsRefused.Add(1)
			nc.Close()
			continue
		}
		if l.socket.Proto != core.TCP {
			c.admit()
		} else if !c.start() {
			c.shut()
		}
	}
}

// conn is one stream connection. Its reader goroutine owns the receiving side;
// writing is open to all under mu.
type conn struct {
	t    *Transport
	flow core.Flow
	key  connKey
	// raw is the TCP connection; shut closes it while there is no nc yet.
	raw *net.TCPConn
	// nc is what messages go over, raw itself or TLS; ws if they are
	// WebSocket messages. They are set before open is.
	nc net.Conn
	ws *websocket.Conn
	// verified says that the peer has shown a good TLS certificate, dialed
	// that we have opened the connection.
	verified, dialed bool
	// alias is the port that the peer wants to be reached at over this
	// connection, 0 for none.
	alias atomic.Uint32
	// heard is when the wait for bytes began, or the message that is not
	// complete yet: a clock.Time.
	heard atomic.Int64
	// pinged says that the next line break answers a ping of ours, inMessage
	// that a WebSocket message is not complete yet.
	pinged, inMessage atomic.Bool

	// Receiving side.
	framer  sipmsg.Framer
	buf     *Buffer // what was received and not handled yet is buf.B[lo:hi]
	lo, hi  int
	first   [len(ping)]byte // an idle connection has no other memory
	breaks  int             // bytes of a ping that came since the last message
	started bool            // a message began since the deadline was set
	lost    bool            // where the next message begins is not known

	// Sending side.
	mu      sync.Mutex
	out     outQueue // waits to be written
	written int      // bytes of out that were
	flying  int      // bytes that writeOnce has taken out and is writing
	spare   outQueue
	open    bool          // nc is connected, and its handshakes are done
	writing bool          // a goroutine is writing
	idle    chan struct{} // closed when that has ended, if it is set
	dead    bool
}

func newConn(t *Transport, f core.Flow) *conn { return &conn{t: t, flow: f, key: t.keyOf(f)} }

// start begins reading from a connected conn; false says that it was given up
// meanwhile.
func (c *conn) start() bool {
	c.mu.Lock()
	c.open = true
	dead := c.dead
	c.mu.Unlock()
	if dead || !c.t.begin() {
		return false
	}
	c.t.Stats.ConnsOpen.Add(1)
	go c.resume(&worker{t: c.t, src: c})
	return true
}

// resume implements source.
func (c *conn) resume(w *worker) {
	defer c.t.wg.Done()
	for c.handle(w) {
		if w.src == nil {
			w.leave()
			return
		}
		w.Flush()
		w.lend()
		if !c.receive(w) {
			break
		}
	}
	w.src = nil
	w.leave()
	if c.lost {
		c.linger()
	}
	c.shut()
	if c.buf != nil {
		c.buf.Free()
		c.buf = nil
	}
	c.t.Stats.ConnsOpen.Add(-1)
}

// handle hands every whole message in the buffer to the handler; false says
// that the stream is lost. It stops after a message whose handler yielded.
func (c *conn) handle(w *worker) bool {
	now := c.t.cfg.Clock.Now()
	if c.ws != nil {
		c.handleMessage(w, now)
		return true
	}
	for c.buf != nil && c.lo < c.hi {
		b := c.buf.B[c.lo:c.hi]
		if b[0] == '\r' || b[0] == '\n' {
			c.lineBreak(w, b[0])
			c.lo++
			continue
		}
		n, err := c.framer.Frame(b)
		if n == 0 && err == nil {
			return true
		}
		c.lo += n
		c.breaks = 0
		c.started = true
		if c.lost = err != nil; c.lost {
			// Nothing follows: the goroutine keeps the connection, even if
			// the handler waits, and closes it after the answer.
			w.src = nil
		}
		if n > 0 {
			c.t.Stats.Received.Add(1)
			c.t.handler.Handle(w, b[:n], c.flow, now)
		}
		switch {
		case err != nil:
			return false
		case w.src == nil:
			return true
		}
	}
	if c.buf != nil {
		c.buf.Free()
		c.buf, c.lo, c.hi = nil, 0, 0
	}
	return true
}

// ping keeps a connection alive; its answer is pong (RFC 5626 §4.4.1).
const ping = "\r\n\r\n"

var pong = []byte("\r\n")

// lineBreak takes a line break between messages. Some phones send a single one
// now and then, which nobody answers.
func (c *conn) lineBreak(w *worker, b byte) {
	if b != ping[c.breaks] {
		c.breaks = 0
		if b != ping[0] {
			return
		}
	}
	if c.breaks++; c.breaks == len(pong) && c.pinged.Swap(false) {
		c.breaks = 0 // it is the answer to a ping of ours
	}
	if c.breaks == len(ping) {
		c.breaks = 0
		if c.queued() < keptQueue { // who does not read pongs gets no more
			w.enqueue(c, pong)
		}
	}
}

// receive reads more bytes; false says that the connection is over.
func (c *conn) receive(w *worker) bool {
	if c.ws != nil {
		return c.receiveMessage()
	}
	if c.buf == nil {
		// An idle connection holds no buffer: wait with a few bytes.
		c.setDeadline(c.t.cfg.Idle)
		n, err := c.nc.Read(c.first[:])
		if n == 0 || err != nil {
			return false
		}
		i := 0
		for ; i < n && (c.first[i] == '\r' || c.first[i] == '\n'); i++ {
			c.lineBreak(w, c.first[i])
		}
		if i == n {
			return true
		}
		c.buf = newBuffer()
		c.lo, c.hi = 0, copy(c.buf.B, c.first[i:n])
		c.started = true
		w.Flush() // a pong does not wait for the message
		w.lend()
	}
	if c.started {
		c.setDeadline(c.t.cfg.MessageTime)
		c.started = false
	}
	if c.hi == len(c.buf.B) {
		if c.lo == 0 {
			return false
		}
		c.hi = copy(c.buf.B, c.buf.B[c.lo:c.hi])
		c.lo = 0
	}
	n, err := c.nc.Read(c.buf.B[c.hi:])
	c.hi += n
	return err == nil
}

// linger lets the last answer arrive: closing with bytes unread would reset the
// connection, and the peer might lose what it has not read yet.
func (c *conn) linger() {
	c.mu.Lock()
	if c.writing {
		c.idle = make(chan struct{})
		idle := c.idle
		c.mu.Unlock()
		stop := time.AfterFunc(closeTime, func() { c.raw.SetWriteDeadline(time.Now()) })
		<-idle
		stop.Stop()
		c.mu.Lock()
	}
	c.dead = true
	c.mu.Unlock()
	c.closeWrite()
	c.drain(c.buf.B)
}

// drain reads what the peer had under way, for a while.
func (c *conn) drain(b []byte) {
	c.setDeadline(closeTime)
	for range 64 {
		if _, err := c.nc.Read(b); err != nil {
			return
		}
	}
}

func (c *conn) setDeadline(d time.Duration) {
	c.heard.Store(int64(c.t.cfg.Clock.Now()))
	c.nc.SetReadDeadline(time.Now().Add(d))
}

// detach implements source: the message in hand keeps the buffer, what follows
// it moves to a new one.
func (c *conn) detach() *Buffer {
	b := c.buf
	if c.lo == c.hi {
		c.buf, c.lo, c.hi = nil, 0, 0
		return b
	}
	next := newBuffer()
	c.hi = copy(next.B, b.B[c.lo:c.hi])
	c.lo = 0
	c.buf = next
	return b
}
