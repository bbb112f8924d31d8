package transport

import (
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// pingShares is into how many parts an interval is divided, so that not all
// connections are pinged at once.
const pingShares = 8

// startPings starts what keeps silent connections alive, and finds dead peers.
func (t *Transport) startPings() {
	start := func(every time.Duration, which func(*conn) bool) {
		if every > 0 && len(t.streams) > 0 {
			t.wg.Add(1)
			go t.pingEvery(every, which)
		}
	}
	start(t.cfg.WSPing, func(c *conn) bool { return c.flow.Proto().WebSocket() })
	start(t.cfg.Ping, func(c *conn) bool { return c.dialed })
}

// pingEvery pings every connection of a kind on which nothing was received for
// half an interval or more, once in each interval.
func (t *Transport) pingEvery(every time.Duration, which func(*conn) bool) {
	defer t.wg.Done()
	var list []*conn
	for share := uint64(0); t.pause(every / pingShares); share++ {
		before := t.cfg.Clock.Now().Add(-every / 2)
		list = list[:0]
		t.conns.mu.RLock()
		for id, c := range t.conns.byID {
			if heard := clock.Time(c.heard.Load()); id%pingShares == share%pingShares && which(c) && heard != 0 && heard <= before {
				list = append(list, c)
			}
		}
		t.conns.mu.RUnlock()
		for _, c := range list {
			c.ping()
		}
		clear(list)
	}
}

// ping sends a WebSocket ping, or a CRLF one (RFC 5626 §4.4.1), which not every
// peer answers.
func (c *conn) ping() {
	c.mu.Lock()
	open := c.open && !c.dead
	c.mu.Unlock()
	switch {
	case !open:
	case c.flow.Proto().WebSocket():
		c.pingWS()
	default:
		c.pinged.Store(true)
		if c.queued() == 0 && c.enqueue([]byte(ping)) == nil {
			c.flush()
		}
	}
}

// pause waits; false says that the transport is closed.
func (t *Transport) pause(d time.Duration) bool {
	wait := make(chan struct{})
	stop := t.cfg.Clock.AfterFunc(d, func() { close(wait) })
	select {
	case <-wait:
		return true
	case <-t.closing:
		stop()
		return false
	}
}

// Alias lets messages to a port of a connection's peer go over the connection,
// as the peer has asked for by the alias parameter of its Via (RFC 5923). It
// has to have shown a good certificate; without TLS it is believed if the
// settings say so. False says that it was not.
func (t *Transport) Alias(f core.Flow, port uint16) bool {
	c := t.conns.get(f.Conn)
	if c == nil || port == 0 {
		return false
	}
	if p := f.Proto(); p == core.TLS && !c.verified || p == core.TCP && !t.cfg.TCPAlias || p.WebSocket() {
		return false
	}
	if c.alias.Load() != uint32(port) {
		t.conns.alias(c, port)
	}
	return true
}
