package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"sipr/core/clock"
)

// Bounds of the unix socket.
const (
	maxConns    = 64
	maxLine     = 1 << 20
	idleTimeout = 5 * time.Minute // for a whole line to arrive
	acceptPause = time.Second     // after a failed accept, such as no more files
)

// Unix is a unix stream socket that speaks JSON-RPC 2.0, one document a line.
// Each connection has its own goroutine and its calls are answered in order.
type Unix struct {
	door
	ln   *net.UnixListener
	path string
	info os.FileInfo // of our socket, to remove no other

	mu      sync.Mutex
	conns   map[*unixConn]struct{}
	closing bool
	closed  chan struct{} // closed with closing
}

// unixConn is one connection; busy, guarded by Unix.mu, while a line of it is
// being answered.
type unixConn struct {
	net.Conn
	busy bool
}

// ListenUnix opens a socket at path with the given mode (0 means 0600) and
// serves it until Close. The folder must exist. A socket that a dead process
// left behind is replaced; one on which somebody answers, and any other kind of
// file, is an error. A nil log discards.
func ListenUnix(path string, mode os.FileMode, table *Table, log *slog.Logger, clk clock.Clock) (*Unix, error) {
	if mode == 0 {
		mode = defaultMode
	}
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	// The socket must not be open to others between bind and chmod.
	cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { restrict(fd, mode) })
	}}
	l, err := cfg.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	ln := l.(*net.UnixListener)
	ln.SetUnlinkOnClose(false) // it would remove a successor's socket
	info, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		ln.Close()
		os.Remove(path)
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	u := &Unix{ln: ln, path: path, info: info, conns: make(map[*unixConn]struct{}), closed: make(chan struct{})}
	u.init(table, log, clk)
	u.wg.Go(u.accept)
	return u, nil
}

// clearSocket makes sure that a socket can be bound at path.
func clearSocket(path string) error {
	if dir, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("control socket %s: folder: %w", path, err)
	} else if !dir.IsDir() {
		return fmt.Errorf("control socket %s: %s is not a folder", path, filepath.Dir(path))
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s: a file of that name exists and is not a socket", path)
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("control socket %s: already in use", path)
	}
	// Only a refusal proves that nobody listens: a full backlog does not.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("control socket %s: exists and may be in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control socket %s: stale: %w", path, err)
	}
	return nil
}

// Path returns the socket's path.
func (u *Unix) Path() string { return u.path }

// Close removes the socket, closes the connections that wait for a line and
// lets the others finish theirs. When ctx ends first, the rest is cut and
// ctx's error is returned.
func (u *Unix) Close(ctx context.Context) error {
	u.mu.Lock()
	if !u.closing {
		u.closing = true
		close(u.closed)
		removeOwn(u.path, u.info)
		u.ln.Close()
	}
	for c := range u.conns {
		if !c.busy {
			c.Close()
		}
	}
	u.mu.Unlock()
	return u.wait(ctx, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for c := range u.conns {
			c.Close()
		}
	})
}

func (u *Unix) accept() {
	for {
		nc, err := u.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			u.log.Error("control socket cannot accept", "path", u.path, "error", err)
			again := make(chan struct{})
			stop := u.clock.AfterFunc(acceptPause, func() { close(again) })
			select {
			case <-again:
			case <-u.closed:
				stop()
				return
			}
			continue
		}
		c := &unixConn{Conn: nc}
		if !u.enter(c) {
			u.log.Warn("control socket refuses a connection", "path", u.path, "connections", maxConns)
			u.write(c, append(errorResponse(nil, &rpcError{Code: 503, Message: "too many connections"}), '\n'))
			c.Close()
			continue
		}
		u.wg.Go(func() { u.serve(c) })
	}
}

func (u *Unix) enter(c *unixConn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closing || len(u.conns) >= maxConns {
		return false
	}
	u.conns[c] = struct{}{}
	return true
}

func (u *Unix) leave(c *unixConn) {
	c.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.conns, c)
}

// setBusy reports whether c may go on.
func (u *Unix) setBusy(c *unixConn, busy bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	c.busy = busy
	return !u.closing
}

func (u *Unix) serve(c *unixConn) {
	defer u.leave(c)
	r := bufio.NewReader(c)
	for {
		stop := u.clock.AfterFunc(idleTimeout, func() { c.Close() })
		line, tooLong, err := readLine(r, maxLine)
		stop()
		// A document may end with the connection instead of a line's end.
		if err != nil && err != io.EOF || !u.setBusy(c, true) {
			return
		}
		var out []byte
		if tooLong {
			out = errorResponse(nil, &rpcError{Code: codeParse, Message: fmt.Sprintf("parse error: line longer than %d bytes", maxLine)})
		} else {
			out = u.answerJSON(line)
		}
		if out != nil {
			if werr := u.write(c, append(out, '\n')); werr != nil {
				u.log.Debug("control socket cannot answer", "path", u.path, "error", werr)
				return
			}
		}
		if !u.setBusy(c, false) || err != nil {
			return
		}
	}
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
