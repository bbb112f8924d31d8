package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"sipr/core"
	"sipr/core/clock"
)

// udpSocket is one UDP listen address: one or more bound sockets, each with a
// reader.
type udpSocket struct {
	t       *Transport
	socket  *core.Socket
	readers []*udpReader
}

// udpReader is one bound socket and the batch that was read from it last. The
// goroutine that reads owns the batch; sending is open to all.
type udpReader struct {
	sock *udpSocket
	conn *net.UDPConn
	io   mmsg

	now  clock.Time
	bufs [batchSize]*Buffer
	len  [batchSize]int
	from [batchSize]netip.AddrPort
	n, i int // messages in the batch; the next one to handle
}

func openUDP(t *Transport, s *core.Socket) (*udpSocket, error) {
	u := &udpSocket{t: t, socket: s}
	n := t.cfg.Readers
	if !reusePortSupported || s.Addr.Port() == 0 {
		n = 1
	}
	lc := net.ListenConfig{}
	network := "udp4"
	if s.Addr.Addr().Is6() {
		network = "udp6"
	}
	if n > 1 {
		// A plain bind first: it fails where anybody else has the address,
		// also with SO_REUSEPORT.
		c, err := lc.ListenPacket(context.Background(), network, s.Addr.String())
		if err != nil {
			return nil, err
		}
		c.Close()
		lc.Control = reusePort
	}
	for i := 0; i < n; i++ {
		c, err := lc.ListenPacket(context.Background(), network, s.Addr.String())
		if err != nil {
			u.close()
			return nil, err
		}
		conn := c.(*net.UDPConn)
		setReceiveBuffer(conn, t.cfg.ReceiveBuffer)
		r := &udpReader{sock: u, conn: conn}
		u.readers = append(u.readers, r)
		if err := r.io.init(r); err != nil {
			u.close()
			return nil, err
		}
		if s.Addr.Port() == 0 {
			a := conn.LocalAddr().(*net.UDPAddr).AddrPort()
			s.Addr = netip.AddrPortFrom(s.Addr.Addr(), a.Port())
		}
	}
	return u, nil
}

func (u *udpSocket) serve() {
	for _, r := range u.readers {
		for i := range r.bufs {
			r.bufs[i] = newBuffer()
		}
		u.t.wg.Add(1)
		go r.resume(&worker{t: u.t, src: r, udp: r})
	}
}

func (u *udpSocket) close() {
	for _, r := range u.readers {
		r.conn.Close()
	}
}

// udpFor returns a reader of a socket, to send from.
func (t *Transport) udpFor(s *core.Socket) *udpReader {
	for _, u := range t.udp {
		if u.socket == s {
			return u.readers[0]
		}
	}
	return nil
}

// resume implements source: it handles the rest of the batch and reads on,
// until the handler yields or the socket is closed.
func (r *udpReader) resume(w *worker) {
	defer r.sock.t.wg.Done()
	t := r.sock.t
	for {
		for r.i < r.n {
			i := r.i
			r.i++
			msg := r.bufs[i].B[:r.len[i]]
			if keepAlive(msg) {
				continue
			}
			t.handler.Handle(w, msg, core.Flow{Socket: r.sock.socket, Remote: r.from[i]}, r.now)
			if w.src == nil {
				w.leave()
				return
			}
		}
		w.Flush()
		r.n, r.i = 0, 0
		if err := r.io.receive(r); err != nil {
			if errors.Is(err, net.ErrClosed) || t.closed() {
				return
			}
			continue // an ICMP error of an earlier datagram
		}
		r.now = t.cfg.Clock.Now()
		t.Stats.Received.Add(int64(r.n))
	}
}

// detach implements source.
func (r *udpReader) detach() *Buffer {
	i := r.i - 1
	b := r.bufs[i]
	r.bufs[i] = newBuffer()
	return b
}

// keepAlive tells whether a datagram is no message at all but holds a binding
// open in a NAT (RFC 5626 §3.5, and what phones send in its place).
func keepAlive(b []byte) bool {
	if len(b) > 20 {
		return false
	}
	for _, c := range b {
		if c != '\r' && c != '\n' && c != 0 && c != ' ' {
			return false
		}
	}
	return true
}
