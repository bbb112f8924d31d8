//go:build unix

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sipr/core"
	"sipr/core/clock"
)

// Bounds of the FIFO.
const (
	replyTries  = 4 // after the first one
	replyPause  = 80 * time.Millisecond
	maxReplies  = 64              // that are being written at once
	staleAfter  = 2 * time.Second // what a writer left unfinished is dropped
	defaultRoot = "/tmp"
)

// FIFO is a named pipe that speaks SER's FIFO protocol. Commands run one after
// the other, in the order of their arrival, since scripts that want no reply
// rely on it. Replies are delivered beside them.
type FIFO struct {
	door
	file     *os.File
	path     string
	info     os.FileInfo // of our FIFO, to remove no other
	replyDir string

	replies atomic.Int32
	once    sync.Once
	closed  chan struct{}
}

// ListenFIFO makes a FIFO at path with the given mode (0 means 0600) and serves
// it until Close. Replies go to FIFOs in replyDir, /tmp if that is empty. A FIFO
// that nobody reads is replaced; one that is read, and any other kind of file,
// is an error. A nil log discards.
func ListenFIFO(path string, mode os.FileMode, replyDir string, table *Table, log *slog.Logger, clk clock.Clock) (*FIFO, error) {
	if mode == 0 {
		mode = defaultMode
	}
	if replyDir == "" {
		replyDir = defaultRoot
	}
	if err := clearFIFO(path); err != nil {
		return nil, err
	}
	if err := unix.Mkfifo(path, uint32(mode.Perm())); err != nil {
		return nil, fmt.Errorf("control FIFO %s: %w", path, err)
	}
	// Our own write end keeps the FIFO from ending with its last writer.
	file, info, err := openFIFO(path, unix.O_RDWR)
	if err == nil {
		if err = file.Chmod(mode); err != nil {
			file.Close()
		}
	}
	if err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("control FIFO %s: %w", path, err)
	}
	f := &FIFO{file: file, path: path, info: info, replyDir: replyDir, closed: make(chan struct{})}
	f.init(table, log, clk)
	f.wg.Go(f.serve)
	return f, nil
}

// clearFIFO makes sure that a FIFO can be made at path.
func clearFIFO(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control FIFO %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeNamedPipe {
		return fmt.Errorf("control FIFO %s: a file of that name exists and is not a FIFO", path)
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
		return fmt.Errorf("control FIFO %s: already in use", path)
	}
	if err != unix.ENXIO { // ENXIO: nobody reads
		return fmt.Errorf("control FIFO %s: exists and may be in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control FIFO %s: stale: %w", path, err)
	}
	return nil
}

// openFIFO opens a FIFO without blocking. The name must lead to the FIFO
// itself, by no symbolic link and under no second name, and must not change
// meanwhile: in a folder such as /tmp, anybody could otherwise have us write
// into a file of their choice.
func openFIFO(path string, flags int) (*os.File, os.FileInfo, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, nil, err
	}
	if before.Mode().Type() != fs.ModeNamedPipe {
		return nil, nil, fmt.Errorf("%s is not a FIFO", path)
	}
	fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	// NewFile, unlike os.Open, leaves every non-blocking file to the poller.
	file := os.NewFile(uintptr(fd), path)
	info, err := file.Stat()
	switch {
	case err != nil:
	case !os.SameFile(before, info):
		err = fmt.Errorf("%s was exchanged while it was opened", path)
	case st.Nlink != 1:
		err = fmt.Errorf("%s has more than one name", path)
	default:
		return file, info, nil
	}
	file.Close()
	return nil, nil, err
}

// Path returns the FIFO's path.
func (f *FIFO) Path() string { return f.path }

// Close removes the FIFO and lets a running command and the replies finish.
// When ctx ends first, the command is cancelled and ctx's error returned.
func (f *FIFO) Close(ctx context.Context) error {
	f.once.Do(func() {
		close(f.closed)
		removeOwn(f.path, f.info)
		f.file.Close()
	})
	return f.wait(ctx, func() {})
}

func (f *FIFO) serve() {
	var (
		scan fifoScanner
		last clock.Time
		buf  = make([]byte, 4096)
	)
	for {
		n, err := f.file.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				f.log.Error("control FIFO cannot be read", "path", f.path, "error", err)
			}
			return
		}
		now := f.clock.Now()
		if scan.partial() && now.Sub(last) > staleAfter {
			f.log.Warn("control FIFO drops an unfinished request", "path", f.path)
			scan.reset()
		}
		last = now
		for _, b := range buf[:n] {
			if !scan.next(b) {
				continue
			}
			f.handle(scan.lines, scan.skipped)
			scan.reset()
			select {
			case <-f.closed:
				return
			default:
			}
		}
	}
}

// handle runs one request.
func (f *FIFO) handle(lines []string, tooLong bool) {
	if tooLong {
		lines = lines[:1]
	}
	req, err := parseFIFO(lines)
	var call *core.Call
	if err == nil {
		call, err = f.call(req, tooLong)
	} else if fault := (*core.Fault)(nil); !errors.As(err, &fault) {
		f.log.Warn("control FIFO skips what is no request", "path", f.path, "error", err)
		return
	}
	if req.reply == "" {
		if err != nil {
			f.log.Warn("command from the control FIFO failed", "command", req.method, "error", err)
		}
		return
	}
	f.deliver(req.reply, fifoReply(call, err))
}

func (f *FIFO) call(req fifoRequest, tooLong bool) (*core.Call, error) {
	if tooLong {
		return nil, &core.Fault{Code: 400, Reason: "Request too long"}
	}
	c, ok := f.table.lookup(req.method)
	if !ok {
		return nil, &core.Fault{Code: 500, Reason: fmt.Sprintf("Command '%s' not found", req.method)}
	}
	params, err := bindFIFO(c, req.lines)
	if err != nil {
		return nil, err
	}
	return f.run(req.method, params)
}

// deliver writes a reply to the FIFO of that name, without waiting for it.
func (f *FIFO) deliver(name string, text []byte) {
	path := filepath.Join(f.replyDir, name)
	if f.replies.Add(1) > maxReplies {
		f.replies.Add(-1)
		f.log.Warn("control FIFO drops a reply: too many peers do not read theirs", "reply", path)
		return
	}
	f.wg.Go(func() {
		defer f.replies.Add(-1)
		out, err := f.openReply(path)
		if err == nil {
			err = f.write(out, text)
			out.Close()
		}
		if err != nil {
			f.log.Warn("control FIFO cannot deliver a reply", "reply", path, "error", err)
		}
	})
}

// openReply opens the FIFO for a reply. Its reader may not have opened it yet:
// clients do that after they have sent the request.
func (f *FIFO) openReply(path string) (*os.File, error) {
	for try := 0; ; try++ {
		file, _, err := openFIFO(path, unix.O_WRONLY)
		if err == nil || try == replyTries || !errors.Is(err, unix.ENXIO) {
			return file, err
		}
		again := make(chan struct{})
		stop := f.clock.AfterFunc(replyPause, func() { close(again) })
		select {
		case <-again:
		case <-f.ctx.Done():
			stop()
			return nil, err
		}
	}
}
