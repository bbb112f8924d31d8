package core

import (
	"net/netip"
	intern "unique"
)

// Proto is a transport protocol.
type Proto uint8

// The transport protocols.
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

// Secure tells whether the transport is encrypted.
func (p Proto) Secure() bool { return p == TLS || p == WSS }

// WebSocket tells whether a message is one WebSocket message (RFC 7118). Its
// peer is a client always: nothing can be opened towards it.
func (p Proto) WebSocket() bool { return p >= WS }

// Framed tells whether the Content-Length says where a message ends, so that it
// may not be missing (RFC 3261 §18.3; RFC 7118 §5 for WebSocket).
func (p Proto) Framed() bool { return p == TCP || p == TLS }

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
	// connection that is gone goes over a new one to Remote, except over
	// WebSocket, where only the client can open one.
	Conn uint64
	// Host is the name that led to Remote: a server that is reached by TLS has
	// to prove that it is its own (RFC 5922). The zero value stands for Remote itself.
	Host HostName
}

// HostName is the name of a host in a form that is small and can be compared.
type HostName struct{ h intern.Handle[string] }

// NameOf returns the HostName of a name in any letter case.
func NameOf[T ~string | ~[]byte](name T) HostName {
	var tmp [64]byte
	b := append(tmp[:0], name...)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	if n := len(b); n > 0 && b[n-1] == '.' {
		b = b[:n-1]
	}
	if len(b) == 0 {
		return HostName{}
	}
	return HostName{intern.Make(string(b))}
}

// String returns the name in lower case, without a dot at its end.
func (n HostName) String() string {
	if n == (HostName{}) {
		return ""
	}
	return n.h.Value()
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
