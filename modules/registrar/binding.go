package registrar

import (
	"bytes"
	"net/netip"
	"strconv"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// field names one text of a binding.
type field uint8

// The texts of a binding, in the order in which they lie in its memory.
const (
	fContact field = iota
	fCallID
	fRUID
	fPath
	fInstance
	fMethods
	fUserAgent
	numFields
)

// The sizes of the table's columns in bytes.
const (
	sizeDID, sizeUser, sizeNode = 64, 128, 64
	sizeRUID                    = 64
	sizeUserAgent               = 64
)

// sizeOf is how long each text may be.
var sizeOf = [numFields]int{fContact: 512, fCallID: 255, fRUID: sizeRUID, fPath: 512, fInstance: 255, fMethods: 255, fUserAgent: sizeUserAgent}

// texts are the parts that a binding's memory is made of.
type texts [numFields][]byte

// binding is one contact of an AoR. It is immutable, and so is the list that it
// stands in: who has read a list may use it for ever, without a lock. There may
// be a million of them, so all texts share one allocation.
type binding struct {
	text    []byte
	end     [numFields]uint16 // where each text ends
	q       uint16            // thousandths
	expires clock.Time
	// socket is where the registration arrived, nil if unknown. conn is its
	// connection on a stream, else 0. addr and port are its source, port 0 if
	// they were not kept.
	socket   *core.Socket
	conn     uint64
	addr     [16]byte
	port     uint16
	regID    uint32
	cseq     uint32
	modified uint32 // Unix time
}

// get returns a text; it must not be changed.
func (b *binding) get(f field) []byte {
	start := uint16(0)
	if f > 0 {
		start = b.end[f-1]
	}
	return b.text[start:b.end[f]:b.end[f]]
}

// setTexts gives b its texts: those of old, if they are the same.
func (b *binding) setTexts(t *texts, old *binding) {
	if old != nil && old.same(t) {
		b.text, b.end = old.text, old.end
		return
	}
	n := 0
	for _, s := range t {
		n += len(s)
	}
	b.text = make([]byte, 0, n)
	for i, s := range t {
		b.text = append(b.text, s...)
		b.end[i] = uint16(len(b.text))
	}
}

func (b *binding) same(t *texts) bool {
	for i, s := range t {
		if !bytes.Equal(b.get(field(i)), s) {
			return false
		}
	}
	return true
}

// live tells whether b has not expired.
func (b *binding) live(now clock.Time) bool { return now.Before(b.expires) }

// remote returns the source address that was kept, invalid if none was.
func (b *binding) remote() netip.AddrPort {
	if b.port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(b.addr).Unmap(), b.port)
}

func (b *binding) setRemote(a netip.AddrPort) { b.addr, b.port = a.Addr().As16(), a.Port() }

// isFor tells whether b is the binding of a contact (RFC 3261 §10.3: contacts
// compare as URIs).
func (b *binding) isFor(u *sipmsg.URI) bool {
	text := b.get(fContact)
	if bytes.Equal(text, u.Raw) {
		return true
	}
	v, err := sipmsg.ParseURI(text)
	return err == nil && sipmsg.EqualURI(&v, u)
}

// receivedText is the source address as the table has it: "" or a URI.
func (b *binding) receivedText() string {
	if b.port == 0 {
		return ""
	}
	s := "sip:" + b.remote().String()
	if b.conn != 0 && b.socket != nil {
		s += ";transport=" + transportName(b.socket.Proto)
	}
	return s
}

// socketText is the socket as the table has it: "" or "udp:192.0.2.1:5060".
func (b *binding) socketText() string {
	if b.socket == nil {
		return ""
	}
	return socketName(b.socket)
}

// flowText is the number of the connection. It is for the router that holds it,
// and means nothing after that has stopped.
func (b *binding) flowText() string {
	if b.conn == 0 {
		return ""
	}
	return strconv.FormatUint(b.conn, 10)
}

func socketName(s *core.Socket) string { return transportName(s.Proto) + ":" + s.Addr.String() }

func transportName(p core.Proto) string {
	return [...]string{"", "udp", "tcp", "tls", "ws", "wss"}[p]
}

// parseReceived reads receivedText's "sip:host:port".
func parseReceived(b []byte) (netip.AddrPort, bool) {
	b, ok := bytes.CutPrefix(b, []byte("sip:"))
	if i := bytes.IndexByte(b, ';'); !ok || i >= 0 {
		return netip.AddrPort{}, false // nothing, or a connection that is gone
	}
	a, err := netip.ParseAddrPort(string(b))
	return a, err == nil
}
