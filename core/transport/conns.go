package transport

import (
	"net/netip"
	"sync"

	"sipr/core"
)

// connTable finds connections by number and by remote address.
type connTable struct {
	mu     sync.RWMutex
	last   uint64
	byID   map[uint64]*conn
	byAddr map[connKey]*conn
	perIP  map[netip.Addr]int
}

type connKey struct {
	proto  core.Proto
	remote netip.AddrPort
}

func (t *connTable) init() {
	t.byID = map[uint64]*conn{}
	t.byAddr = map[connKey]*conn{}
	t.perIP = map[netip.Addr]int{}
}

func (t *connTable) get(id uint64) *conn {
	if id == 0 {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *connTable) find(k connKey) *conn {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byAddr[k]
}

// add registers an accepted connection unless a bound is reached.
func (t *connTable) add(c *conn, max, perIP int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if perIP > 0 && t.perIP[c.flow.Remote.Addr()] >= perIP {
		return false
	}
	return t.insert(c, max)
}

// findOrAdd returns the connection to c's remote address: one that exists, or
// c, or nil if the bound is reached. It is one step, so that senders that come
// at the same time share one connection.
func (t *connTable) findOrAdd(c *conn, max int) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.byAddr[connKey{c.flow.Proto(), c.flow.Remote}]; old != nil {
		return old
	}
	if !t.insert(c, max) {
		return nil
	}
	return c
}

func (t *connTable) insert(c *conn, max int) bool {
	if len(t.byID) >= max {
		return false
	}
	t.last++
	c.flow.Conn = t.last
	t.byID[c.flow.Conn] = c
	t.byAddr[connKey{c.flow.Proto(), c.flow.Remote}] = c
	t.perIP[c.flow.Remote.Addr()]++
	return true
}

func (t *connTable) remove(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[c.flow.Conn] != c {
		return
	}
	delete(t.byID, c.flow.Conn)
	k := connKey{c.flow.Proto(), c.flow.Remote}
	if t.byAddr[k] == c {
		delete(t.byAddr, k)
	}
	ip := c.flow.Remote.Addr()
	if t.perIP[ip]--; t.perIP[ip] == 0 {
		delete(t.perIP, ip)
	}
}

func (t *connTable) closeAll() {
	t.mu.RLock()
	all := make([]*conn, 0, len(t.byID))
	for _, c := range t.byID {
		all = append(all, c)
	}
	t.mu.RUnlock()
	for _, c := range all {
		c.shut()
	}
}

// ConnInfo describes an open connection.
type ConnInfo struct {
	ID            uint64
	Proto         core.Proto
	Local, Remote netip.AddrPort
	Queued        int
}

// Conns lists the open connections, at most max.
func (t *Transport) Conns(max int) []ConnInfo {
	t.conns.mu.RLock()
	defer t.conns.mu.RUnlock()
	var out []ConnInfo
	for id, c := range t.conns.byID {
		if len(out) == max {
			break
		}
		out = append(out, ConnInfo{id, c.flow.Proto(), c.flow.Socket.Addr, c.flow.Remote, c.queued()})
	}
	return out
}
