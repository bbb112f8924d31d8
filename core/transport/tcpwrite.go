package transport

import (
	"time"

	"sipr/core"
)

// keptQueue is how many bytes of memory an empty write queue may hold on to.
const keptQueue = 16 << 10

// outQueue is messages that wait to be written, one behind the other.
type outQueue struct {
	b    []byte
	ends []int // where each message ends
}

func (q *outQueue) push(msg []byte) {
	q.b = append(q.b, msg...)
	q.ends = append(q.ends, len(q.b))
}

func (q *outQueue) clear() {
	if cap(q.b) > keptQueue {
		*q = outQueue{}
		return
	}
	q.b, q.ends = q.b[:0], q.ends[:0]
}

// rest calls f with every message that does not lie in the first n bytes.
func (q *outQueue) rest(n int, f func(msg []byte)) {
	start := 0
	for _, end := range q.ends {
		if end > n {
			f(q.b[start:end])
		}
		start = end
	}
}

// enqueue copies a message to the connection's write queue. Whoever did so
// calls flush afterwards.
func (c *conn) enqueue(msg []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errConnLost
	}
	if c.waiting()+len(msg) > c.t.cfg.WriteQueue {
		c.t.Stats.QueueFull.Add(1)
		return errQueueFull
	}
	c.out.push(msg)
	return nil
}

// waiting returns the number of bytes that the kernel has not taken; mu is held.
func (c *conn) waiting() int { return len(c.out.b) - c.written + c.flying }

func (c *conn) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting()
}

// flush starts writing what is queued, unless somebody is at it.
func (c *conn) flush() {
	c.mu.Lock()
	switch {
	case !c.open && !c.dead || c.writing || len(c.out.b) == 0:
		c.mu.Unlock()
		return
	case c.dead:
		c.mu.Unlock()
		c.failLater()
		return
	}
	c.writing = true
	c.mu.Unlock()
	// TLS and WebSocket cannot write a part: they may wait, and do so apart.
	if c.flow.Proto() == core.TCP && c.writeNow() {
		return
	}
	if !c.t.begin() {
		c.mu.Lock()
		c.idled()
		c.mu.Unlock()
		c.shut()
		return
	}
	go func() {
		defer c.t.wg.Done()
		for !c.writeOnce() {
		}
	}()
}

// writeNow writes what the kernel takes at once; true says that the queue is
// empty or lost and nobody is writing any more.
func (c *conn) writeNow() bool {
	raw, err := c.raw.SyscallConn()
	c.mu.Lock()
	var n int
	if err == nil {
		var werr error
		err = raw.Write(func(fd uintptr) bool {
			n, werr = writeFD(fd, c.out.b)
			return true
		})
		if err == nil {
			err = werr
		}
	}
	if err != nil {
		c.dead = true
		c.idled()
		c.mu.Unlock()
		c.failLater()
		return true
	}
	defer c.mu.Unlock()
	if c.written = n; n < len(c.out.b) {
		return false
	}
	c.t.Stats.Sent.Add(int64(len(c.out.ends)))
	c.out.clear()
	c.written = 0
	c.idled()
	return true
}

// writeOnce writes everything that is queued now, waiting as long as WriteTime
// allows; true says that there is nothing left to do.
func (c *conn) writeOnce() bool {
	c.mu.Lock()
	if c.dead || len(c.out.b) == 0 {
		c.idled()
		dead := c.dead
		c.mu.Unlock()
		if dead {
			c.fail(outQueue{}, 0)
		}
		return true
	}
	q, done := c.out, c.written
	c.out, c.written, c.spare = c.spare, 0, outQueue{}
	c.flying = len(q.b) - done
	c.mu.Unlock()

	n, err := c.write(&q, done)
	// A deadline that has passed would fail the next write, however late it is.
	c.nc.SetWriteDeadline(time.Time{})

	c.mu.Lock()
	c.flying = 0
	if err != nil {
		c.dead = true
		c.idled()
		c.mu.Unlock()
		c.fail(q, n)
		return true
	}
	c.t.Stats.Sent.Add(int64(len(q.ends)))
	q.clear()
	c.spare = q
	c.mu.Unlock()
	return false
}

// idled notes that nobody writes any more; mu is held.
func (c *conn) idled() {
	c.writing = false
	if c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// write writes a queue but for its first bytes, and returns how many bytes of it
// are written then.
func (c *conn) write(q *outQueue, done int) (int, error) {
	if c.ws != nil {
		return c.writeMessages(q)
	}
	c.nc.SetWriteDeadline(time.Now().Add(c.t.cfg.WriteTime))
	n, err := c.nc.Write(q.b[done:])
	return done + n, err
}

// failLater calls fail on a goroutine of its own: the caller may be in the
// midst of something that the handler needs.
func (c *conn) failLater() {
	if !c.t.begin() {
		c.shut()
		return
	}
	go func() {
		defer c.t.wg.Done()
		c.fail(outQueue{}, 0)
	}()
}

// fail gives the connection up and reports what was not written: of q, from
// which the first n bytes were, and of the queue.
func (c *conn) fail(q outQueue, n int) {
	c.mu.Lock()
	out, written := c.out, c.written
	c.out, c.written = outQueue{}, 0
	c.dead = true
	c.mu.Unlock()
	c.shut()
	if c.t.closed() {
		return
	}
	w := &worker{t: c.t}
	report := func(msg []byte) {
		if !keepAlive(msg) {
			c.t.handler.Undeliverable(w, msg, c.flow)
		}
	}
	q.rest(n, report)
	out.rest(written, report)
	w.leave()
}

// shut closes the connection; its reader ends by that.
func (c *conn) shut() {
	c.mu.Lock()
	c.dead = true
	open, raw := c.open, c.raw
	c.mu.Unlock()
	c.t.conns.remove(c)
	switch {
	case open:
		c.closeStream()
	case raw != nil: // a handshake ends by that
		raw.Close()
	}
}

// goodbye is shut with the closing handshake of a WebSocket.
func (c *conn) goodbye() {
	c.mu.Lock()
	open := c.open
	c.mu.Unlock()
	if open && c.ws != nil {
		c.leaveWS()
	}
	c.shut()
}
