package transport

import (
	"errors"
	"net"
	"time"

	"sipr/core"
)

// connFor returns the connection for a flow, opening one if there is none.
func (t *Transport) connFor(f core.Flow) (*conn, error) {
	if c := t.conns.get(f.Conn); c != nil {
		return c, nil
	}
	if c := t.conns.find(t.keyOf(f)); c != nil {
		return c, nil
	}
	if f.Proto().WebSocket() {
		return nil, errClientGone
	}
	fresh := newConn(t, core.Flow{Socket: f.Socket, Remote: f.Remote, Host: f.Host})
	fresh.dialed = true
	c := t.conns.findOrAdd(fresh, t.cfg.MaxConns)
	if c == nil {
		t.Stats.ConnsRefused.Add(1)
		return nil, errTooManyConns
	}
	if c != fresh {
		return c, nil
	}
	if !t.begin() {
		c.shut()
		return nil, net.ErrClosed
	}
	go c.connect()
	return c, nil
}

var (
	errTooManyConns = errors.New("too many connections")
	errQueueFull    = errors.New("the connection's write queue is full")
	errConnLost     = errors.New("the connection is lost")
	errClientGone   = errors.New("the WebSocket connection is gone, and only the client can open one")
)

// connect opens the connection; what is queued meanwhile leaves afterwards, or
// is reported as undeliverable.
func (c *conn) connect() {
	defer c.t.wg.Done()
	if err := c.dial(); err != nil {
		if !c.t.closed() {
			c.t.Stats.ConnectsFailed.Add(1)
			c.t.cfg.Log.Debug("no connection", "to", c.flow.Remote, "transport", c.flow.Proto(), "host", c.flow.Host, "error", err)
		}
		c.fail(outQueue{}, 0)
		return
	}
	if !c.start() {
		c.fail(outQueue{}, 0)
		return
	}
	c.flush()
}

// dial opens the TCP connection, and TLS on it; both together in ConnectTime.
func (c *conn) dial() error {
	deadline := time.Now().Add(c.t.cfg.ConnectTime)
	d := net.Dialer{Deadline: deadline}
	if ip := c.flow.Socket.Addr.Addr(); !ip.IsUnspecified() {
		d.LocalAddr = &net.TCPAddr{IP: ip.AsSlice()}
	}
	nc, err := d.DialContext(c.t.ctx, "tcp", c.flow.Remote.String())
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.raw = nc.(*net.TCPConn)
	dead := c.dead
	c.mu.Unlock()
	c.nc = nc
	if dead {
		return net.ErrClosed
	}
	if !c.flow.Proto().Secure() {
		return nil
	}
	if err := c.introduce(deadline); err != nil {
		c.t.warnTLS(c.flow, err)
		return err
	}
	return nil
}

// warnTLS logs why a server was not trusted, at most once a second.
func (t *Transport) warnTLS(f core.Flow, err error) {
	now, last := int64(t.cfg.Clock.Now()), t.warned.Load()
	if t.closed() || now-last < int64(time.Second) || !t.warned.CompareAndSwap(last, now) {
		return
	}
	t.cfg.Log.Warn("TLS handshake with a server failed", "to", f.Remote, "host", f.Host, "error", err)
}
