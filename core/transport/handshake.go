package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sipr/core"
)

// handshakes counts the accepted connections that have not ended their
// handshake yet. It bounds them in all, and those of one address to a quarter,
// so that one peer cannot shut out the others.
type handshakes struct {
	mu    sync.Mutex
	total int
	perIP map[netip.Addr]int
}

func (h *handshakes) enter(ip netip.Addr, max int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= max || h.perIP[ip] >= (max+3)/4 {
		return false
	}
	if h.perIP == nil {
		h.perIP = map[netip.Addr]int{}
	}
	h.total++
	h.perIP[ip]++
	return true
}

func (h *handshakes) leave(ip netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	if h.perIP[ip]--; h.perIP[ip] == 0 {
		delete(h.perIP, ip)
	}
}

// admit makes a stream of an accepted connection that begins with a handshake,
// on a goroutine of its own: its deep stack is not kept for an idle connection.
func (c *conn) admit() {
	ip := c.flow.Remote.Addr()
	if !c.t.handshakes.enter(ip, c.t.cfg.MaxHandshakes) {
		c.t.Stats.ConnsRefused.Add(1)
		c.shut()
		return
	}
	if !c.t.begin() {
		c.t.handshakes.leave(ip)
		c.shut()
		return
	}
	go func() {
		defer c.t.wg.Done()
		err := c.greet()
		c.t.handshakes.leave(ip)
		if err != nil {
			c.t.Stats.HandshakesFailed.Add(1)
			c.t.cfg.Log.Debug("handshake failed", "source", c.flow.Remote, "transport", c.flow.Proto(), "error", err)
		}
		if err != nil || !c.start() {
			c.fail(outQueue{}, 0)
			return
		}
		c.flush()
	}()
}

// greet does the handshakes of a server.
func (c *conn) greet() error {
	p := c.flow.Proto()
	c.raw.SetDeadline(time.Now().Add(c.t.cfg.HandshakeTime))
	if p.Secure() {
		s := tls.Server(&wire{TCPConn: c.raw}, c.t.keys[c.flow.Socket].serverConfig(p))
		if err := s.HandshakeContext(c.t.ctx); err != nil {
			return err
		}
		c.verified = len(s.ConnectionState().VerifiedChains) > 0
		c.nc = s
	}
	if p.WebSocket() {
		if err := c.upgrade(); err != nil {
			return err
		}
	}
	return c.raw.SetDeadline(time.Time{})
}

// introduce does the handshake of a TLS client.
func (c *conn) introduce(deadline time.Time) error {
	k := c.t.keys[c.flow.Socket]
	if k == nil {
		return errors.New("the socket is not one for TLS")
	}
	c.raw.SetDeadline(deadline)
	s := tls.Client(&wire{TCPConn: c.raw}, k.clientConfig(c.flow))
	if err := s.HandshakeContext(c.t.ctx); err != nil {
		return err
	}
	c.verified = !k.cfg.AnyServer
	c.nc = s
	return c.raw.SetDeadline(time.Time{})
}

// provesHost tells whether a TLS connection to another name of the same address
// may be used for a name too.
func (c *conn) provesHost(host core.HostName) bool {
	c.mu.Lock()
	open := c.open
	c.mu.Unlock()
	s, ok := c.nc.(*tls.Conn)
	return open && ok && c.verified && proves(s.ConnectionState().PeerCertificates[0], host.String()) == nil
}

// wire is a connection below TLS, whose end is announced within closeTime or
// not at all: crypto/tls would wait five seconds for a peer that reads nothing.
type wire struct {
	*net.TCPConn
	ending atomic.Bool
}

// closeTime is how long a connection is let say good-bye.
const closeTime = time.Second

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.ending.Load() {
		t = time.Now().Add(closeTime / 10)
	}
	return w.TCPConn.SetWriteDeadline(t)
}

// closeStream closes a stream that was opened.
func (c *conn) closeStream() {
	if s, ok := c.nc.(*tls.Conn); ok {
		s.NetConn().(*wire).ending.Store(true)
	}
	c.nc.Close()
}

// closeWrite tells the peer that nothing more comes.
func (c *conn) closeWrite() {
	if s, ok := c.nc.(*tls.Conn); ok {
		s.CloseWrite()
	}
	c.raw.CloseWrite()
}
