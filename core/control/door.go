package control

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// Bounds of all doors.
const (
	commandTimeout = 30 * time.Second
	writeTimeout   = 10 * time.Second
	writeChunk     = 64 << 10
)

// defaultMode is the mode of a socket or FIFO for which none is given.
const defaultMode os.FileMode = 0o600

// door is what every kind of door is made of.
type door struct {
	table *Table
	log   *slog.Logger
	clock clock.Clock

	ctx    context.Context // of all commands; ends when Close loses patience
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (d *door) init(table *Table, log *slog.Logger, clk clock.Clock) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d.table, d.log, d.clock = table, log, clk
	d.ctx, d.cancel = context.WithCancel(context.Background())
}

// run calls a command and waits for it, but not longer than commandTimeout: a
// command that ignores its context keeps its own goroutine, not the door.
func (d *door) run(name string, params []any) (*core.Call, error) {
	ctx, cancel := context.WithCancelCause(d.ctx)
	defer cancel(nil)
	stop := d.clock.AfterFunc(commandTimeout, func() { cancel(context.DeadlineExceeded) })
	defer stop()

	type outcome struct {
		call *core.Call
		err  error
	}
	done := make(chan outcome, 1)
	d.wg.Go(func() {
		call, err := d.table.Run(ctx, name, params)
		var p *panicError
		if errors.As(err, &p) {
			d.log.Error("command panicked", "command", name, "panic", p.value, "stack", string(p.stack))
		}
		done <- outcome{call, err}
	})
	select {
	case o := <-done:
		if o.err == nil || ctx.Err() == nil {
			return o.call, o.err
		}
	case <-ctx.Done():
	}
	if context.Cause(ctx) == context.DeadlineExceeded {
		return nil, &core.Fault{Code: 504, Reason: "command " + name + " timed out"}
	}
	return nil, &core.Fault{Code: 503, Reason: "shutting down"}
}

// peer is the end of a connection or FIFO that is written to.
type peer interface {
	Write([]byte) (int, error)
	Close() error
}

// write sends b. A peer that takes no bytes for writeTimeout is closed. The
// timer closes instead of moving a deadline because the host's clock need not
// agree with the one that the network poller reads.
func (d *door) write(p peer, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		stop := d.clock.AfterFunc(writeTimeout, func() { p.Close() })
		_, err := p.Write(b[:n])
		stop()
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// wait waits until every goroutine of the door has ended. When ctx ends first,
// running commands are cancelled and abort is called.
func (d *door) wait(ctx context.Context, abort func()) error {
	idle := make(chan struct{})
	go func() {
		d.wg.Wait()
		close(idle)
	}()
	defer d.cancel()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		d.cancel()
		abort()
		return ctx.Err()
	}
}

// removeOwn removes the file at path if it still is the one that info
// describes, and not that of a successor.
func removeOwn(path string, info os.FileInfo) {
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, info) {
		os.Remove(path)
	}
}
