package acc

import (
	"net/netip"
	"strconv"
	"unicode/utf8"

	"sipr/core/clock"
)

// kind is the event that a record tells of.
type kind uint8

// The events; call is the record of a whole call.
const (
	answered kind = iota
	missed
	failed
	bye
	request
	script
	call
)

var kindNames = [...]string{"answered", "missed", "failed", "bye", "request", "script", "call"}

// field is a text of a record.
type field uint8

const (
	fID field = iota
	fMethod
	fReason
	fCallID
	fFromTag
	fToTag
	fFromURI
	fToURI
	fRequestURI
	fFromUID
	fFromDID
	fToUID
	fToDID
	fComment
	fEndReason
	fEndedBy
	numFields
)

// limits are the widths of the columns. Longer text is cut, since a row that
// the database refuses would be tried for ever.
var limits = [numFields]int{64, 32, 128, 255, 128, 128, 255, 255, 255, 64, 64, 64, 64, 255, 16, 16}

type span struct{ off, end uint32 }

// record is one event or one call on its way to the writer. Records are used
// again, with their memory.
type record struct {
	kind kind
	code int
	src  netip.Addr
	// time is when it happened; of a call, when it was answered.
	time, start, end clock.Time

	at   [numFields]span
	text []byte

	// What an open call is found by, and its neighbours by age.
	key        string
	prev, next *record
	// silent calls leave no record; they are remembered so that their BYE
	// leaves none either.
	silent bool
}

func (r *record) reset() {
	*r = record{text: r.text[:0]}
}

// set copies a text into r.
func (r *record) set(f field, b []byte) {
	if n := limits[f]; len(b) > n {
		for n > 0 && !utf8.RuneStart(b[n]) {
			n--
		}
		b = b[:n]
	}
	r.at[f].off = uint32(len(r.text))
	r.text = append(r.text, b...)
	r.at[f].end = uint32(len(r.text))
}

func (r *record) get(f field) []byte { return r.text[r.at[f].off:r.at[f].end] }

// copyFrom makes r a copy of o.
func (r *record) copyFrom(o *record) {
	text := append(r.text[:0], o.text...)
	*r = *o
	r.text, r.prev, r.next, r.key = text, nil, nil, ""
}

// finish completes the record of a call. by is who ended it, if that is known.
func (r *record) finish(at clock.Time, reason, by string) {
	r.end = max(at, r.time)
	var tmp [16]byte
	r.set(fEndReason, append(tmp[:0], reason...))
	r.set(fEndedBy, append(tmp[:0], by...))
}

func (m *Module) newRecord(k kind) *record {
	r := m.pool.Get().(*record)
	r.reset()
	r.kind = k
	var tmp [64]byte
	id := append(tmp[:0], m.prefix...)
	id = append(id, '-')
	r.set(fID, strconv.AppendUint(id, m.serial.Add(1), 16))
	return r
}

func (m *Module) free(r *record) { m.pool.Put(r) }

// appendKey appends what finds a dialog from either side: its Call-ID and its
// tags in an order that does not depend on who speaks.
func appendKey(dst, callID, tagA, tagB []byte) []byte {
	if string(tagA) > string(tagB) {
		tagA, tagB = tagB, tagA
	}
	dst = append(append(dst, callID...), 0)
	dst = append(append(dst, tagA...), 0)
	return append(dst, tagB...)
}
