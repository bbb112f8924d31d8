package core

import "net/netip"

// Proto is a transport protocol.
type Proto uint8

// The transport protocols. TLS, WS and WSS have their place in every table but
// no listener yet.
const (
	ProtoNone Proto = iota
	UDP
	TCP
	TLS
	WS
	WSS
)

var protoNames = [...]string{"", "UDP", "TCP", "TLS", "WS", "WSS"}

// String returns the name as it stands in a Via.
func (p Proto) String() string { return protoNames[p] }

// Reliable tells whether the transport delivers (RFC 3261 §17: timers A, E and
// G do not run over it).
func (p Proto) Reliable() bool { return p > UDP }

// Port returns the protocol's default port.
func (p Proto) Port() uint16 {
	switch p {
	case TLS:
		return 5061
	case WS:
		return 80
	case WSS:
		return 443
	}
	return 5060
}

// ParseProto returns the protocol of a name in any letter case.
func ParseProto[T ~string | ~[]byte](name T) Proto {
	for p := UDP; p <= WSS; p++ {
		if equalFold(name, protoNames[p]) {
			return p
		}
	}
	return ProtoNone
}

// Socket is a local address that the router listens on and sends from. It is
// immutable after the start.
type Socket struct {
	Index int
	Proto Proto
	// Addr is the address bound, with its real port.
	Addr netip.AddrPort
	// SentBy is the host, with a port unless it is the default one, that
	// stands in our Via and Record-Route: the advertised address or Addr.
	SentBy []byte
	// Host and Port are SentBy's parts; Port is never 0.
	Host []byte
	Port uint16
}

// Flow is the way that a message came or goes: a local socket, a remote
// address and, on a stream, the connection.
type Flow struct {
	Socket *Socket
	Remote netip.AddrPort
	// Conn numbers a connection, 0 for none yet or UDP. A message for a
	// connection that is gone goes over a new one to Remote.
	Conn uint64
}

// Valid tells whether the flow leads anywhere.
func (f Flow) Valid() bool { return f.Socket != nil && f.Remote.IsValid() }

// Proto returns the flow's protocol.
func (f Flow) Proto() Proto {
	if f.Socket == nil {
		return ProtoNone
	}
	return f.Socket.Proto
}

// Sender queues outgoing messages. It belongs to one goroutine; what it has
// queued leaves when Flush is called, at the latest at the end of the batch of
// received messages.
type Sender interface {
	// Buffer returns an empty slice with room for any message. What is
	// appended to it may be given to Send once, before the next Buffer.
	Buffer() []byte
	// Send queues a message. The bytes are not used after Send has returned,
	// unless they came from Buffer. An error says that the message certainly
	// does not leave; nil promises nothing.
	Send(to Flow, msg []byte) error
	Flush()
}

// Network is the transport layer as modules see it.
type Network interface {
	// Sockets returns the local sockets.
	Sockets() []*Socket
	// Route returns the flow to an address: over prefer if that socket has
	// the right protocol and address family, else over the first that has.
	Route(p Proto, to netip.AddrPort, prefer *Socket) (Flow, error)
	// NewSender returns a sender for a goroutine that handles no received
	// message, such as a timer's.
	NewSender() Sender
	// Alive tells whether the connection of a stream flow is still open; a
	// UDP flow always is.
	Alive(f Flow) bool
}
