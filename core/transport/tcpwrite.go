package transport

import (
	"time"

	"sipr/core/sipmsg"
)

// enqueue copies a message to the connection's write queue.
func (c *conn) enqueue(msg []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errQueueFull
	}
	if len(c.out)+len(msg) > c.t.cfg.WriteQueue {
		c.t.Stats.QueueFull.Add(1)
		return errQueueFull
	}
	c.out = append(c.out, msg...)
	return nil
}

func (c *conn) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out)
}

// flush starts writing what is queued, unless somebody is at it.
func (c *conn) flush() {
	c.mu.Lock()
	if !c.open || c.dead || c.writing || len(c.out) == 0 {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	if c.writeNow() {
		return
	}
	c.t.wg.Add(1)
	go func() {
		defer c.t.wg.Done()
		for !c.writeOnce() {
		}
	}()
}

// writeNow writes what the kernel takes at once; true says that the queue is
// empty or lost and nobody is writing any more.
func (c *conn) writeNow() bool {
	raw, err := c.nc.SyscallConn()
	if err != nil {
		c.fail()
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var n int
	var werr error
	err = raw.Write(func(fd uintptr) bool {
		n, werr = writeFD(fd, c.out)
		return true
	})
	if err != nil || werr != nil {
		c.dead = true
		c.writing = false
		go c.fail()
		return true
	}
	c.out = c.out[:copy(c.out, c.out[n:])]
	if len(c.out) == 0 {
		if cap(c.out) > 64<<10 {
			c.out = nil
		}
		c.writing = false
		return true
	}
	return false
}

// writeOnce writes everything that is queued now, waiting as long as WriteTime
// allows; true says that there is nothing left to do.
func (c *conn) writeOnce() bool {
	c.mu.Lock()
	if c.dead || len(c.out) == 0 {
		c.writing = false
		c.mu.Unlock()
		return true
	}
	batch := c.out
	c.out, c.spare = c.spare[:0], nil
	c.mu.Unlock()
	c.nc.SetWriteDeadline(time.Now().Add(c.t.cfg.WriteTime))
	_, err := c.nc.Write(batch)
	c.mu.Lock()
	if err != nil {
		c.out = append(batch, c.out...)
		c.mu.Unlock()
		c.fail()
		return true
	}
	c.spare = batch[:0]
	c.mu.Unlock()
	c.t.Stats.Sent.Add(1)
	return false
}

// fail gives the connection up and reports what was never written.
func (c *conn) fail() {
	c.mu.Lock()
	out := c.out
	c.out = nil
	c.dead = true
	c.mu.Unlock()
	c.shut()
	if len(out) == 0 || c.t.closed() {
		return
	}
	w := &worker{t: c.t}
	var f sipmsg.Framer
	for len(out) > 0 {
		n, err := f.Frame(out)
		if n == 0 || err != nil {
			break
		}
		c.t.handler.Undeliverable(w, out[:n], c.flow)
		out = out[n:]
	}
	w.Flush()
}

// shut closes the connection; its reader ends by that.
func (c *conn) shut() {
	c.mu.Lock()
	c.dead = true
	open := c.open
	c.mu.Unlock()
	c.t.conns.remove(c)
	if open {
		c.nc.Close()
	}
}
