package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"sipr/core/clock"
)

// Unix is a unix stream socket that speaks JSON-RPC 2.0 and BINRPC, so that
// kamcmd works as well.
type Unix struct {
	stream
	path string
	info os.FileInfo // of our socket, to remove no other
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
	u := &Unix{path: path, info: info}
	u.start(ln, path, table, log, clk)
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

// Close removes the socket, closes the connections that wait for a request and
// lets the others finish theirs. When ctx ends first, the rest is cut and
// ctx's error is returned.
func (u *Unix) Close(ctx context.Context) error {
	return u.shut(ctx, func() { removeOwn(u.path, u.info) })
}
