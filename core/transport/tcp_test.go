package transport

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/sipmsg"
)

func TestTCPFraming(t *testing.T) {
	var stream []byte
	for i := range 20 {
		stream = append(stream, message(i, i*7)...)
	}
	for _, size := range []int{1, 2, 3, 7, 100, 1000, len(stream)} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: echo})
			c := dialTCP(t, tr)
			for rest := stream; len(rest) > 0; {
				n := min(size, len(rest))
				write(t, c, rest[:n])
				rest = rest[n:]
			}
			expect(t, c, stream)
			if n := tr.Stats.Received.Load(); n != 20 {
				t.Errorf("received %d", n)
			}
			until(t, "all counted as sent", func() bool { return tr.Stats.Sent.Load() == 20 })
		})
	}
}

func TestTCPIPv6(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop6)}, handler{handle: echo})
	c := dialTCP(t, tr)
	write(t, c, message(1, 1))
	expect(t, c, message(1, 1))
}

func TestTCPBurstIsAnsweredInOrder(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: echo})
	c := dialTCP(t, tr)
	var stream []byte
	for i := range 5000 {
		stream = append(stream, message(i, i%1500)...)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := c.Write(stream)
		failed <- err
	}()
	expect(t, c, stream)
	if err := receive(t, failed, "end of writing"); err != nil {
		t.Fatal(err)
	}
}

func TestTCPLargestMessage(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: echo})
	c := dialTCP(t, tr)
	big := message(1, sipmsg.MaxSize-len(message(1, 10000))+10000)
	if len(big) != sipmsg.MaxSize {
		t.Fatal(len(big))
	}
	both := append(append(message(2, 60000), big...), big...)
	write(t, c, both)
	expect(t, c, both)
}

func TestTCPKeepAlive(t *testing.T) {
	const end = "\r\n"
	for _, tt := range []struct {
		name, send string
		pongs      int
	}{
		{"double", "\r\n\r\n", 1},
		{"twice", "\r\n\r\n\r\n\r\n", 2},
		{"before a message", "\r\n\r\nM", 1},
		{"after a message", "M\r\n\r\n", 1},
		{"single", "\r\nM", 0},
		{"line feeds", "\n\nM\n", 0},
		{"carriage returns", "\r\r\nM\r", 0},
		{"apart", "\r\nM\r\n", 0},
		{"many", strings.Repeat("\r\n\r\n", 100), 100},
	} {
		for _, pieces := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", tt.name, pieces), func(t *testing.T) {
				handled := make(chan string, 10)
				tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: func(w Worker, msg []byte, _ core.Flow) {
					handled <- string(msg)
				}})
				c := dialTCP(t, tr)
				send := []byte(strings.ReplaceAll(tt.send, "M", string(message(1, 3))))
				if pieces {
					for i := range send {
						write(t, c, send[i:i+1])
					}
				} else {
					write(t, c, send)
				}
				expect(t, c, bytes.Repeat([]byte(end), tt.pongs))
				write(t, c, message(2, 0))
				if strings.Contains(tt.send, "M") {
					if m := receive(t, handled, "message"); m != string(message(1, 3)) {
						t.Errorf("handled %q", m)
					}
				}
				if m := receive(t, handled, "message"); m != string(message(2, 0)) {
					t.Errorf("handled %q", m)
				}
				c.CloseWrite()
				expectEnd(t, c) // no further pong
			})
		}
	}
}

// A single line break does not begin a message that has to get complete.
func TestTCPSingleLineBreakKeepsTheConnection(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop4), MessageTime: 50 * time.Millisecond}, handler{handle: echo})
	for _, s := range []string{"\r\n", "\n", "\r", "\r\n\r"} {
		c := dialTCP(t, tr)
		write(t, c, []byte(s))
		c.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || !err.(net.Error).Timeout() {
			t.Errorf("%q: %d, %v", s, n, err)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		write(t, c, message(1, 0))
		expect(t, c, message(1, 0))
	}
}

func TestTCPWithoutLengthIsTheLastMessage(t *testing.T) {
	head := "OPTIONS sip:example.com SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n"
	for _, wait := range []bool{false, true} {
		t.Run(fmt.Sprintf("wait %v", wait), func(t *testing.T) {
			handled := make(chan string, 10)
			tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: func(w Worker, msg []byte, from core.Flow) {
				if wait {
					b := w.Keep()
					w.Yield()
					w.Resume()
					if b != nil {
						defer b.Free()
					}
				}
				handled <- string(msg)
				echo(w, msg, from)
			}})
			for range 10 { // a run slot that leaks would be missed
				c := dialTCP(t, tr)
				write(t, c, []byte(head+strings.Repeat("what follows is not looked at", 10000)))
				if m := receive(t, handled, "header section"); m != head {
					t.Errorf("handled %q", m)
				}
				expect(t, c, []byte(head))
				// No reset, which might overtake the answer.
				if n, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("%d bytes, %v", n, err)
				}
				c.Close()
			}
			until(t, "all are closed", func() bool { return tr.Stats.ConnsOpen.Load() == 0 && len(tr.slots) == 0 })
			if len(handled) > 0 {
				t.Errorf("handled %q too", <-handled)
			}
		})
	}
}

func TestTCPOversizedMessageCloses(t *testing.T) {
	head := fmt.Sprintf("OPTIONS sip:example.com SIP/2.0\r\nContent-Length: %d\r\n\r\n", sipmsg.MaxSize)
	for _, tt := range []struct{ name, send, handled string }{
		{"by its length", head, head},
		{"by its header section", "OPTIONS sip:example.com SIP/2.0\r\nX: " + strings.Repeat("x", 2*sipmsg.MaxSize), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handled := make(chan string, 10)
			tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: func(w Worker, msg []byte, from core.Flow) {
				handled <- string(msg)
			}})
			c := dialTCP(t, tr)
			write(t, c, []byte(tt.send))
			expectEnd(t, c)
			if tt.handled != "" {
				if m := receive(t, handled, "header section"); m != tt.handled {
					t.Errorf("handled %.100q", m)
				}
			} else if len(handled) > 0 {
				t.Errorf("handled %.100q", <-handled)
			}
		})
	}
}

func TestTCPTimeouts(t *testing.T) {
	const short = 40 * time.Millisecond
	for _, tt := range []struct {
		name, send string
		cfg        Config
	}{
		{"idle", "", Config{Idle: short}},
		{"idle after a message", string(message(1, 0)), Config{Idle: short}},
		{"half a message", "OPTIONS sip:", Config{MessageTime: short}},
		{"half a message behind a whole one", string(message(1, 0)) + "OPTIONS sip:", Config{MessageTime: short}},
		{"half a body", string(message(1, 100)[:120]), Config{MessageTime: short}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Listen = tcpOn(loop4)
			tr := serve(t, tt.cfg, handler{handle: func(Worker, []byte, core.Flow) {}})
			c := dialTCP(t, tr)
			if tt.send != "" {
				write(t, c, []byte(tt.send))
			}
			expectEnd(t, c)
			until(t, "it is forgotten", func() bool { return tr.Stats.ConnsOpen.Load() == 0 && len(tr.Conns(10)) == 0 })
		})
	}
}

// Bytes that trickle in do not prolong the time for a message.
func TestTCPTrickleCloses(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop4), MessageTime: 100 * time.Millisecond}, handler{handle: echo})
	c := dialTCP(t, tr)
	begin := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
		if time.Since(begin) > patience/2 {
			t.Fatal("still open")
		}
	}
}

func TestTCPBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
	}{
		{"all", Config{MaxConns: 2}},
		{"of one address", Config{MaxConnsPerIP: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Listen = tcpOn(loop4)
			tr := serve(t, tt.cfg, handler{handle: echo})
			var open []*net.TCPConn
			for i := range 2 {
				c := dialTCP(t, tr)
				write(t, c, message(i, 0))
				expect(t, c, message(i, 0))
				open = append(open, c)
			}
			expectEnd(t, dialTCP(t, tr))
			if n := tr.Stats.ConnsRefused.Load(); n != 1 {
				t.Errorf("%d refused", n)
			}
			open[0].Close()
			until(t, "a place is free", func() bool { return len(tr.Conns(10)) == 1 })
			c := dialTCP(t, tr)
			write(t, c, message(3, 0))
			expect(t, c, message(3, 0))
		})
	}
}

func TestTCPReusesConnections(t *testing.T) {
	flows := make(chan core.Flow, 10)
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: func(w Worker, msg []byte, from core.Flow) {
		flows <- from
	}})
	c := dialTCP(t, tr)
	write(t, c, message(1, 0))
	f := receive(t, flows, "flow")
	if f.Conn == 0 || !tr.Alive(f) || tr.Alive(core.Flow{Socket: f.Socket, Remote: f.Remote}) {
		t.Errorf("flow %+v", f)
	}
	w := tr.NewSender()
	elsewhere := f
	elsewhere.Remote = netip.AddrPortFrom(loop4, 1)
	gone := f
	gone.Conn = 999
	for i, to := range []core.Flow{f, {Socket: f.Socket, Remote: f.Remote}, elsewhere, gone} {
		if err := w.Send(to, message(i, 5)); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		expect(t, c, message(i, 5))
	}
	if list := tr.Conns(10); len(list) != 1 || list[0].ID != f.Conn || list[0].Remote != f.Remote || list[0].Proto != core.TCP {
		t.Errorf("connections %+v", list)
	}
	c.Close()
	until(t, "it is closed", func() bool { return !tr.Alive(f) })
}
