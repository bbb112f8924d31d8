package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"sipr/core/clock"
)

// TCP is a TCP socket that speaks what Unix speaks. Whoever reaches it rules
// the router: it asks for no password.
type TCP struct{ stream }

// ListenTCP opens a socket at addr, "host:port" or ":port" for 127.0.0.1, and
// serves it until Close. The host is an address of the loopback, any other only
// with anywhere. A nil log discards.
func ListenTCP(addr string, anywhere bool, table *Table, log *slog.Logger, clk clock.Clock) (*TCP, error) {
	ap, err := parseAddr(addr)
	if err != nil {
		return nil, fmt.Errorf("control socket tcp:%s: %w", addr, err)
	}
	if !anywhere && !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("control socket tcp:%s: not an address of the loopback", addr)
	}
	ln, err := listenTCP(ap)
	if err != nil {
		return nil, fmt.Errorf("control socket tcp:%s: %w", addr, err)
	}
	s := new(TCP)
	s.strict = true
	s.start(ln, "tcp:"+ln.Addr().String(), table, log, clk)
	return s, nil
}

// Addr returns the address at which the socket listens.
func (s *TCP) Addr() net.Addr { return s.ln.Addr() }

// Close closes the socket and the connections that wait for a request, and lets
// the others finish theirs. When ctx ends first, the rest is cut and ctx's
// error is returned.
func (s *TCP) Close(ctx context.Context) error { return s.shut(ctx, func() {}) }

func listenTCP(ap netip.AddrPort) (net.Listener, error) {
	network := "tcp"
	if ap.Addr().Is4() { // else 0.0.0.0 would be :: as well
		network = "tcp4"
	}
	return net.Listen(network, ap.String())
}

// parseAddr reads "address:port" or ":port", which is 127.0.0.1's. Names are
// not looked up: what they lead to may change.
func parseAddr(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	return netip.ParseAddrPort(net.JoinHostPort(host, port))
}
