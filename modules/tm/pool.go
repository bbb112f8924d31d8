package tm

import (
	"sync"

	"sipr/core"
)

// freeList keeps things for use again. Unlike sync.Pool it does not forget them
// at every garbage collection, so that a steady load allocates nothing.
type freeList[T any] struct {
	mu   sync.Mutex
	free []T
	max  int
}

func (l *freeList[T]) get() (v T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.free)
	if n == 0 {
		return v, false
	}
	v = l.free[n-1]
	var zero T
	l.free[n-1] = zero
	l.free = l.free[:n-1]
	return v, true
}

func (l *freeList[T]) put(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.free) < l.max {
		l.free = append(l.free, v)
	}
}

// cell is a transaction with all that one of the usual kind needs, in one piece
// of memory: one branch, and keys of the usual length.
type cell struct {
	tx       tx
	branch   branch
	branches [1]*branch
	spare    [1]*branch
	ways     [1]core.Flow
	key      [160]byte
	id       [branchLen]byte
}

// cells is how many are allocated at once: a load that rises must not burden
// the allocator with each transaction.
const cells = 32

// fresh returns an empty transaction.
func (m *Module) fresh() *tx {
	if t, ok := m.pool.get(); ok {
		return t
	}
	chunk := make([]cell, cells)
	for i := range chunk {
		c := &chunk[i]
		t := &c.tx
		t.m = m
		t.retr.Owner, t.end.Owner = t, t
		c.branch.belong(t, 0)
		c.branch.id, c.branch.ways = c.id[:0], c.ways[:0]
		c.spare[0] = &c.branch
		t.key, t.branches, t.spare = c.key[:0], c.branches[:0], c.spare[:]
		if i > 0 {
			m.pool.put(t)
		}
	}
	return &chunk[0].tx
}

const (
	maxFree    = 1 << 16
	bufferSize = 2048 // room for nearly every message
	smallSize  = 512  // room for nearly every response without a body
)

// buffer returns an empty buffer for a message.
func (m *Module) buffer() []byte {
	if b, ok := m.bufs.get(); ok {
		return b
	}
	return make([]byte, 0, bufferSize)
}

// reuse takes a buffer that nobody needs any more.
func (m *Module) reuse(b []byte) {
	switch {
	case cap(b) >= bufferSize && cap(b) <= 4*bufferSize:
		m.bufs.put(b[:0])
	case cap(b) == smallSize:
		m.small.put(b[:0])
	}
}

// smallBuffers makes many small buffers at once and returns one.
func (m *Module) smallBuffers() []byte {
	const n = 128
	chunk := make([]byte, n*smallSize)
	for i := 1; i < n; i++ {
		m.small.put(chunk[i*smallSize : i*smallSize : (i+1)*smallSize])
	}
	return chunk[0:0:smallSize]
}

// compact moves a message that is kept for a while to as little memory as
// holds it.
func (m *Module) compact(b []byte) []byte {
	if cap(b) < bufferSize || len(b) > smallSize {
		return b
	}
	s, ok := m.small.get()
	if !ok {
		s = m.smallBuffers()
	}
	s = append(s, b...)
	m.reuse(b)
	return s
}
