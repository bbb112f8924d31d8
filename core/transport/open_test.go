package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sipr/core"
	"sipr/core/clock"
)

func TestSecondRouterOnAnAddress(t *testing.T) {
	l := udpOn(loop4, freePort(t))
	for _, readers := range []int{1, 2} {
		cfg := Config{Listen: l, Readers: readers, Clock: clock.NewReal()}
		first := serve(t, cfg, handler{handle: echo})
		second, err := Open(cfg)
		if err == nil {
			second.Close(context.Background())
			t.Fatal("two routers on one address")
		}
		want := "listen UDP:" + l[0].Addr.String() + ": another sipr listens there already"
		if runtime.GOOS != "linux" {
			want = "listen UDP:" + l[0].Addr.String() + ": the address is in use by another program"
		}
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
		c := dialUDP(t, first) // the first is not disturbed
		write(t, c, message(1, 1))
		datagramFrom(t, c)
		closeIt(t, first)
		again, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		closeIt(t, again)
	}
}

func TestAddressInUseByAnotherProgram(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, tt := range []struct {
		proto   core.Proto
		addr    netip.AddrPort
		readers int
	}{
		{core.UDP, c.LocalAddr().(*net.UDPAddr).AddrPort(), 1},
		{core.UDP, c.LocalAddr().(*net.UDPAddr).AddrPort(), 2},
		{core.TCP, ln.Addr().(*net.TCPAddr).AddrPort(), 1},
	} {
		free := freePort(t)
		_, err := Open(Config{Clock: clock.NewReal(), Readers: tt.readers, Listen: append(udpOn(loop4, free), Listen{Proto: tt.proto, Addr: tt.addr})})
		if err == nil {
			t.Fatalf("%s: no error", tt.proto)
		}
		if want := "listen " + tt.proto.String() + ":" + tt.addr.String() + ": the address is in use by another program"; !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
		// What had been bound before is free again.
		closeIt(t, open(t, Config{Listen: udpOn(loop4, free)}))
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		l    Listen
		want string
	}{
		{"TLS", Listen{Proto: core.TLS, Addr: netip.AddrPortFrom(loop4, 0)}, "no certificate"},
		{"port", Listen{Proto: core.UDP, Addr: netip.AddrPortFrom(loop4, 0), Advertise: "example.com:99999"}, "bad port"},
		{"foreign address", Listen{Proto: core.UDP, Addr: netip.MustParseAddrPort("192.0.2.1:0")}, "192.0.2.1"},
	} {
		if _, err := Open(Config{Clock: clock.NewReal(), Listen: []Listen{tt.l}}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestSentBy(t *testing.T) {
	for _, tt := range []struct {
		addr, advertise string
		proto           core.Proto
		want, host      string
		port            uint16
	}{
		{"192.0.2.1:5060", "", core.UDP, "192.0.2.1", "192.0.2.1", 5060},
		{"192.0.2.1:5070", "", core.TCP, "192.0.2.1:5070", "192.0.2.1", 5070},
		{"[2001:db8::1]:5070", "", core.UDP, "[2001:db8::1]:5070", "[2001:db8::1]", 5070},
		{"192.0.2.1:5070", "sip.example.com", core.UDP, "sip.example.com:5070", "sip.example.com", 5070},
		{"192.0.2.1:5070", "sip.example.com:5060", core.UDP, "sip.example.com", "sip.example.com", 5060},
		{"192.0.2.1:5070", "[2001:db8::2]:5080", core.UDP, "[2001:db8::2]:5080", "[2001:db8::2]", 5080},
	} {
		s := &core.Socket{Proto: tt.proto, Addr: netip.MustParseAddrPort(tt.addr)}
		if err := name(s, tt.advertise); err != nil || string(s.SentBy) != tt.want || string(s.Host) != tt.host || s.Port != tt.port {
			t.Errorf("%s as %q: %q, %q, %d, %v", tt.addr, tt.advertise, s.SentBy, s.Host, s.Port, err)
		}
	}
}

// Close ends everything, whatever the connections are at.
func TestCloseEndsEverything(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	ln, to := peer(t)
	handled := make(chan struct{}, 100)
	tr := serve(t, Config{Listen: append(tcpOn(loop4), udpOn(loop4, 0)...), Readers: 2}, handler{handle: func(w Worker, msg []byte, from core.Flow) {
		handled <- struct{}{}
		echo(w, msg, from)
	}})
	whole := message(1, 10)
	for _, s := range []string{"\r\n", "OPTIONS", string(whole[:len(whole)-5]), ""} {
		c := dialTCP(t, tr)
		write(t, c, []byte(string(whole)+s))
		receive(t, handled, "message")
		expect(t, c, whole)
	}
	w := tr.NewSender()
	f := core.Flow{Socket: tr.Sockets()[0], Remote: to}
	stall(t, w, f, 8000) // a writer waits for this peer
	accept(t, ln)
	closeIt(t, tr)
	closeIt(t, tr) // again does nothing
	if n := tr.Stats.ConnsOpen.Load(); n != 0 || len(tr.Conns(10)) != 0 {
		t.Errorf("%d connections open, listed %v", n, tr.Conns(10))
	}
	if err := w.Send(f, whole); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send after Close: %v", err)
	}
	w.Flush()
	ln.Close()
	goleak.VerifyNone(t, leak)
}

// Connections that come, go and are opened while the transport closes are
// closed too.
func TestCloseWhileConnecting(t *testing.T) {
	for range 10 {
		tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: echo})
		addr := tr.Sockets()[0].Addr
		var all sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr)); err == nil {
						c.SetLinger(0)
						c.Write(message(1, 1))
						c.Close()
					}
				}
			})
			all.Go(func() {
				w := tr.NewSender()
				for i := uint16(1); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					w.Send(core.Flow{Socket: tr.Sockets()[0], Remote: netip.AddrPortFrom(loop4, i%50+1)}, message(1, 1))
					w.Flush()
				}
			})
		}
		until(t, "there is traffic", func() bool { return tr.Stats.Received.Load() > 10 })
		closeIt(t, tr)
		close(stop)
		all.Wait()
	}
}

// A connection that is accepted or opened at the very moment of Close does not
// stay behind.
func TestNothingStartsAfterClose(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: echo})
	ln, to := peer(t)
	nc, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(tr, core.Flow{Socket: tr.Sockets()[0], Remote: to})
	c.nc = nc
	if !tr.conns.add(c, 1, 1) {
		t.Fatal("no place")
	}
	closeIt(t, tr)
	if c.start() {
		t.Error("it starts")
	}
	c.shut()
	expectEnd(t, accept(t, ln))
}

func TestCloseWaitsForHandlersUntilTheDeadline(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: func(Worker, []byte, core.Flow) {
		close(entered)
		<-release
	}})
	write(t, dialUDP(t, tr), message(1, 1))
	receive(t, entered, "message")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := tr.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	close(release)
}

func TestRouteOver(t *testing.T) {
	socket := func(p core.Proto, a string) *core.Socket {
		return &core.Socket{Proto: p, Addr: netip.MustParseAddrPort(a)}
	}
	lo, pub, six, tcp := socket(core.UDP, "127.0.0.1:5060"), socket(core.UDP, "192.0.2.1:5060"), socket(core.UDP, "[2001:db8::1]:5060"), socket(core.TCP, "192.0.2.1:5060")
	all := []*core.Socket{lo, pub, six, tcp}
	for _, tt := range []struct {
		p       core.Proto
		to      string
		prefer  *core.Socket
		sockets []*core.Socket
		want    *core.Socket
	}{
		{core.UDP, "198.51.100.1:5060", nil, all, pub},
		{core.UDP, "127.0.0.9:5060", nil, all, lo},
		{core.UDP, "198.51.100.1:5060", lo, all, lo},
		{core.UDP, "198.51.100.1:5060", six, all, pub},
		{core.UDP, "198.51.100.1:5060", tcp, all, pub},
		{core.TCP, "198.51.100.1:5060", pub, all, tcp},
		{core.UDP, "[2001:db8::9]:5060", nil, all, six},
		{core.UDP, "198.51.100.1:5060", nil, []*core.Socket{lo}, lo},
		{core.TCP, "[2001:db8::9]:5060", nil, all, nil},
	} {
		f, err := RouteOver(tt.sockets, tt.p, netip.MustParseAddrPort(tt.to), tt.prefer)
		if f.Socket != tt.want || (err == ErrNoSocket) != (tt.want == nil) {
			t.Errorf("%s %s: %+v, %v", tt.p, tt.to, f.Socket, err)
		}
	}
}
