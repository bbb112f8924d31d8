package tm

import "sync"

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

// compact moves a message that is kept for a while to as little memory as
// holds it.
func (m *Module) compact(b []byte) []byte {
	if cap(b) < bufferSize || len(b) > smallSize {
		return b
	}
	s, ok := m.small.get()
	if !ok {
		s = make([]byte, 0, smallSize)
	}
	s = append(s, b...)
	m.reuse(b)
	return s
}
