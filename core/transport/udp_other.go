//go:build !(linux && (amd64 || arm64))

package transport

import (
	"net"
	"net/netip"
	"syscall"
)

// Without recvmmsg a batch is one datagram.

const reusePortSupported = false

type mmsg struct{}

func (m *mmsg) init(*udpReader) error { return nil }

func (m *mmsg) receive(to *batch) error {
	n, from, err := to.r.conn.ReadFromUDPAddrPort(to.bufs[0].B)
	if err != nil {
		return err
	}
	to.len[0] = n
	to.from[0] = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	to.n = 1
	return nil
}

type sendState struct{}

func newSendState() any { return &sendState{} }

func (r *udpReader) send(arena []byte, queue []datagram) {
	for _, q := range queue {
		if _, err := r.conn.WriteToUDPAddrPort(arena[q.off:q.end], q.to); err != nil {
			r.sock.t.Stats.SendErrors.Add(1)
		} else {
			r.sock.t.Stats.Sent.Add(1)
		}
	}
}

func reusePort(_, _ string, _ syscall.RawConn) error { return nil }

func setReceiveBuffer(c *net.UDPConn, n int) { c.SetReadBuffer(n) }
