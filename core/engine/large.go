package engine

import (
	"slices"

	"sipr/core"
	"sipr/core/sipmsg"
)

// ownHeaders is what a request grows by here: a Via and a Record-Route.
const ownHeaders = 200

// tcpFirst puts a way over TCP before each of the ways over UDP, from the n-th
// on, if a request may be too large for one datagram on some path (RFC 3261
// §18.1.1). If there is no connection, the way over UDP is tried next, and for a
// while at once. Who writes transport=udp gets it, and a registered flow never
// comes here.
func (e *Engine) tcpFirst(r *core.Request, u *sipmsg.URI, ways []core.Flow, n int) []core.Flow {
	mtu := e.params.streams.udpMTU
	if mtu == 0 || len(r.Msg.Buffer())+ownHeaders <= mtu {
		return ways
	}
	if _, asked := u.Param("transport"); asked {
		return ways
	}
	for i := n; i < len(ways); i++ {
		f := ways[i]
		if f.Proto() != core.UDP || !e.resolver.Alive(core.TCP, f.Remote) {
			continue
		}
		over, err := e.network.Route(core.TCP, f.Remote, e.beside(f.Socket))
		if err != nil {
			return ways
		}
		if !slices.Contains(ways[n:], over) {
			ways = slices.Insert(ways, i, over)
			i++
		}
	}
	return ways
}

// beside returns the TCP socket on the address of another socket, if there is
// one.
func (e *Engine) beside(s *core.Socket) *core.Socket {
	for _, t := range e.network.Sockets() {
		if t.Proto == core.TCP && t.Addr.Addr() == s.Addr.Addr() {
			return t
		}
	}
	return nil
}
