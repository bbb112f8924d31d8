package transport

import (
	"net/netip"
	"sync"

	"sipr/core"
	"sipr/core/sipmsg"
)

const (
	// batchSize is how many datagrams are read or sent by one system call.
	batchSize = 64
	// arenaSize holds a batch of outgoing datagrams of the usual size, and
	// room for the largest message after it.
	arenaSize = 64<<10 + sipmsg.MaxSize + 1
)

// source is what a worker gets its messages from: a batch of datagrams or a
// connection.
type source interface {
	// resume goes on reading, on a goroutine of its own, with w.
	resume(w *worker)
	// detach takes the buffer of the message in hand.
	detach() *Buffer
}

// datagram is one that waits in a worker's arena.
type datagram struct {
	sock     *udpReader
	to       netip.AddrPort
	off, end int
}

// outbox is what a worker has queued to send.
type outbox struct {
	arena []byte
	queue []datagram
	conns []*conn
}

var outboxes = sync.Pool{New: func() any {
	return &outbox{arena: make([]byte, 0, arenaSize), queue: make([]datagram, 0, batchSize)}
}}

// worker implements Worker; one belongs to each goroutine that handles
// messages. Its outbox is borrowed while there is something to send.
type worker struct {
	t       *Transport
	src     source
	udp     *udpReader // the reader's own socket, to answer from
	out     *outbox
	yielded bool
}

// Buffer implements core.Sender.
func (w *worker) Buffer() []byte {
	if w.out == nil {
		w.out = outboxes.Get().(*outbox)
	}
	if cap(w.out.arena)-len(w.out.arena) <= sipmsg.MaxSize {
		w.Flush()
		if w.out == nil {
			w.out = outboxes.Get().(*outbox)
		}
	}
	n := len(w.out.arena)
	return w.out.arena[n:n]
}

// Send implements core.Sender.
func (w *worker) Send(to core.Flow, msg []byte) error {
	if !to.Valid() || len(msg) == 0 {
		return ErrNoSocket
	}
	if len(msg) > sipmsg.MaxSize {
		return sipmsg.ErrTooBig
	}
	if to.Socket.Proto != core.UDP {
		return w.sendStream(to, msg)
	}
	r := w.udp
	if r == nil || r.sock.socket != to.Socket {
		r = w.t.udpFor(to.Socket)
	}
	if r == nil || to.Socket.Addr.Addr().Is4() != to.Remote.Addr().Unmap().Is4() {
		return ErrNoSocket
	}
	buf := w.Buffer()
	o := w.out
	off := len(o.arena)
	if cap(msg) != cap(buf) || &msg[:1][0] != &buf[:1][0] {
		buf = append(buf, msg...)
	} else {
		buf = msg
	}
	o.arena = o.arena[:off+len(buf)]
	o.queue = append(o.queue, datagram{r, to.Remote, off, off + len(buf)})
	if len(o.queue) == batchSize {
		w.Flush()
	}
	return nil
}

func (w *worker) sendStream(to core.Flow, msg []byte) error {
	for {
		c, err := w.t.connFor(to)
		if err != nil {
			return err
		}
		if err = w.enqueue(c, msg); err != errConnLost {
			return err
		}
		w.t.conns.remove(c) // it ended just now: a new one takes its place
	}
}

// enqueue queues a message on a connection that Flush will write.
func (w *worker) enqueue(c *conn, msg []byte) error {
	if err := c.enqueue(msg); err != nil {
		return err
	}
	if w.out == nil {
		w.out = outboxes.Get().(*outbox)
	}
	for _, d := range w.out.conns {
		if d == c {
			return nil
		}
	}
	w.out.conns = append(w.out.conns, c)
	return nil
}

// Flush implements core.Sender.
func (w *worker) Flush() {
	o := w.out
	if o == nil {
		return
	}
	for i := 0; i < len(o.queue); {
		j := i + 1
		for j < len(o.queue) && o.queue[j].sock == o.queue[i].sock {
			j++
		}
		o.queue[i].sock.send(o.arena, o.queue[i:j])
		i = j
	}
	for i, c := range o.conns {
		c.flush()
		o.conns[i] = nil
	}
	o.conns = o.conns[:0]
	o.queue = o.queue[:0]
	o.arena = o.arena[:0]
	if w.src == nil { // a goroutine without a socket keeps nothing
		w.out = nil
		outboxes.Put(o)
	}
}

// lend gives the empty outbox back to the others before a long wait.
func (w *worker) lend() {
	if w.out != nil {
		outboxes.Put(w.out)
		w.out = nil
	}
}

// Yield implements Worker.
func (w *worker) Yield() {
	src := w.src
	w.src = nil
	if w.yielded { // a second wait: the run slot is for others meanwhile
		w.yielded = false
		<-w.t.slots
	}
	w.Flush()
	w.lend()
	if src == nil {
		return
	}
	next := &worker{t: w.t, src: src, udp: w.udp}
	w.t.wg.Add(1)
	go src.resume(next)
}

// Resume implements Worker: at most one goroutine for each processor runs
// beside the readers, whatever number comes back from waiting at once.
func (w *worker) Resume() {
	if w.yielded || w.src != nil { // it did not yield since
		return
	}
	w.yielded = true
	w.t.slots <- struct{}{}
}

// leave ends the work of a goroutine that has no socket, or has handed it on.
func (w *worker) leave() {
	w.Flush()
	if w.yielded {
		w.yielded = false
		<-w.t.slots
	}
}

// Keep implements Worker.
func (w *worker) Keep() *Buffer {
	if w.src == nil {
		return nil
	}
	return w.src.detach()
}
