package acc

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// batchSize is how many rows one transaction writes at most.
	batchSize = 200
	// insertTimeout is how long one transaction may take.
	insertTimeout = 30 * time.Second
	maxRetry      = time.Minute
)

// writer takes records from the queue and writes them, on a goroutine of its
// own.
type writer struct {
	m     *Module
	queue chan *record
	// sync asks the writer to write what is queued and then to close what it
	// is sent.
	sync     chan chan struct{}
	retry    chan struct{}
	stopping chan context.Context
	done     chan struct{}

	spool   *spool
	pending []*row // not yet in the database
	delay   time.Duration
	line    bytes.Buffer

	failing    atomic.Bool
	waiting    atomic.Int64 // len(pending)
	spooled    atomic.Int64
	jsonErrors atomic.Int64
}

func newWriter(m *Module) *writer {
	w := &writer{
		m: m, queue: make(chan *record, m.queueSize), sync: make(chan chan struct{}),
		retry: make(chan struct{}, 1), stopping: make(chan context.Context), done: make(chan struct{}),
	}
	if m.spoolFile != "" {
		w.spool = &spool{m.host.Path(m.spoolFile)}
	}
	return w
}

func (w *writer) run() {
	defer close(w.done)
	if w.spool != nil && !w.spool.empty() {
		w.catchUp(context.Background())
	}
	for {
		select {
		case r := <-w.queue:
			w.take(r)
			w.drain(batchSize - 1)
			w.flush(context.Background())
		case <-w.retry:
			w.catchUp(context.Background())
		case c := <-w.sync:
			w.drain(len(w.queue))
			w.flush(context.Background())
			close(c)
		case ctx := <-w.stopping:
			w.drain(len(w.queue))
			w.last(ctx)
			return
		}
	}
}

// stop writes what is queued and ends the writer.
func (w *writer) stop(ctx context.Context) error {
	select {
	case w.stopping <- ctx:
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("accounting records were not written in time: %w", ctx.Err())
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("accounting records were not written in time: %w", ctx.Err())
	}
}

// drain takes up to n queued records.
func (w *writer) drain(n int) {
	for range n {
		select {
		case r := <-w.queue:
			w.take(r)
		default:
			return
		}
	}
}

// take writes a record to the JSON file and puts it among those that wait for
// the database.
func (w *writer) take(r *record) {
	m, out := w.m, r.row()
	m.free(r)
	m.records.Add(1)
	if m.json != nil {
		w.line.Reset()
		err := out.appendLine(&w.line)
		if err == nil {
			err = m.json.write(w.line.Bytes())
		}
		if err != nil {
			if w.jsonErrors.Add(1) == 1 {
				m.host.Log().Error("an accounting record was not written; acc.stats counts the further ones", "file", m.json.name, "err", err)
			}
		}
	}
	if m.store == nil {
		return
	}
	if len(w.pending) >= m.queueSize {
		m.lost.Add(1)
		return
	}
	w.pending = append(w.pending, out)
	w.waiting.Store(int64(len(w.pending)))
}

// flush writes what waits, unless the database is failing: then it goes to the
// spool file, if there is one.
func (w *writer) flush(ctx context.Context) {
	if !w.failing.Load() {
		if err := w.insertPending(ctx); err != nil {
			w.fail(err)
		}
	}
	if w.failing.Load() {
		w.spoolPending()
	}
}

func (w *writer) insertPending(ctx context.Context) error {
	for len(w.pending) > 0 {
		n := min(batchSize, len(w.pending))
		if err := w.insert(ctx, w.pending[:n]); err != nil {
			return err
		}
		w.drop(n)
	}
	return nil
}

func (w *writer) insert(ctx context.Context, rows []*row) error {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	return w.m.store.insert(ctx, rows)
}

// drop forgets the first n rows that wait.
func (w *writer) drop(n int) {
	left := copy(w.pending, w.pending[n:])
	clear(w.pending[left:])
	w.pending = w.pending[:left]
	w.waiting.Store(int64(left))
}

// spoolPending moves what waits to the spool file. Where that fails it goes on
// waiting.
func (w *writer) spoolPending() {
	if w.spool == nil || len(w.pending) == 0 {
		return
	}
	if err := w.spool.append(w.pending); err != nil {
		w.m.host.Log().Error("accounting records cannot be spooled", "err", err)
		return
	}
	w.spooled.Add(int64(len(w.pending)))
	w.drop(len(w.pending))
}

// fail notes that the database does not work and has it tried again later.
func (w *writer) fail(err error) {
	log := w.m.host.Log()
	if !w.failing.Swap(true) {
		w.delay = w.m.retryInterval
		log.Error("the accounting database fails; records wait", "err", err)
	} else {
		w.delay = min(2*w.delay, maxRetry)
		log.Debug("the accounting database still fails", "err", err)
	}
	w.m.host.Clock().AfterFunc(w.delay, func() {
		select {
		case w.retry <- struct{}{}:
		default:
		}
	})
}

// catchUp tries the database again: first with what was spooled, then with
// what waits.
func (w *writer) catchUp(ctx context.Context) {
	log := w.m.host.Log()
	if w.spool != nil {
		var down error
		n, bad, err := w.spool.replay(func(rows []*row) error {
			down = w.insert(ctx, rows)
			return down
		})
		if down != nil {
			w.fail(down)
			return
		}
		if err != nil { // the file's own trouble must not stop the database
			log.Error("spooled accounting records cannot be read", "err", err)
		}
		if bad > 0 {
			w.m.lost.Add(int64(bad))
			log.Error("the spool file held lines that are no records", "file", w.spool.name, "lines", bad)
		}
		if n > 0 {
			log.Info("spooled accounting records were written", "records", n)
		}
	}
	if err := w.insertPending(ctx); err != nil {
		w.fail(err)
		return
	}
	if w.failing.Swap(false) {
		log.Info("the accounting database works again")
	}
}

// last writes what waits for the last time.
func (w *writer) last(ctx context.Context) {
	if w.m.store == nil {
		return
	}
	err := w.insertPending(ctx)
	if err == nil {
		return
	}
	w.spoolPending()
	if n := len(w.pending); n > 0 {
		w.m.lost.Add(int64(n))
		w.m.host.Log().Error("accounting records were lost at the stop", "lost", n, "err", err)
	}
}
