package control

import (
	"context"
	"log/slog"
	"net"
	"net/http"
)

// httpListener accepts maxConns connections at once. It closes what comes
// beyond that, so that its peer knows.
type httpListener struct {
	net.Listener
	connSet
	log *slog.Logger
}

// httpConn is one connection of the server.
type httpConn struct {
	tracked
	l *httpListener
}

// connKey finds a request's connection in its context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// Accept implements net.Listener.
func (l *httpListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &httpConn{tracked: tracked{Conn: nc}, l: l}
		if l.enter(&c.tracked) {
			return c, nil
		}
		l.log.Warn("control http refuses a connection", "connections", maxConns)
		nc.Close()
	}
}

// Close closes the listener only; net/http closes the connections.
func (l *httpListener) Close() error { return l.Listener.Close() }

// Close implements net.Conn.
func (c *httpConn) Close() error { return c.l.leave(&c.tracked) }

// httpPeer is a peer of door.write.
type httpPeer struct {
	w http.ResponseWriter
	c *httpConn
}

// Write sends b at once, so that the time which the peer takes is known.
func (p *httpPeer) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(p.w).Flush()
}

// Close closes the connection.
func (p *httpPeer) Close() error { return p.c.Close() }
