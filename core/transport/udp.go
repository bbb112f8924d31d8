package transport

import (
	"context"
	"net"
	"net/netip"

	"sipr/core"
)

// udpSocket is one UDP listen address: one or more bound sockets, each with a
// reader.
type udpSocket struct {
	t       *Transport
	socket  *core.Socket
	readers []*udpReader
}

// udpReader is one bound socket. Reading belongs to its batch; sending is open
// to all.
type udpReader struct {
	sock *udpSocket
	conn *net.UDPConn
	io   mmsg
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
		b := &batch{t: u.t, r: r}
		for i := range b.bufs {
			b.bufs[i] = newBuffer()
		}
		u.t.busy.Add(1)
		u.t.wg.Add(1)
		go b.resume(&worker{t: u.t, src: b, udp: r})
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
