package transport

import (
	"sync"
	"sync/atomic"

	"sipr/core/sipmsg"
)

// Buffer is memory for one received message of any size.
type Buffer struct{ B []byte }

var buffers = sync.Pool{New: func() any {
	// Allocations of this size all begin on a page, and a cache keeps what lies
	// at one offset of every page in the same few lines: the messages of a
	// batch would push each other out. So each begins somewhere else.
	const stagger, places = 1088, 59 // 17 lines of 64 bytes
	off := int(buffersMade.Add(1)%places) * stagger
	return &Buffer{B: make([]byte, off+sipmsg.MaxSize+1)[off:]}
}}

var buffersMade atomic.Uint32

func newBuffer() *Buffer { return buffers.Get().(*Buffer) }

// Free gives the buffer back. Nobody may use what lies in it afterwards.
func (b *Buffer) Free() { buffers.Put(b) }

// sendStates holds the kernel structures for sending a batch.
var sendStates = sync.Pool{New: newSendState}
