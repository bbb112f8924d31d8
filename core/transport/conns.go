package transport

import (
	"net/netip"
	"sync"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// connTable finds connections by number and by remote address.
type connTable struct {
	mu     sync.RWMutex
	last   uint64
	byID   map[uint64]*conn
	byAddr map[connKey]*conn
	perIP  map[netip.Addr]int
}

// connKey is what a connection is found by. The host is set where a server had
// to prove that it is its own.
type connKey struct {
	proto  core.Proto
	remote netip.AddrPort
	host   core.HostName
}

// keyOf returns the key of the connection that a flow needs.
func (t *Transport) keyOf(f core.Flow) connKey {
	k := connKey{proto: f.Proto(), remote: f.Remote}
	if keys := t.keys[f.Socket]; keys != nil && !keys.cfg.AnyServer {
		k.host = f.Host
	}
	return k
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

// find returns the connection that a key stands for: one that was opened for
// the host, or one with the address that proves to be the host's too. Without a
// host the address is enough, as that of a phone which shows no certificate.
func (t *connTable) find(k connKey) *conn {
	t.mu.RLock()
	c := t.byAddr[k]
	var other *conn
	if c == nil && k.host != (core.HostName{}) {
		other = t.byAddr[connKey{proto: k.proto, remote: k.remote}]
	}
	t.mu.RUnlock()
	if c == nil {
		c = other
	}
	if c == nil || !c.serves(k) {
		return nil
	}
	return c
}

// serves tells whether a connection may be used for a key other than its own.
func (c *conn) serves(k connKey) bool {
	if k == c.key || k.proto != core.TLS || c.t.keys[c.flow.Socket].cfg.AnyServer {
		return true
	}
	host := k.host
	if host == (core.HostName{}) { // an alias
		host = core.NameOf(k.remote.Addr().String())
	}
	return c.provesHost(host)
}

// alias lets a connection be found by another port of its peer; the latest that
// asks for it has it.
func (t *connTable) alias(c *conn, port uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[c.flow.Conn] != c {
		return
	}
	t.dropAlias(c)
	c.alias.Store(uint32(port))
	t.byAddr[c.aliasKey()] = c
}

func (c *conn) aliasKey() connKey {
	return connKey{proto: c.flow.Proto(), remote: netip.AddrPortFrom(c.flow.Remote.Addr(), uint16(c.alias.Load()))}
}

// dropAlias removes the alias of a connection; mu is held.
func (t *connTable) dropAlias(c *conn) {
	if k := c.aliasKey(); k != c.key && t.byAddr[k] == c {
		delete(t.byAddr, k)
	}
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
	if old := t.byAddr[c.key]; old != nil && old.serves(c.key) {
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
	t.byAddr[c.key] = c
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
	if t.byAddr[c.key] == c {
		delete(t.byAddr, c.key)
	}
	t.dropAlias(c)
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
		if c.flow.Proto() == core.TCP {
			c.shut()
			continue
		}
		c.t.wg.Add(1) // Close has not begun to wait yet
		go func() {
			defer c.t.wg.Done()
			c.goodbye()
		}()
	}
}

// ConnInfo describes an open connection.
type ConnInfo struct {
	ID            uint64
	Proto         core.Proto
	Local, Remote netip.AddrPort
	// Queued is how many bytes wait to be written.
	Queued int
	// Idle is for how long nothing has been received.
	Idle time.Duration
}

// Conns lists the open connections, at most max.
func (t *Transport) Conns(max int) []ConnInfo {
	t.conns.mu.RLock()
	defer t.conns.mu.RUnlock()
	var out []ConnInfo
	now := t.cfg.Clock.Now()
	for id, c := range t.conns.byID {
		if len(out) == max {
			break
		}
		var idle time.Duration
		if heard := clock.Time(c.heard.Load()); heard != 0 { // it is connected
			idle = now.Sub(heard)
		}
		out = append(out, ConnInfo{id, c.flow.Proto(), c.flow.Socket.Addr, c.flow.Remote, c.queued(), idle})
	}
	return out
}
