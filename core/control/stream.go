package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"sipr/core/clock"
)

// Bounds of the doors that have connections.
const (
	maxConns    = 64
	maxLine     = 1 << 20         // of a line, a packet or a body, in bytes
	idleTimeout = 5 * time.Minute // for a whole request to arrive
	acceptPause = time.Second     // after a failed accept, such as no more files
)

// stream is what the doors on stream sockets have in common. A peer speaks
// JSON-RPC 2.0, one document a line, or BINRPC; the first byte of each request
// tells which. Each connection has its own goroutine and its calls are answered
// in order.
type stream struct {
	door
	connSet
	ln   net.Listener
	name string // for the log

	// strict ends a connection at the first line that is no JSON-RPC. Without
	// it, a page in a browser could hide commands in the body of a request
	// that it sends here.
	strict bool

	closed chan struct{}
}

func (s *stream) start(ln net.Listener, name string, table *Table, log *slog.Logger, clk clock.Clock) {
	s.ln, s.name, s.closed = ln, name, make(chan struct{})
	s.init(table, log, clk)
	s.wg.Go(s.accept)
}

// shut ends the listener after calling remove, the first time, then closes the
// connections that wait for a request and lets the others finish theirs.
func (s *stream) shut(ctx context.Context, remove func()) error {
	if s.connSet.close(s.clock) {
		close(s.closed)
		remove()
		s.ln.Close()
	}
	return s.wait(ctx, s.cut)
}

func (s *stream) accept() {
	for {
		nc, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Error("control socket cannot accept", "socket", s.name, "error", err)
			again := make(chan struct{})
			stop := s.clock.AfterFunc(acceptPause, func() { close(again) })
			select {
			case <-again:
			case <-s.closed:
				stop()
				return
			}
			continue
		}
		c := &tracked{Conn: nc}
		if !s.enter(c) {
			s.log.Warn("control socket refuses a connection", "socket", s.name, "connections", maxConns)
			s.write(c, append(errorResponse(nil, &rpcError{Code: 503, Message: "too many connections"}), '\n'))
			c.Close()
			continue
		}
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *stream) serve(c *tracked) {
	defer s.leave(c)
	r := bufio.NewReader(c)
	for {
		stop := s.clock.AfterFunc(idleTimeout, func() { c.Close() })
		q, err := readRequest(r)
		stop()
		if err != nil || !s.set(c, connRunning, s.clock) {
			return
		}
		out, last := s.answer(&q)
		s.set(c, connWriting, s.clock)
		if len(out) > 0 {
			if err := s.write(c, out); err != nil {
				s.log.Debug("control socket cannot answer", "socket", s.name, "error", err)
				return
			}
		}
		if !s.set(c, connWaiting, s.clock) || last {
			return
		}
	}
}

// streamRequest is what a peer sent: a line or, if packet is set, that.
type streamRequest struct {
	packet  *binPacket
	line    []byte
	tooLong bool
	last    bool // the peer sends nothing after it
}

// readRequest reads a line or a packet. An error means that there is neither.
func readRequest(r *bufio.Reader) (q streamRequest, err error) {
	first, err := r.Peek(1)
	if err != nil {
		return q, err
	}
	if first[0] == binMark {
		q.packet, err = readPacket(r)
		return q, err
	}
	q.line, q.tooLong, err = readLine(r, maxLine)
	if err == io.EOF { // a document may end with the connection
		q.last, err = true, nil
	}
	return q, err
}

// answer returns what goes back, and whether the connection ends with it.
func (s *stream) answer(q *streamRequest) (out []byte, last bool) {
	if q.packet != nil {
		return s.answerBinary(q.packet)
	}
	last = q.last || s.strict && (q.tooLong || !looksJSON(q.line))
	if q.tooLong {
		out = errorResponse(nil, &rpcError{Code: codeParse, Message: fmt.Sprintf("parse error: line longer than %d bytes", maxLine)})
	} else {
		out = s.answerJSON(q.line)
	}
	if out != nil {
		out = append(out, '\n')
	}
	return out, last
}

// readLine reads up to and including a line's end, or what there is before an
// error. Of a line longer than limit nothing is kept.
func readLine(r *bufio.Reader, limit int) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			line, tooLong = nil, true
		} else if !tooLong {
			line = append(line, part...)
		}
		if err != bufio.ErrBufferFull {
			return line, tooLong, err
		}
	}
}
