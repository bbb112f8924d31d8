package tm

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"sync"

	"sipr/core/sipmsg"
)

const shards = 256

// serverTable finds server transactions by what identifies a request (RFC 3261
// §17.2.3).
type serverTable struct {
	seed      maphash.Seed
	perSource int
	shard     [shards]serverShard
	sources   [shards]sourceShard
}

// serverShard is a hash table whose chains run through the transactions
// themselves: what is looked for and not there, as with every new request,
// costs one look at memory.
type serverShard struct {
	mu      sync.Mutex
	n       int
	buckets []*tx // a power of two; chained by tx.next
}

// bucket returns where the transactions of a hash begin. The hash's low bits
// have chosen the shard.
func (sh *serverShard) bucket(h uint64) **tx {
	return &sh.buckets[h/shards&uint64(len(sh.buckets)-1)]
}

func (sh *serverShard) find(h uint64, key []byte) *tx {
	for t := *sh.bucket(h); t != nil; t = t.next {
		if t.hash == h && bytes.Equal(t.key, key) {
			return t
		}
	}
	return nil
}

// grow doubles the buckets.
func (sh *serverShard) grow() {
	old := sh.buckets
	sh.buckets = make([]*tx, 2*len(old))
	for _, t := range old {
		for t != nil {
			next, b := t.next, sh.bucket(t.hash)
			t.next, *b = *b, t
			t = next
		}
	}
}

type sourceShard struct {
	mu sync.Mutex
	n  map[netip.Addr]int
}

func (s *serverTable) init(perSource int) {
	s.seed = maphash.MakeSeed()
	s.perSource = perSource
	for i := range s.shard {
		s.shard[i].buckets = make([]*tx, 4)
		s.sources[i].n = map[netip.Addr]int{}
	}
}

// appendKey appends what a request is matched by: the branch and sent-by of its
// topmost Via, its Call-ID and the method, where an ACK counts as the INVITE it belongs to.
// A request of RFC 2543, without a usable branch, is matched by its other
// fields.
func appendKey(dst []byte, m *sipmsg.Message, method sipmsg.Method) []byte {
	dst = append(dst, byte(method))
	if method == sipmsg.MethodOther {
		dst = append(dst, m.MethodText()...)
	}
	v, err := m.Via()
	if err != nil {
		return dst
	}
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint16(dst, v.Port)
	for _, c := range v.Host {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	dst = append(dst, 0)
	// The Call-ID adds nothing by the RFC, but there are clients that use one
	// branch for several requests.
	dst = append(append(dst, m.CallID()...), 0)
	if len(v.Branch) > len(sipmsg.MagicCookie) && sipmsg.EqualFold(v.Branch[:len(sipmsg.MagicCookie)], sipmsg.MagicCookie) {
		return append(dst, v.Branch...)
	}
	n, _, _ := m.CSeq()
	dst = binary.BigEndian.AppendUint32(dst, n)
	dst = append(append(dst, m.FromTag()...), 0)
	dst = append(append(dst, m.OriginalRURI()...), 0)
	if method != sipmsg.INVITE { // the To tag of an ACK is the response's
		dst = append(append(dst, m.ToTag()...), 0)
	}
	return append(dst, v.Branch...)
}

func (s *serverTable) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

// find returns the transaction with a key, locked, or nil. The shard's lock is
// held until the transaction's is, so that it cannot be recycled in between.
func (s *serverTable) find(key []byte) *tx {
	h := s.hash(key)
	sh := &s.shard[h%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.find(h, key)
	if t != nil {
		t.mu.Lock()
	}
	return t
}

// add enters t, unless there is one with the same key already.
func (s *serverTable) add(t *tx) bool {
	t.hash = s.hash(t.key)
	sh := &s.shard[t.hash%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.find(t.hash, t.key) != nil {
		return false
	}
	if sh.n++; sh.n > len(sh.buckets) {
		sh.grow()
	}
	b := sh.bucket(t.hash)
	t.next, *b = *b, t
	return true
}

func (s *serverTable) remove(t *tx) {
	sh := &s.shard[t.hash%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for b := sh.bucket(t.hash); *b != nil; b = &(*b).next {
		if *b == t {
			*b, t.next = t.next, nil
			sh.n--
			return
		}
	}
}

// enter counts a transaction of a source; false says that it has too many.
func (s *serverTable) enter(a netip.Addr) bool {
	if s.perSource == 0 {
		return true
	}
	b := a.As16()
	sh := &s.sources[b[15]^b[14]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.n[a] >= s.perSource {
		return false
	}
	sh.n[a]++
	return true
}

func (s *serverTable) leave(a netip.Addr) {
	if s.perSource == 0 {
		return
	}
	b := a.As16()
	sh := &s.sources[b[15]^b[14]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.n[a]--; sh.n[a] <= 0 {
		delete(sh.n, a)
	}
}

// clientTable finds a transaction by the index in our own branch parameters,
// so that a response needs no hashing.
type clientTable struct {
	mu    sync.RWMutex
	max   int
	slots []*tx
	free  []uint32
}

func (c *clientTable) init(max int) { c.max = max }

// add gives t an index; false says that the table is full.
func (c *clientTable) add(t *tx) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		t.index = c.free[n-1]
		c.free = c.free[:n-1]
		c.slots[t.index] = t
		return true
	}
	if len(c.slots) >= c.max {
		return false
	}
	t.index = uint32(len(c.slots))
	c.slots = append(c.slots, t)
	return true
}

// get returns the transaction at an index, locked, or nil.
func (c *clientTable) get(i uint32) *tx {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if int(i) >= len(c.slots) || c.slots[i] == nil {
		return nil
	}
	t := c.slots[i]
	t.mu.Lock()
	return t
}

func (c *clientTable) remove(t *tx) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots[t.index] = nil
	c.free = append(c.free, t.index)
}

// A branch parameter of ours: the magic cookie, a version, then in hexadecimal
// digits the index of the transaction, the number of the branch, the loop hash
// and 64 random bits. It is compared whole, so that a forged one finds nothing.
const (
	branchVersion = 'a'
	branchLen     = len(sipmsg.MagicCookie) + 1 + 8 + 2 + 8 + 16
)

func appendBranch(dst []byte, index uint32, n uint8, loop uint32) []byte {
	dst = append(append(dst, sipmsg.MagicCookie...), branchVersion)
	dst = appendHex(dst, uint64(index), 8)
	dst = appendHex(dst, uint64(n), 2)
	dst = appendHex(dst, uint64(loop), 8)
	return appendHex(dst, rand.Uint64(), 16)
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	const hex = "0123456789abcdef"
	for s := (digits - 1) * 4; s >= 0; s -= 4 {
		dst = append(dst, hex[v>>uint(s)&15])
	}
	return dst
}

// parseBranch returns the index and number in a branch of ours.
func parseBranch(b []byte) (index uint32, n uint8, ok bool) {
	p := len(sipmsg.MagicCookie)
	if len(b) != branchLen || b[p] != branchVersion {
		return 0, 0, false
	}
	i, ok1 := parseHex(b[p+1 : p+9])
	k, ok2 := parseHex(b[p+9 : p+11])
	return uint32(i), uint8(k), ok1 && ok2
}

// branchLoop returns the loop hash in a branch of ours.
func branchLoop(b []byte) (uint32, bool) {
	p := len(sipmsg.MagicCookie)
	if len(b) != branchLen || b[p] != branchVersion {
		return 0, false
	}
	v, ok := parseHex(b[p+11 : p+19])
	return uint32(v), ok
}

func parseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}
