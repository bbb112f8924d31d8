package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.IPv6Loopback()
)

// handler is a Handler made of functions.
type handler struct {
	handle func(w Worker, msg []byte, from core.Flow)
	lost   func(msg []byte, to core.Flow)
}

func (h handler) Handle(w Worker, msg []byte, from core.Flow, _ clock.Time) { h.handle(w, msg, from) }
func (h handler) Undeliverable(_ Worker, msg []byte, to core.Flow) {
	if h.lost != nil {
		h.lost(msg, to)
	}
}

// echo answers every message with itself.
func echo(w Worker, msg []byte, from core.Flow) {
	w.Send(from, append(w.Buffer(), msg...))
}

// serve opens a transport that is closed at the end of the test.
func serve(t *testing.T, cfg Config, h Handler) *Transport {
	t.Helper()
	tr := open(t, cfg)
	tr.Serve(h)
	return tr
}

func open(t *testing.T, cfg Config) *Transport {
	t.Helper()
	cfg.Clock = clock.NewReal()
	tr, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, tr) })
	return tr
}

func closeIt(t *testing.T, tr *Transport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		buf := make([]byte, 1<<20)
		t.Errorf("Close: %v\n%s", err, buf[:runtime.Stack(buf, true)])
	}
}

func udpOn(a netip.Addr, port uint16) []Listen {
	return []Listen{{Proto: core.UDP, Addr: netip.AddrPortFrom(a, port)}}
}

func tcpOn(a netip.Addr) []Listen {
	return []Listen{{Proto: core.TCP, Addr: netip.AddrPortFrom(a, 0)}}
}

// freePort returns a UDP port that nobody has.
func freePort(t *testing.T) uint16 {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// dialUDP returns a socket that takes datagrams from one address only.
func dialUDP(t *testing.T, tr *Transport) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(tr.Sockets()[0].Addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadBuffer(4 << 20)
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func dialTCP(t *testing.T, tr *Transport) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(tr.Sockets()[0].Addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func write(t *testing.T, c net.Conn, msg []byte) {
	t.Helper()
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
}

// expect reads exactly the bytes of want.
func expect(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %.200q, %v; want %.200q", got[:n], err, want)
	}
}

// datagram reads one datagram.
func datagramFrom(t *testing.T, c *net.UDPConn) []byte {
	t.Helper()
	b := make([]byte, sipmsg.MaxSize)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// expectEnd wants the peer to close without another byte.
func expectEnd(t *testing.T, c net.Conn) {
	t.Helper()
	b := make([]byte, 64)
	n, err := c.Read(b)
	if ne, ok := err.(net.Error); n > 0 || err == nil || ok && ne.Timeout() {
		t.Fatalf("got %q, %v; want the end of the connection", b[:n], err)
	}
}

// receive takes the next value of a channel.
func receive[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("nothing came: %s", what)
	}
	return v
}

// until asks again and again until ok.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// message is the n-th of a stream of messages, with a body of size bytes.
func message(n, size int) []byte {
	return fmt.Appendf(nil, "OPTIONS sip:example.com SIP/2.0\r\nCSeq: %d OPTIONS\r\nContent-Length: %d\r\n\r\n%s",
		n, size, bytes.Repeat([]byte{'x'}, size))
}

// number returns the n of a message.
func number(msg []byte) (n int) {
	if i := bytes.Index(msg, []byte("CSeq: ")); i >= 0 {
		fmt.Sscanf(string(msg[i:]), "CSeq: %d", &n)
	}
	return n
}
