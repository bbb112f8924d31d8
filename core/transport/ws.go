package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"sipr/core/clock"
	"sipr/core/sipmsg"
)

const (
	// maxUpgrade bounds the HTTP request that opens a WebSocket.
	maxUpgrade = 16 << 10
	// Sizes of a WebSocket's buffers, which it keeps while it is idle: what
	// does not fit is read and written without them.
	wsReadBuffer, wsWriteBuffer = 1 << 10, 4 << 10
	// subprotocol is what a client has to ask for (RFC 7118 §4.1).
	subprotocol = "sip"
)

// upgrade does the WebSocket handshake of a server (RFC 6455 §4.2).
func (c *conn) upgrade() error {
	r := bufio.NewReaderSize(&io.LimitedReader{R: c.nc, N: maxUpgrade}, wsReadBuffer)
	req, err := http.ReadRequest(r)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	w := &upgradeWriter{c: c, r: r, header: http.Header{}}
	if code, err := c.t.mayUpgrade(req); err != nil {
		http.Error(w, err.Error(), code)
		return w.refused(err)
	}
	opts := &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // mayUpgrade has looked at the origin
		OnPingReceived:     func(context.Context, []byte) bool { c.alive(); return true },
		OnPongReceived:     func(context.Context, []byte) { c.alive() },
	}
	if c.ws, err = websocket.Accept(w, req, opts); err != nil {
		return w.refused(err)
	}
	c.ws.SetReadLimit(sipmsg.MaxSize)
	return nil
}

// mayUpgrade checks what the router's settings and RFC 7118 ask of a client; the
// rest is RFC 6455.
func (t *Transport) mayUpgrade(r *http.Request) (int, error) {
	if p := t.cfg.WSPath; p != "" && r.URL.Path != p {
		return http.StatusNotFound, fmt.Errorf("there is nothing at %s", r.URL.Path)
	}
	if origin := r.Header.Get("Origin"); origin != "" && !originAllowed(t.cfg.WSOrigins, origin) {
		return http.StatusForbidden, fmt.Errorf("pages of %s may not connect", origin)
	}
	if r.Header.Get("Upgrade") == "" {
		return 0, nil // not for a WebSocket at all
	}
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(p), subprotocol) {
				return 0, nil
			}
		}
	}
	return http.StatusBadRequest, errors.New("the WebSocket subprotocol sip is required (RFC 7118)")
}

// originAllowed tells whether pages of an origin may connect. A * in a pattern
// stands for any text without a slash; an empty list allows everyone.
func originAllowed(patterns []string, origin string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(strings.ToLower(strings.TrimSuffix(p, "/")), strings.ToLower(origin))
		return ok
	})
}

// CheckOrigin checks a pattern of Config.WSOrigins.
func CheckOrigin(pattern string) error {
	u, err := url.Parse(strings.ReplaceAll(pattern, "*", "x"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%q is no origin such as https://phone.example.com or https://*.example.com", pattern)
	}
	return nil
}

// upgradeWriter is an http.ResponseWriter for the one answer that opens a
// WebSocket or refuses it.
type upgradeWriter struct {
	c      *conn
	r      *bufio.Reader
	header http.Header
	body   bytes.Buffer
	code   int
}

// Header implements http.ResponseWriter.
func (w *upgradeWriter) Header() http.Header { return w.header }

// Write implements http.ResponseWriter.
func (w *upgradeWriter) Write(b []byte) (int, error) { return w.body.Write(b) }

// WriteHeader implements http.ResponseWriter.
func (w *upgradeWriter) WriteHeader(code int) { w.code = code }

// Hijack implements http.Hijacker: the answer leaves, the rest is WebSocket.
func (w *upgradeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	err := w.send()
	return w.c.nc, bufio.NewReadWriter(w.r, bufio.NewWriterSize(w.c.nc, wsWriteBuffer)), err
}

func (w *upgradeWriter) send() error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", w.code, http.StatusText(w.code))
	w.header.Write(&b)
	b.WriteString("\r\n")
	b.Write(w.body.Bytes())
	_, err := w.c.nc.Write(b.Bytes())
	return err
}

// refused sends the answer that says why there is no WebSocket.
func (w *upgradeWriter) refused(err error) error {
	if w.code == http.StatusSwitchingProtocols {
		return err
	}
	w.header.Set("Connection", "close")
	w.header.Set("Content-Length", fmt.Sprint(w.body.Len()))
	if w.send() == nil {
		w.c.closeWrite()
		w.c.drain(make([]byte, 512))
	}
	return err
}

// alive notes that the peer of a WebSocket answers. A message that is under way
// keeps its deadline.
func (c *conn) alive() {
	if !c.inMessage.Load() {
		c.setDeadline(c.t.cfg.Idle)
	}
}

// receiveMessage reads one WebSocket message, of whatever fragments; false says
// that the connection is over.
func (c *conn) receiveMessage() bool {
	c.setDeadline(c.t.cfg.Idle)
	_, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return false
	}
	c.inMessage.Store(true)
	c.setDeadline(c.t.cfg.MessageTime)
	c.buf = newBuffer()
	c.lo, c.hi = 0, 0
	for err == nil && c.hi < len(c.buf.B) {
		var n int
		n, err = r.Read(c.buf.B[c.hi:])
		c.hi += n
	}
	c.inMessage.Store(false)
	if err == nil { // it is too large: reading on tells the peer so
		r.Read(make([]byte, 1))
		c.lost = true
	}
	return err == io.EOF
}

// handleMessage hands the message in the buffer, a WebSocket message, to the
// handler.
func (c *conn) handleMessage(w *worker, now clock.Time) {
	if c.buf == nil {
		return
	}
	b := c.buf.B[c.lo:c.hi]
	c.lo = c.hi
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		c.lineBreak(w, b[0])
		b = b[1:]
	}
	if len(b) > 0 {
		c.breaks = 0
		c.t.Stats.Received.Add(1)
		c.t.handler.Handle(w, b, c.flow, now)
		if w.src == nil {
			return
		}
	}
	if c.buf != nil {
		c.buf.Free()
		c.buf = nil
	}
}

// writeMessages writes every message of a queue as one of its own, as text if
// it is text. It returns how many bytes of the queue were written.
func (c *conn) writeMessages(q *outQueue) (int, error) {
	start := 0
	c.nc.SetWriteDeadline(time.Now().Add(c.t.cfg.WriteTime))
	for _, end := range q.ends {
		msg, typ := q.b[start:end], websocket.MessageText
		if !utf8.Valid(msg) {
			typ = websocket.MessageBinary
		}
		if err := c.ws.Write(context.Background(), typ, msg); err != nil {
			return start, err
		}
		start = end
	}
	return start, nil
}

// pingWS asks the peer of a WebSocket whether it is there, and ends the
// connection if it does not answer in time.
func (c *conn) pingWS() {
	if !c.t.begin() {
		return
	}
	go func() {
		defer c.t.wg.Done()
		ctx, cancel := context.WithTimeout(c.t.ctx, c.t.cfg.WriteTime)
		defer cancel()
		if c.ws.Ping(ctx) != nil {
			c.shut()
		}
	}()
}

// leaveWS does the closing handshake, which may take closeTime.
func (c *conn) leaveWS() {
	stop := time.AfterFunc(closeTime, func() { c.raw.Close() })
	c.ws.Close(websocket.StatusGoingAway, "the server stops")
	stop.Stop()
}
