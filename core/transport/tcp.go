package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"sipr/core"
	"sipr/core/sipmsg"
)

type tcpListener struct {
	t      *Transport
	socket *core.Socket
	ln     *net.TCPListener
}

func openTCP(t *Transport, s *core.Socket) (*tcpListener, error) {
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
	return &tcpListener{t, s, ln.(*net.TCPListener)}, nil
}

func (l *tcpListener) accept() {
	defer l.t.wg.Done()
	for {
		nc, err := l.ln.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || l.t.closed() {
				return
			}
			// Out of descriptors, most likely: give others time to close.
			wait := make(chan struct{})
			l.t.cfg.Clock.AfterFunc(50*time.Millisecond, func() { close(wait) })
			<-wait
			continue
		}
		remote := nc.RemoteAddr().(*net.TCPAddr).AddrPort()
		c := newConn(l.t, core.Flow{Socket: l.socket, Remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())})
		c.nc = nc
		if !l.t.conns.add(c, l.t.cfg.MaxConns, l.t.cfg.MaxConnsPerIP) {
			l.t.Stats.ConnsRefused.Add(1)
			nc.Close()
			continue
		}
		c.start()
	}
}

// conn is one stream connection. Its reader goroutine owns the receiving side;
// writing is open to all under mu.
type conn struct {
	t    *Transport
	flow core.Flow
	nc   *net.TCPConn

	// Receiving side.
	framer   sipmsg.Framer
	buf     *Buffer // what was received and not handled yet is buf.B[lo:hi]
	lo, hi  int
	started bool // a message began since the deadline was set

	// Sending side.
	mu      sync.Mutex
	out     []byte // waits to be written
	spare   []byte
	open    bool // nc is connected
	writing bool // a goroutine is writing
	dead    bool
}

func newConn(t *Transport, f core.Flow) *conn { return &conn{t: t, flow: f} }

// start begins reading from a connected conn.
func (c *conn) start() {
	c.nc.SetNoDelay(true)
	c.mu.Lock()
	c.open = true
	c.mu.Unlock()
	c.t.Stats.ConnsOpen.Add(1)
	c.t.wg.Add(1)
	go c.resume(&worker{t: c.t, src: c})
}

// connFor returns the connection for a flow, opening one if there is none.
func (t *Transport) connFor(f core.Flow) (*conn, error) {
	if c := t.conns.get(f.Conn); c != nil {
		return c, nil
	}
	key := connKey{f.Proto(), f.Remote}
	if c := t.conns.find(key); c != nil {
		return c, nil
	}
	if t.closed() {
		return nil, net.ErrClosed
	}
	c := newConn(t, core.Flow{Socket: f.Socket, Remote: f.Remote})
	if !t.conns.add(c, t.cfg.MaxConns, 0) {
		t.Stats.ConnsRefused.Add(1)
		return nil, errTooManyConns
	}
	t.wg.Add(1)
	go c.connect()
	return c, nil
}

var (
	errTooManyConns = errors.New("too many connections")
	errQueueFull    = errors.New("the connection's write queue is full")
)

// connect opens the connection; what is queued meanwhile leaves afterwards, or
// is reported as undeliverable.
func (c *conn) connect() {
	defer c.t.wg.Done()
	d := net.Dialer{Timeout: c.t.cfg.ConnectTime}
	if ip := c.flow.Socket.Addr.Addr(); !ip.IsUnspecified() {
		d.LocalAddr = &net.TCPAddr{IP: ip.AsSlice()}
	}
	nc, err := d.DialContext(context.Background(), "tcp", c.flow.Remote.String())
	if err != nil {
		c.fail()
		return
	}
	c.nc = nc.(*net.TCPConn)
	c.start()
	c.flush()
	if c.t.closed() {
		c.shut()
	}
}

// resume implements source.
func (c *conn) resume(w *worker) {
	defer c.t.wg.Done()
	for {
		if !c.handle(w) {
			break
		}
		if w.src == nil {
			w.leave()
			return
		}
		w.Flush()
		w.lend()
		if !c.receive() {
			break
		}
	}
	w.Flush()
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
	for c.buf != nil {
		b := c.buf.B[c.lo:c.hi]
		if len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
			n := c.crlf(b)
			if n == 0 {
				break
			}
			c.lo += n
			continue
		}
		n, err := c.framer.Frame(b)
		if n == 0 && err == nil {
			break
		}
		if n > 0 {
			c.lo += n
			c.started = true
			c.t.Stats.Received.Add(1)
			c.t.handler.Handle(w, b[:n], c.flow, now)
		}
		if err != nil {
			return false
		}
		if w.src == nil {
			return true
		}
	}
	if c.buf != nil && c.lo == c.hi {
		c.buf.Free()
		c.buf, c.lo, c.hi = nil, 0, 0
	}
	return true
}

// crlf handles line breaks between messages: a double one is a keep-alive and
// is answered by a single one (RFC 5626 §4.4.1). It returns how many bytes to
// skip, 0 if more are needed to tell.
func (c *conn) crlf(b []byte) int {
	if b[0] == '\n' {
		return 1
	}
	switch {
	case len(b) == 1:
		return 0
	case b[1] != '\n':
		return 1
	case len(b) >= 4 && b[2] == '\r' && b[3] == '\n':
		if c.enqueue([]byte("\r\n")) == nil {
			c.flush()
		}
		return 4
	case len(b) == 2 || len(b) == 3 && b[2] == '\r':
		return 0
	}
	return 2
}

// receive reads more bytes; false says that the connection is over.
func (c *conn) receive() bool {
	if c.buf == nil {
		// An idle connection holds no buffer: wait with one byte of stack.
		var first [1]byte
		c.setDeadline(c.t.cfg.Idle)
		n, err := c.nc.Read(first[:])
		if n == 0 || err != nil {
			return false
		}
		c.buf = newBuffer()
		c.buf.B[0] = first[0]
		c.lo, c.hi = 0, 1
		c.started = true
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

func (c *conn) setDeadline(d time.Duration) {
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
