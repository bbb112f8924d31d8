package auth

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"

	"sipr/core/clock"
)

const (
	nonceIDSize = 16
	nonceSize   = nonceIDSize + 16
)

// nonceID tells a nonce from all others.
type nonceID struct {
	at clock.Time
	// epoch is a random number of the process that made it: counters of
	// other nodes, and of this one before a restart, count elsewhere.
	epoch, n uint32
}

// slot is what is remembered of one nonce.
type slot struct {
	nonceID
	max  uint32 // the highest nonce count
	seen uint64 // bit i: max-i was used
}

// nonces makes nonces, verifies them and remembers their use.
//
// A nonce is its time of birth, the number of its process, a counter and a MAC
// over these, the realm and, where the operator wants it, the client's
// address. A slot is taken when a nonce is first used with right credentials,
// so that who has none cannot push others out by asking for challenges.
type nonces struct {
	k0, k1  uint64
	epoch   uint32
	expire  time.Duration
	coding  *base64.Encoding
	counter atomic.Uint32
	slots   []slot
	locks   [64]sync.Mutex
}

func newNonces(secret [32]byte, epoch []byte, expire time.Duration, slots int) *nonces {
	return &nonces{
		k0: binary.LittleEndian.Uint64(secret[:]), k1: binary.LittleEndian.Uint64(secret[8:]),
		epoch: binary.LittleEndian.Uint32(epoch), expire: expire,
		coding: base64.RawURLEncoding.Strict(), slots: make([]slot, slots),
	}
}

// append appends a new nonce. source is the zero address where nonces are not
// bound to one.
func (ns *nonces) append(dst []byte, w *work, realm []byte, source netip.Addr, now clock.Time) []byte {
	raw := w.nonce[:nonceSize]
	binary.BigEndian.PutUint64(raw, uint64(now))
	binary.BigEndian.PutUint32(raw[8:], ns.epoch)
	binary.BigEndian.PutUint32(raw[12:], ns.counter.Add(1))
	ns.mac(raw[nonceIDSize:], raw[:nonceIDSize], w, realm, source)
	return ns.coding.AppendEncode(dst, raw)
}

func (ns *nonces) mac(dst, id []byte, w *work, realm []byte, source netip.Addr) {
	b := append(append(w.buf[:0], id...), realm...)
	if source.IsValid() {
		ip := source.As16()
		b = append(append(b, 0), ip[:]...)
	}
	w.buf = b
	lo, hi := siphash.Hash128(ns.k0, ns.k1, b)
	binary.BigEndian.PutUint64(dst, lo)
	binary.BigEndian.PutUint64(dst[8:], hi)
}

// verify tells whether a nonce is ours (known, stale) or not (badNonce, or
// otherKey where it has our form but not our MAC).
func (ns *nonces) verify(text []byte, w *work, realm []byte, source netip.Addr, now clock.Time) (nonceID, verdict) {
	var id nonceID
	if len(text) != ns.coding.EncodedLen(nonceSize) {
		return id, badNonce
	}
	raw := w.nonce[:]
	if n, err := ns.coding.Decode(raw, text); err != nil || n != nonceSize {
		return id, badNonce
	}
	want := w.mac[:]
	ns.mac(want, raw[:nonceIDSize], w, realm, source)
	if !equalSecret(want, raw[nonceIDSize:nonceSize]) {
		return id, otherKey
	}
	id = nonceID{
		at:    clock.Time(binary.BigEndian.Uint64(raw)),
		epoch: binary.BigEndian.Uint32(raw[8:]), n: binary.BigEndian.Uint32(raw[12:]),
	}
	if age := now.Sub(id.at); age > ns.expire || age < -ns.expire {
		return id, stale
	}
	return id, accepted
}

// index returns the slot of a nonce: our own take turns, those of others are
// spread.
func (ns *nonces) index(id nonceID) int {
	n := uint64(id.n)
	if id.epoch != ns.epoch {
		n = (uint64(id.epoch)<<32 | n) * 0x9e3779b97f4a7c15 >> 32
	}
	return int(n % uint64(len(ns.slots)))
}

// use notes that a nonce was used with a count and returns accepted, replay
// or, where a newer nonce has the slot, stale.
func (ns *nonces) use(id nonceID, nc uint32) verdict {
	i := ns.index(id)
	lock := &ns.locks[i%len(ns.locks)]
	lock.Lock()
	defer lock.Unlock()
	s := &ns.slots[i]
	if s.nonceID != id {
		if id.at <= s.at {
			return stale
		}
		*s = slot{nonceID: id, max: nc, seen: 1}
		return accepted
	}
	if nc > s.max {
		s.seen = s.seen<<(nc-s.max) | 1
		s.max = nc
		return accepted
	}
	bit := uint64(1) << (s.max - nc)
	if bit == 0 || s.seen&bit != 0 {
		return replay
	}
	s.seen |= bit
	return accepted
}

// useOnce notes that a nonce was used without a count and may not be used
// again.
func (ns *nonces) useOnce(id nonceID) verdict {
	i := ns.index(id)
	lock := &ns.locks[i%len(ns.locks)]
	lock.Lock()
	defer lock.Unlock()
	s := &ns.slots[i]
	if s.nonceID == id {
		return replay
	}
	if id.at <= s.at {
		return stale
	}
	*s = slot{nonceID: id, max: ^uint32(0), seen: ^uint64(0)}
	return accepted
}
