package control

import (
	"net"
	"sync"
	"time"

	"sipr/core/clock"
)

// closeGrace is how long a peer may take to read its answer when the door is
// being closed.
const closeGrace = time.Second

// connState is what a connection is doing.
type connState int

const (
	connWaiting connState = iota // for a request, of which a part may have arrived
	connRunning
	connWriting // the answer
)

// tracked is a connection of a door; state is guarded by its connSet's mu.
type tracked struct {
	net.Conn
	state connState
}

// connSet is the connections of a door, at most maxConns.
type connSet struct {
	mu      sync.Mutex
	conns   map[*tracked]struct{}
	closing bool
}

// enter adds c if there is room.
func (s *connSet) enter(c *tracked) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= maxConns {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[*tracked]struct{})
	}
	s.conns[c] = struct{}{}
	return true
}

// leave closes c and makes room for another connection.
func (s *connSet) leave(c *tracked) error {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	return c.Conn.Close()
}

// set reports whether c may go on after what it begins or has ended.
func (s *connSet) set(c *tracked, state connState, clk clock.Clock) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.state = state
	if s.closing && state == connWriting {
		clk.AfterFunc(closeGrace, func() { c.Conn.Close() })
	}
	return !s.closing
}

// close closes the connections that wait, and soon those that do not read. It
// reports whether it is the first to do so.
func (s *connSet) close(clk clock.Clock) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.closing
	s.closing = true
	for c := range s.conns {
		switch c.state {
		case connWaiting:
			c.Conn.Close()
		case connWriting:
			clk.AfterFunc(closeGrace, func() { c.Conn.Close() })
		}
	}
	return first
}

// cut closes all connections.
func (s *connSet) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Conn.Close()
	}
}
