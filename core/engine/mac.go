package engine

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/dchest/siphash"

	"sipr/core"
	"sipr/core/sipmsg"
)

// macKey is a key for SipHash, which is a keyed MAC and costs less than a
// look-up.
type macKey struct{ k0, k1 uint64 }

func (k *macKey) fill(b []byte) {
	k.k0, k.k1 = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}

// appendHex appends the MAC of b in 16 hexadecimal digits.
func (k *macKey) appendHex(dst, b []byte) []byte {
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], siphash.Hash(k.k0, k.k1, b))
	return hex.AppendEncode(dst, sum[:])
}

// tagMark ends every To tag that the router gives statelessly.
const tagMark = ".sl"

// ReplyTag implements core.Engine.
func (e *Engine) ReplyTag(dst []byte, r *core.Request) []byte {
	var tmp [512]byte
	m := r.Msg
	b := append(tmp[:0], m.CallID()...)
	b = append(append(b, 0), m.FromTag()...)
	if v, err := m.Via(); err == nil {
		b = append(append(b, 0), v.Branch...)
	}
	n, _, _ := m.CSeq()
	b = binary.BigEndian.AppendUint32(b, n)
	return append(e.tagKey.appendHex(dst, b), tagMark...)
}

// ownAck tells whether an ACK is for a final response that this router sent
// statelessly: it ends here.
func (e *Engine) ownAck(r *core.Request) bool {
	tag := r.Msg.ToTag()
	if len(tag) != 16+len(tagMark) || string(tag[16:]) != tagMark {
		return false
	}
	var tmp [40]byte
	return string(e.ReplyTag(tmp[:0], r)) == string(tag)
}

// statelessMark is how a stateless branch begins after the magic cookie.
const statelessMark = "sl"

// appendStatelessBranch appends the branch for a request that is forwarded
// without a transaction: a MAC over what identifies the request to the element
// before us, so that its retransmissions, its CANCEL and its ACK to a non-2xx
// get the same one (RFC 3261 §16.11).
func (e *Engine) appendStatelessBranch(dst []byte, v *sipmsg.Via, callID []byte) []byte {
	var tmp [512]byte
	b := append(tmp[:0], v.Branch...)
	b = append(append(b, 0), v.Host...)
	b = binary.BigEndian.AppendUint16(b, v.Port)
	b = append(b, callID...)
	dst = append(append(dst, sipmsg.MagicCookie...), statelessMark...)
	return e.branchKey.appendHex(dst, b)
}
