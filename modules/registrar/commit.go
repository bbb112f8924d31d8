package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sipr/core/clock"
)

const (
	// maxBatch is how many changes go into one transaction.
	maxBatch = 512
	// maxQueue is how many changes wait for the committer; more wait in their
	// requests.
	maxQueue = 4096
	// maxFailures is how many changes of a failed batch are tried one by one
	// without any success before the database counts as down: otherwise each
	// batch would hold up the next by hundreds of timeouts.
	maxFailures = 4
	// commitTimeout is the deadline of a transaction.
	commitTimeout = 5 * time.Second
)

var errStopped = errors.New("the registrar is stopping")

// turn is the queue of those that want to change an AoR after the one that is
// being written.
type turn struct{ queue []chan struct{} }

// job is a decided change on its way to the database. It owns the AoR's turn.
type job struct {
	key  string
	rec  *record
	next []binding
	put  []*binding // rows to write, members of next
	del  []string   // ruids of rows to delete
	done chan error
}

// writer makes a batch of changes durable, all or none.
type writer interface {
	write(ctx context.Context, batch []*job) error
}

// committer is the store with a database. A change is decided while nobody else
// changes the AoR, is written together with others in one transaction, and
// becomes visible after that has been committed.
type committer struct {
	*memory
	w      writer
	clock  clock.Clock
	jobs   chan *job
	quit   chan struct{}
	ended  chan struct{}
	ctx    context.Context // of the transactions; ends when stop gives up
	cancel context.CancelFunc
}

var _ store = (*committer)(nil)

func newCommitter(mem *memory, w writer, c clock.Clock) *committer {
	s := &committer{memory: mem, w: w, clock: c, jobs: make(chan *job, maxQueue), quit: make(chan struct{}), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// change implements store. If ctx ends during the write, the write goes on and
// keeps the AoR's turn.
func (s *committer) change(ctx context.Context, key []byte, c change) error {
	rec, old, err := s.acquire(ctx, key)
	if err != nil {
		return err
	}
	next, changed, err := c.decide(old)
	if err != nil || !changed {
		s.release(key, rec)
		return err
	}
	j := &job{key: string(key), rec: rec, next: next, done: make(chan error, 1)}
	j.diff(old)
	select {
	case <-s.quit:
		s.release(key, rec)
		return errStopped
	default:
	}
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		s.release(key, rec)
		return fmt.Errorf("wait for the database: %w", ctx.Err())
	}
	select {
	case err = <-j.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the commit: %w", ctx.Err())
	case <-s.ended:
		select {
		case err = <-j.done:
			return err
		default:
			return errStopped
		}
	}
}

// diff finds the rows that have to be written.
func (j *job) diff(old []binding) {
	for i := range j.next {
		b := &j.next[i]
		if o := b.byRUID(old); o == nil || !b.unchanged(o) {
			j.put = append(j.put, b)
		}
	}
	for i := range old {
		if old[i].byRUID(j.next) == nil {
			j.del = append(j.del, string(old[i].get(fRUID)))
		}
	}
}

// acquire waits until nobody else changes the AoR.
func (s *committer) acquire(ctx context.Context, key []byte) (*record, []binding, error) {
	sh := s.shard(key)
	sh.mu.Lock()
	rec := sh.m[string(key)]
	if rec == nil {
		rec = new(record)
		sh.m[string(key)] = rec
	}
	if rec.turn == nil {
		rec.turn = new(turn)
		defer sh.mu.Unlock()
		return rec, rec.list, nil
	}
	mine := make(chan struct{}, 1)
	rec.turn.queue = append(rec.turn.queue, mine)
	sh.mu.Unlock()
	select {
	case <-mine:
		sh.mu.RLock()
		defer sh.mu.RUnlock()
		return rec, rec.list, nil
	case <-ctx.Done():
	}
	sh.mu.Lock()
	i := slices.Index(rec.turn.queue, mine)
	if i >= 0 {
		rec.turn.queue = slices.Delete(rec.turn.queue, i, i+1)
	}
	sh.mu.Unlock()
	if i < 0 { // the turn came at the same moment
		s.release(key, rec)
	}
	return nil, nil, fmt.Errorf("wait for another registration of the AoR: %w", ctx.Err())
}

// release gives the AoR to the next one in the queue.
func (s *committer) release(key []byte, rec *record) {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.pass(sh, key, rec)
}

func (s *committer) pass(sh *shard, key []byte, rec *record) {
	if q := rec.turn.queue; len(q) > 0 {
		rec.turn.queue = q[1:]
		q[0] <- struct{}{}
		return
	}
	rec.turn = nil
	s.tidy(sh, key, rec)
}

// finish ends a change: it becomes visible if it was written.
func (s *committer) finish(j *job, err error) {
	key := []byte(j.key)
	sh := s.shard(key)
	sh.mu.Lock()
	if err == nil {
		s.set(sh, key, j.rec, j.next)
	}
	s.pass(sh, key, j.rec)
	sh.mu.Unlock()
	j.done <- err
}

// run writes until stop is called and nothing waits any more.
func (s *committer) run() {
	defer close(s.ended)
	batch := make([]*job, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case j := <-s.jobs:
			batch = append(batch, j)
		case <-s.quit:
			select {
			case j := <-s.jobs:
				batch = append(batch, j)
			default:
				return
			}
		}
		s.commit(s.gather(batch))
	}
}

// gather adds what else waits.
func (s *committer) gather(batch []*job) []*job {
	for len(batch) < maxBatch {
		select {
		case j := <-s.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch. If it fails, each change is tried alone, so that only
// the culprit suffers.
func (s *committer) commit(batch []*job) {
	err := s.write(batch)
	if err == nil || len(batch) == 1 {
		for _, j := range batch {
			s.finish(j, err)
		}
		return
	}
	failures := 0
	for i, j := range batch {
		if failures < maxFailures {
			err = s.write(batch[i : i+1])
			switch {
			case err == nil:
				failures = -len(batch) // the database works
			default:
				failures++
			}
		}
		s.finish(j, err)
	}
}

// write writes under the deadline.
func (s *committer) write(batch []*job) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stop := s.clock.AfterFunc(commitTimeout, cancel)
	defer stop()
	return s.w.write(ctx, batch)
}

// stop has what waits written and ends run. When ctx ends first, the rest is
// given up.
func (s *committer) stop(ctx context.Context) error {
	select {
	case <-s.quit:
		return nil
	default:
	}
	close(s.quit)
	defer s.cancel()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	<-s.ended
	return fmt.Errorf("registrations were not written: %w", ctx.Err())
}
