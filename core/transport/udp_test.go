package transport

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"sipr/core"
	"sipr/core/sipmsg"
)

func TestUDPAnswersFromTheSameAddress(t *testing.T) {
	for _, tt := range []struct {
		name string
		ip   netip.Addr
	}{{"IPv4", loop4}, {"IPv6", loop6}} {
		t.Run(tt.name, func(t *testing.T) {
			flows := make(chan core.Flow, 200)
			tr := serve(t, Config{Listen: udpOn(tt.ip, 0)}, handler{handle: func(w Worker, msg []byte, from core.Flow) {
				flows <- from
				echo(w, msg, from)
			}})
			c := dialUDP(t, tr)
			for i := range 200 {
				write(t, c, message(i, i))
			}
			seen := map[int]bool{}
			for range 200 {
				got := datagramFrom(t, c)
				n := number(got)
				if seen[n] || !bytes.Equal(got, message(n, n)) {
					t.Fatalf("got %q", got)
				}
				seen[n] = true
			}
			f := <-flows
			if f.Socket != tr.Sockets()[0] || f.Remote != c.LocalAddr().(*net.UDPAddr).AddrPort() || f.Conn != 0 {
				t.Errorf("flow %+v", f)
			}
			if !tr.Alive(f) {
				t.Error("a UDP flow is always alive")
			}
		})
	}
}

func TestUDPReadersShareAnAddress(t *testing.T) {
	if !reusePortSupported {
		t.Skip("one socket for each address on this system")
	}
	tr := serve(t, Config{Listen: udpOn(loop4, freePort(t)), Readers: 2}, handler{handle: echo})
	if n := len(tr.udp[0].readers); n != 2 {
		t.Fatalf("%d readers", n)
	}
	for i := range 32 { // the kernel picks the reader by the source port
		c := dialUDP(t, tr)
		write(t, c, message(i, 10))
		if got := datagramFrom(t, c); number(got) != i {
			t.Errorf("got %q", got)
		}
	}
}

func TestUDPKeepAlivesAreNoMessages(t *testing.T) {
	got := make(chan string, 100)
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: func(w Worker, msg []byte, from core.Flow) {
		got <- string(msg)
		echo(w, msg, from)
	}})
	c := dialUDP(t, tr)
	for _, s := range []string{"", "x", "\r\n\r\n", "\r\n", "\n", "\x00", "\x00\x00\x00\x00", "jaK", " ",
		strings.Repeat("\x00", 20), strings.Repeat("\r\n", 10)} {
		write(t, c, []byte(s))
	}
	write(t, c, message(7, 0))
	if m := datagramFrom(t, c); number(m) != 7 {
		t.Errorf("answered %q", m)
	}
	if m := receive(t, got, "the message"); m != string(message(7, 0)) {
		t.Errorf("handled %q", m)
	}
	if len(got) > 0 {
		t.Errorf("handled %q", <-got)
	}
}

func TestUDPLargestDatagram(t *testing.T) {
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: echo})
	c := dialUDP(t, tr)
	want := bytes.Repeat([]byte("0123456"), 65507/7+1)[:65507]
	for range 3 {
		write(t, c, want)
		if got := datagramFrom(t, c); !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes", len(got))
		}
	}
}

func TestSendRefusesWhatCannotLeave(t *testing.T) {
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: echo})
	s := tr.Sockets()[0]
	to := netip.AddrPortFrom(loop4, 9)
	stranger := *s
	w := tr.NewSender()
	for _, tt := range []struct {
		name string
		flow core.Flow
		msg  []byte
		want error
	}{
		{"no flow", core.Flow{}, []byte("x"), ErrNoSocket},
		{"nothing", core.Flow{Socket: s, Remote: to}, nil, ErrNoSocket},
		{"other family", core.Flow{Socket: s, Remote: netip.AddrPortFrom(loop6, 9)}, []byte("x"), ErrNoSocket},
		{"socket of somebody else", core.Flow{Socket: &stranger, Remote: to}, []byte("x"), ErrNoSocket},
		{"too big", core.Flow{Socket: s, Remote: to}, make([]byte, sipmsg.MaxSize+1), sipmsg.ErrTooBig},
	} {
		if err := w.Send(tt.flow, tt.msg); err != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	w.Flush()
	c := dialUDP(t, tr)
	good := core.Flow{Socket: s, Remote: c.LocalAddr().(*net.UDPAddr).AddrPort()}
	// The kernel refuses the one in the middle; the others leave.
	for _, f := range []core.Flow{good, {Socket: s, Remote: netip.AddrPortFrom(loop4, 0)}, good} {
		if err := w.Send(f, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	for range 2 {
		if got := datagramFrom(t, c); string(got) != "hello" {
			t.Errorf("got %q", got)
		}
	}
	if n := tr.Stats.SendErrors.Load(); n != 1 {
		t.Errorf("%d send errors", n)
	}
}

func TestSendOwnBufferAndForeignBytes(t *testing.T) {
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: echo})
	c := dialUDP(t, tr)
	to := core.Flow{Socket: tr.Sockets()[0], Remote: c.LocalAddr().(*net.UDPAddr).AddrPort()}
	w := tr.NewSender()
	foreign := make([]byte, 5)
	for i := range 200 {
		b := fmt.Appendf(w.Buffer(), "own %d", i)
		if err := w.Send(to, b); err != nil {
			t.Fatal(err)
		}
		copy(foreign, fmt.Sprintf("%05d", i))
		if err := w.Send(to, foreign); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	for i := range 200 {
		own, other := string(datagramFrom(t, c)), string(datagramFrom(t, c))
		if own != fmt.Sprintf("own %d", i) || other != fmt.Sprintf("%05d", i) {
			t.Fatalf("%d: got %q and %q", i, own, other)
		}
	}
}

// One source fills one socket: a helper takes half of the calls in a full
// batch, while the reader is busy with its first message. Within a call nothing
// is overtaken.
func TestSurplusGoesToAHelper(t *testing.T) {
	if !reusePortSupported {
		t.Skip("a batch is one datagram on this system")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	const perCall = 4
	var once sync.Once
	other := make(chan struct{})
	handled := make(chan int, 2*batchSize)
	tr := open(t, Config{Listen: udpOn(loop4, 0)})
	c := dialUDP(t, tr)
	for i := range 2 * batchSize {
		write(t, c, fmt.Appendf(nil, "OPTIONS sip:example.com SIP/2.0\r\nCall-ID: c%d\r\nCSeq: %d OPTIONS\r\n\r\n", i/perCall, i))
	}
	tr.Serve(handler{handle: func(w Worker, msg []byte, from core.Flow) {
		n := number(msg)
		switch {
		case n == 0:
			receive(t, other, "a helper")
		case oddCall(msg):
			once.Do(func() { close(other) })
		}
		handled <- n
		echo(w, msg, from)
	}})
	next := map[int]int{} // of each call
	for range 2 * batchSize {
		n := receive(t, handled, "message")
		if call := n / perCall; n%perCall != next[call] {
			t.Fatalf("message %d of call %d, want %d", n%perCall, call, next[call])
		}
		next[n/perCall]++
	}
	seen := map[int]bool{}
	for range 2 * batchSize {
		seen[number(datagramFrom(t, c))] = true
	}
	if len(seen) != 2*batchSize {
		t.Errorf("%d answers are missing", 2*batchSize-len(seen))
	}
	until(t, "nobody is busy", func() bool { return tr.busy.Load() == 0 && len(tr.helpers) == 1 })
}
