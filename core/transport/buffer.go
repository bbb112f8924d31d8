package transport

import (
	"sync"

	"sipr/core/sipmsg"
)

// Buffer is memory for one received message of any size.
type Buffer struct{ B []byte }

var buffers = sync.Pool{New: func() any { return &Buffer{B: make([]byte, sipmsg.MaxSize+1)} }}

func newBuffer() *Buffer { return buffers.Get().(*Buffer) }

// Free gives the buffer back. Nobody may use what lies in it afterwards.
func (b *Buffer) Free() { buffers.Put(b) }

// sendStates holds the kernel structures for sending a batch.
var sendStates = sync.Pool{New: newSendState}
