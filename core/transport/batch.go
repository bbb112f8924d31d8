package transport

import (
	"bytes"
	"errors"
	"net"
	"net/netip"

	"sipr/core"
	"sipr/core/clock"
)

// batch is a number of datagrams that were read from one socket, in buffers of
// its own. A reader has one and refills it from its socket. A helper has one
// too and gets its datagrams from readers that have more than they can handle:
// SO_REUSEPORT spreads by source, so one trunk would fill one processor only.
// The goroutine that runs resume owns a batch.
type batch struct {
	t    *Transport
	r    *udpReader
	wake chan struct{} // a helper waits here; nil for a reader

	now  clock.Time
	bufs [batchSize]*Buffer
	len  [batchSize]int
	from [batchSize]netip.AddrPort
	n, i int // messages in the batch; the next one to handle
}

// resume implements source: it handles the rest of the batch and goes on with
// the next, until the handler yields or the transport is closed.
func (b *batch) resume(w *worker) {
	defer b.t.wg.Done()
	for {
		for b.i < b.n {
			i := b.i
			b.i++
			msg := b.bufs[i].B[:b.len[i]]
			if keepAlive(msg) {
				continue
			}
			b.t.handler.Handle(w, msg, core.Flow{Socket: b.r.sock.socket, Remote: b.from[i]}, b.now)
			if w.src == nil {
				w.leave()
				return
			}
		}
		w.Flush()
		b.n, b.i = 0, 0
		b.t.busy.Add(-1)
		if b.wake == nil && !b.receive() || b.wake != nil && !b.await(w) {
			w.lend()
			return
		}
	}
}

// detach implements source.
func (b *batch) detach() *Buffer {
	i := b.i - 1
	buf := b.bufs[i]
	b.bufs[i] = newBuffer()
	return buf
}

// receive fills a reader's batch; false says that the socket is closed.
func (b *batch) receive() bool {
	for {
		err := b.r.io.receive(b)
		if err == nil {
			break
		}
		if errors.Is(err, net.ErrClosed) || b.t.closed() {
			return false
		}
		b.n = 0 // an ICMP error of an earlier datagram
	}
	b.t.busy.Add(1)
	b.now = b.t.cfg.Clock.Now()
	b.t.Stats.Received.Add(int64(b.n))
	if b.n == batchSize {
		b.share()
	}
	return true
}

// share gives about half of a full batch to a helper, if a processor has nothing
// to do. The messages of one call stay together, so that none overtakes another.
func (b *batch) share() {
	if int(b.t.busy.Load())+len(b.t.slots) >= cap(b.t.slots) {
		return
	}
	var h *batch
	select {
	case h = <-b.t.helpers:
	default:
		return
	}
	n, given := 0, 0
	for i := range b.n {
		to, j := b, n
		if oddCall(b.bufs[i].B[:b.len[i]]) {
			to, j = h, given
			given++
			if h.bufs[j] == nil {
				h.bufs[j] = newBuffer()
			}
		} else {
			n++
		}
		to.bufs[j], b.bufs[i] = b.bufs[i], to.bufs[j]
		to.len[j], to.from[j] = b.len[i], b.from[i]
	}
	if given == 0 {
		b.t.helpers <- h
		return
	}
	h.r, h.now, h.n, h.i = b.r, b.now, given, 0
	b.n = n
	b.t.busy.Add(1)
	h.wake <- struct{}{}
}

var callIDName = []byte("\nCall-ID:")

// oddCall divides calls into two halves by a look at the Call-ID, as nearly
// everybody writes it; others are all in one half.
func oddCall(msg []byte) bool {
	i := bytes.Index(msg, callIDName)
	if i < 0 {
		return false
	}
	odd := byte(0)
	for _, c := range msg[i+len(callIDName):] {
		if c == '\r' || c == '\n' {
			break
		}
		odd ^= c ^ c>>1 ^ c>>2 ^ c>>3
	}
	return odd&1 != 0
}

// await fills a helper's batch; false says that the transport is closed.
func (b *batch) await(w *worker) bool {
	b.t.helpers <- b
	return b.wait(w)
}

// wait waits for a batch that a reader shares.
func (b *batch) wait(w *worker) bool {
	w.lend()
	select {
	case <-b.wake:
		w.udp = b.r
		return true
	case <-b.t.closing:
		return false
	}
}

// help is the life of a helper.
func (b *batch) help(w *worker) {
	if b.wait(w) {
		b.resume(w)
		return
	}
	b.t.wg.Done()
}

// Helpers returns how many goroutines take over batches from readers that have
// too many.
func (t *Transport) Helpers() int { return cap(t.slots) - 1 }

// startHelpers starts one helper less than there are processors.
func (t *Transport) startHelpers() {
	n := t.Helpers()
	t.helpers = make(chan *batch, n)
	for range n {
		b := &batch{t: t, wake: make(chan struct{}, 1)}
		t.helpers <- b // idle from the start, before any reader looks
		t.wg.Add(1)
		go b.help(&worker{t: t, src: b})
	}
}

// keepAlive tells whether a datagram is no message at all but holds a binding
// open in a NAT (RFC 5626 §3.5, and what phones send in its place). Nothing as
// short as this has room for a Via, so nobody could be answered.
func keepAlive(b []byte) bool {
	if len(b) < 20 {
		return true
	}
	if len(b) > 20 {
		return false
	}
	for _, c := range b {
		if c != '\r' && c != '\n' && c != 0 && c != ' ' {
			return false
		}
	}
	return true
}
