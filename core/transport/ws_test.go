package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipr/core"
	"sipr/core/sipmsg"
)

// dialWS opens a WebSocket; change may change how.
func dialWS(t *testing.T, tr *Transport, path string, opts *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	if opts == nil {
		opts = &websocket.DialOptions{Subprotocols: []string{"sip"}}
	}
	s := tr.Sockets()[0]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, strings.ToLower(s.Proto.String())+"://"+s.Addr.String()+path, opts)
	if err == nil {
		c.SetReadLimit(-1)
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, resp, err
}

func mustDialWS(t *testing.T, tr *Transport, opts *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	c, _, err := dialWS(t, tr, "/", opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func sendWS(t *testing.T, c *websocket.Conn, typ websocket.MessageType, msg []byte) {
	t.Helper()
	if err := c.Write(patient(t), typ, msg); err != nil {
		t.Fatal(err)
	}
}

func expectWS(t *testing.T, c *websocket.Conn, typ websocket.MessageType, want []byte) {
	t.Helper()
	got, b, err := c.Read(patient(t))
	if err != nil || got != typ || string(b) != string(want) {
		t.Fatalf("got %v %.200q, %v; want %v %.200q", got, b, err, typ, want)
	}
}

func TestWSEcho(t *testing.T) {
	a := newAuthority(t)
	for _, p := range []core.Proto{core.WS, core.WSS} {
		t.Run(p.String(), func(t *testing.T) {
			tr := serve(t, Config{Listen: []Listen{on(p)}, TLS: TLS{Certificates: []CertFile{a.issue("one", nil, "127.0.0.1")}}}, handler{handle: echo})
			opts := &websocket.DialOptions{Subprotocols: []string{"other", "sip"}}
			if p == core.WSS {
				client := &http.Transport{TLSClientConfig: a.client("127.0.0.1")}
				defer client.CloseIdleConnections()
				opts.HTTPClient = &http.Client{Transport: client}
			}
			c := mustDialWS(t, tr, opts)
			if c.Subprotocol() != "sip" {
				t.Errorf("subprotocol %q", c.Subprotocol())
			}
			text, binary := websocket.MessageText, websocket.MessageBinary
			sendWS(t, c, text, message(1, 5))
			expectWS(t, c, text, message(1, 5))
			sendWS(t, c, binary, message(2, 5)) // it is text all the same
			expectWS(t, c, text, message(2, 5))
			bytes := append(message(3, 0), 0xff, 0xfe)
			sendWS(t, c, binary, bytes)
			expectWS(t, c, binary, bytes)
			large := message(4, sipmsg.MaxSize-200)
			sendWS(t, c, text, large)
			expectWS(t, c, text, large)
			short := []byte("OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n") // no Content-Length
			sendWS(t, c, text, short)
			expectWS(t, c, text, short)
			sendWS(t, c, text, []byte(ping))
			expectWS(t, c, text, pong)
			w, err := c.Writer(patient(t), text) // fragments
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range message(5, 50) {
				w.Write([]byte{b})
			}
			w.Close()
			expectWS(t, c, text, message(5, 50))
			c.CloseRead(patient(t))
			if err := c.Ping(patient(t)); err != nil {
				t.Errorf("ping: %v", err)
			}
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("close: %v", err)
			}
			until(t, "it is gone", func() bool { return len(tr.Conns(1)) == 0 })
		})
	}
}

func TestWSRefuses(t *testing.T) {
	tr := serve(t, Config{Listen: []Listen{on(core.WS)}, WSPath: "/sip", WSOrigins: []string{"https://phone.example.com", "https://*.example.net"}}, handler{handle: echo})
	for _, tt := range []struct {
		path, origin string
		protocols    []string
		code         int
	}{
		{"/sip", "", []string{"sip"}, 101},
		{"/sip?x=y", "", []string{"SIP"}, 101},
		{"/sip", "https://phone.example.com", []string{"sip"}, 101},
		{"/sip", "https://PHONE.example.com", []string{"xmpp", "sip"}, 101},
		{"/sip", "https://a.example.net", []string{"sip"}, 101},
		{"/sip", "http://phone.example.com", []string{"sip"}, 403},
		{"/sip", "https://evil.example.org", []string{"sip"}, 403},
		{"/sip", "https://example.net", []string{"sip"}, 403},
		{"/sip", "null", []string{"sip"}, 403},
		{"/sip", "", nil, 400},
		{"/sip", "", []string{"xmpp"}, 400},
		{"/", "", []string{"sip"}, 404},
	} {
		opts := &websocket.DialOptions{Subprotocols: tt.protocols, HTTPHeader: http.Header{}}
		if tt.origin != "" {
			opts.HTTPHeader.Set("Origin", tt.origin)
		}
		_, resp, err := dialWS(t, tr, tt.path, opts)
		if resp == nil || resp.StatusCode != tt.code {
			t.Errorf("%v: %v, %v", tt, resp, err)
		}
	}
	for name, tt := range map[string]struct{ request, want string }{
		"page":    {"GET /sip HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 426 "},
		"post":    {"POST /sip HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Protocol: sip\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 "},
		"version": {"GET /sip HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 400 "},
		"noise":   {"OPTIONS sip:a SIP/2.0\r\n\r\n", ""},
		"endless": {"GET /sip HTTP/1.1\r\nHost: " + strings.Repeat("a", 20000) + "\r\n\r\n", ""},
	} {
		c := dialTCP(t, tr)
		c.Write([]byte(tt.request))
		b, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(b), tt.want) || tt.want == "" && len(b) > 0 {
			t.Errorf("%s: %.100q", name, b)
		}
	}
	until(t, "no handshake is left", func() bool {
		tr.handshakes.mu.Lock()
		defer tr.handshakes.mu.Unlock()
		return tr.handshakes.total == 0 && len(tr.handshakes.perIP) == 0
	})
}

func TestCheckOrigin(t *testing.T) {
	for _, s := range []string{"https://a.example", "http://a.example:8080", "https://*.example.com", "https://a.example/"} {
		if err := CheckOrigin(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "a.example", "*", "ftp://a", "https://a/b", "https://"} {
		if CheckOrigin(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// TestWSFrames speaks the protocol by hand: a frame in pieces, and what RFC
// 6455 forbids.
func TestWSFrames(t *testing.T) {
	tr := serve(t, Config{Listen: []Listen{on(core.WS)}}, handler{handle: echo})
	connect := func() (net.Conn, *bufio.Reader) {
		c := dialTCP(t, tr)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n")
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Fatalf("%v, %v", resp, err)
		}
		return c, r
	}
	frame := func(first byte, payload []byte) []byte {
		b := []byte{first, 0x80 | 126, byte(len(payload) >> 8), byte(len(payload)), 1, 2, 3, 4}
		for i, x := range payload {
			b = append(b, x^byte(i%4+1))
		}
		return b
	}
	msg := message(7, 300)
	c, r := connect()
	for _, b := range frame(0x81, msg) { // byte by byte
		write(t, c, []byte{b})
	}
	got := make([]byte, 4+len(msg))
	if _, err := io.ReadFull(r, got); err != nil || got[0] != 0x81 || string(got[4:]) != string(msg) {
		t.Errorf("got %q, %v", got, err)
	}
	for name, bytes := range map[string][]byte{
		"not masked":  {0x81, 1, 'a'},
		"reserved":    frame(0xf1, msg),
		"no begin":    frame(0x80, msg),
		"opcode":      frame(0x83, msg),
		"huge":        {0x81, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4},
		"long ping":   frame(0x89, msg),
		"nested":      append(frame(0x01, msg), frame(0x81, msg)...),
		"half closed": {0x88, 0x81, 0, 0, 0, 0, 3},
	} {
		c, r := connect()
		write(t, c, bytes)
		if name == "huge" { // the bytes follow until somebody has enough
			go io.Copy(c, io.LimitReader(endless{}, 1<<20))
		}
		rest, err := io.ReadAll(r)
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %q, %v", name, rest, err)
		}
	}
	until(t, "one is left", func() bool { return len(tr.Conns(99)) == 1 })
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestWSGone: nothing is opened towards a client that is gone.
func TestWSGone(t *testing.T) {
	flows := make(chan core.Flow, 1)
	tr := serve(t, Config{Listen: []Listen{on(core.WS)}}, handler{handle: func(_ Worker, _ []byte, f core.Flow) { flows <- f }})
	c := mustDialWS(t, tr, nil)
	sendWS(t, c, websocket.MessageText, message(1, 1))
	f := receive(t, flows, "message")
	byAddress, err := tr.Route(core.WS, f.Remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := tr.NewSender()
	for i, to := range []core.Flow{f, byAddress} { // by its number, and by its address
		if err := w.Send(to, message(i, 2)); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		expectWS(t, c, websocket.MessageText, message(i, 2))
	}
	c.CloseNow()
	until(t, "it is gone", func() bool { return !tr.Alive(f) })
	for _, to := range []core.Flow{f, byAddress} {
		if err := w.Send(to, message(9, 2)); err != errClientGone {
			t.Errorf("Send: %v", err)
		}
	}
}

// TestWSPing: a peer that answers stays, longer than the idle time; one that
// does not is given up.
func TestWSPing(t *testing.T) {
	tr := serve(t, Config{Listen: []Listen{on(core.WS)}, WSPing: 250 * time.Millisecond, WriteTime: 2 * time.Second, Idle: time.Second}, handler{handle: echo})
	mute := mustDialWS(t, tr, nil) // nobody reads, so nobody answers pings
	c := mustDialWS(t, tr, nil)
	pings := make(chan struct{}, 100)
	good := mustDialWS(t, tr, &websocket.DialOptions{Subprotocols: []string{"sip"}, OnPingReceived: func(context.Context, []byte) bool { pings <- struct{}{}; return true }})
	good.CloseRead(context.Background())
	c.CloseRead(context.Background())
	for range 5 {
		receive(t, pings, "pings")
	}
	until(t, "the mute one is gone", func() bool { return len(tr.Conns(9)) == 2 })
	_ = mute
}

// TestWSCloseIsPolite: a router that stops says so, and does not wait long for
// those who do not answer.
func TestWSCloseIsPolite(t *testing.T) {
	tr := serve(t, Config{Listen: []Listen{on(core.WS)}}, handler{handle: echo})
	c, mute := mustDialWS(t, tr, nil), mustDialWS(t, tr, nil)
	_ = mute
	got := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		got <- err
	}()
	begin := time.Now()
	closeIt(t, tr)
	if d := time.Since(begin); d > 3*closeTime {
		t.Errorf("Close took %v", d)
	}
	if err := receive(t, got, "close frame"); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the end is %v", err)
	}
}

func TestWSTooLarge(t *testing.T) {
	tr := serve(t, Config{Listen: []Listen{on(core.WS)}}, handler{handle: echo})
	c := mustDialWS(t, tr, nil)
	c.Write(patient(t), websocket.MessageText, message(1, sipmsg.MaxSize))
	_, _, err := c.Read(patient(t))
	if websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("the end is %v", err)
	}
}

// TestWSYield: a message whose handler waits does not hold up the next.
func TestWSYield(t *testing.T) {
	second := make(chan struct{})
	tr := serve(t, Config{Listen: []Listen{on(core.WS)}}, handler{handle: func(w Worker, msg []byte, f core.Flow) {
		if number(msg) == 1 {
			b := w.Keep()
			w.Yield()
			<-second
			w.Resume()
			defer b.Free()
		} else {
			close(second)
		}
		w.Send(f, append(w.Buffer(), msg...))
	}})
	c := mustDialWS(t, tr, nil)
	sendWS(t, c, websocket.MessageText, message(1, 1))
	sendWS(t, c, websocket.MessageText, message(2, 1))
	got := map[int]bool{}
	for range 2 {
		_, b, err := c.Read(patient(t))
		if err != nil {
			t.Fatal(err)
		}
		got[number(b)] = true
	}
	if !got[1] || !got[2] {
		t.Errorf("answers %v", got)
	}
}
