package sipmsg

// edit replaces del received bytes at offset at by text from the arena. A
// message's edits are sorted by at; insertions at one place stay in the order
// in which they were made, and go before what is deleted there.
type edit struct {
	at, del uint16
	hdr     int16 // the header field that the text adds or gives a value, or -1
	lo, hi  uint32
}

// keep copies text into the arena and returns where it lies.
func (m *Message) keep(parts ...[]byte) (lo, hi uint32) {
	lo = uint32(len(m.arena))
	for _, p := range parts {
		m.arena = append(m.arena, p...)
	}
	return lo, uint32(len(m.arena))
}

// Room tells whether n more bytes of edits fit: a message with its edits may
// not outgrow what can be framed.
func (m *Message) Room(n int) bool { return len(m.arena)+n <= MaxSize }

// splice records that del bytes at at are replaced by arena[lo:hi]. Edits that
// lie wholly within the replaced bytes are dropped.
func (m *Message) splice(at, del uint16, lo, hi uint32, hdr int16) {
	if del > 0 {
		kept := m.edits[:0]
		for _, e := range m.edits {
			if e.at >= at && e.at+e.del <= at+del && (e.del > 0 || e.at > at && e.at < at+del) {
				continue
			}
			kept = append(kept, e)
		}
		m.edits = kept
	}
	i := len(m.edits)
	for i > 0 && (m.edits[i-1].at > at || m.edits[i-1].at == at && del == 0 && m.edits[i-1].del > 0) {
		i--
	}
	m.edits = append(m.edits, edit{})
	copy(m.edits[i+1:], m.edits[i:])
	m.edits[i] = edit{at: at, del: del, hdr: hdr, lo: lo, hi: hi}
}

// editOf returns the index of the edit that holds header field i's text.
func (m *Message) editOf(i int) int {
	for j := range m.edits {
		if int(m.edits[j].hdr) == i {
			return j
		}
	}
	return -1
}

// SetRURI replaces the Request-URI. The text is copied; nothing happens where
// there is no Room for it.
func (m *Message) SetRURI(uri []byte) {
	if !m.Room(len(uri)) {
		return
	}
	lo, hi := m.keep(uri)
	m.newURI = span{uint16(lo), uint16(hi)}
	m.hasURI = true
	m.cached &^= cachedURI
}

// Append adds a header field after all others (SER's append_hf).
func (m *Message) Append(name, value []byte) { m.addAt(m.hdrEnd, 0, name, value) }

// Insert adds a header field before all others (SER's insert_hf).
func (m *Message) Insert(name, value []byte) { m.addAt(m.hdrStart, hFront, name, value) }

func (m *Message) addAt(at uint16, flag uint8, name, value []byte) {
	if !m.Room(len(name) + len(value) + 4) {
		return
	}
	lo, hi := m.keep(name, []byte(": "), value, []byte("\r\n"))
	m.splice(at, 0, lo, hi, int16(len(m.hdrs)))
	n := uint16(lo) + uint16(len(name))
	m.push(Header{
		ID:    LookupHeader(name),
		name:  span{uint16(lo), n},
		value: span{n + 2, uint16(hi) - 2},
		flags: hArena | flag,
	})
	m.forget()
}

// Remove removes header field i.
func (m *Message) Remove(i int) {
	h := &m.hdrs[i]
	if h.flags&hGone != 0 {
		return
	}
	h.flags |= hGone
	if h.flags&hArena == 0 {
		m.splice(h.name.off, h.end-h.name.off, 0, 0, -1)
	} else if j := m.editOf(i); j >= 0 {
		m.edits = append(m.edits[:j], m.edits[j+1:]...)
	}
	m.forget()
}

// RemoveAll removes every header field of a kind and returns how many there
// were.
func (m *Message) RemoveAll(id HeaderID) int {
	n := 0
	for i := m.First(id); i >= 0; i = m.Next(i) {
		m.Remove(i)
		n++
	}
	return n
}

// Replace gives header field i another value. A removed one stays removed.
func (m *Message) Replace(i int, value []byte) {
	h := &m.hdrs[i]
	name := m.Name(i)
	if h.flags&hGone != 0 || !m.Room(len(name)+len(value)+4) {
		return
	}
	var lo, hi uint32
	switch {
	case h.flags&hArena != 0:
		lo, hi = m.keep(name, []byte(": "), value, []byte("\r\n"))
		n := uint16(lo) + uint16(len(name))
		h.name, h.value = span{uint16(lo), n}, span{n + 2, uint16(hi) - 2}
	default:
		lo, hi = m.keep(value)
		if h.flags&hValue == 0 {
			m.splice(h.value.off, h.value.end-h.value.off, lo, hi, int16(i))
		}
		h.value = span{uint16(lo), uint16(hi)}
		h.flags |= hValue
	}
	if j := m.editOf(i); j >= 0 {
		m.edits[j].lo, m.edits[j].hi = lo, hi
	}
	m.forget()
}

// forget drops parsed values that an edit of a header field may have changed.
func (m *Message) forget() { m.cached &= cachedURI }

// SetBody replaces the body; Content-Type and Content-Length follow. An empty
// contentType leaves that header field as it is.
func (m *Message) SetBody(contentType, body []byte) {
	if !m.Room(len(body) + len(contentType) + len("Content-Type: \r\n")) {
		return
	}
	lo, hi := m.keep(body)
	m.newBody = span{uint16(lo), uint16(hi)}
	m.hasBody = true
	if len(contentType) > 0 {
		if i := m.First(HContentType); i >= 0 {
			m.Replace(i, contentType)
		} else {
			m.Append([]byte("Content-Type"), contentType)
		}
	}
}

// SetReceived notes where a request came from in its topmost Via: received if
// the address differs from the host written there or rport was asked for, and
// rport with its value (RFC 3261 §18.2.1, RFC 3581 §4). What the sender wrote
// there itself is replaced: responses must not go where it points. Only the
// first call counts, and only while the Via is as it was received.
func (m *Message) SetReceived(ip []byte, port uint16, sameHost bool) {
	v, err := m.Via()
	i := m.First(HVia)
	if err != nil || i < 0 || m.hdrs[i].flags != 0 || m.hasReceived || m.rport != 0 || !m.Room(len(ip)+24) {
		return
	}
	base := uint16(cap(m.buf) - cap(v.value))
	if v.HasRPort {
		m.rport = port
		lo := uint32(len(m.arena))
		at, del := base+uint16(v.rportEnd), 0
		if v.rportEnd < 0 {
			at, del = uint16(cap(m.buf)-cap(v.rportValue)), len(v.rportValue)
		} else {
			m.arena = append(m.arena, '=')
		}
		m.arena = appendUint(m.arena, uint64(port))
		m.splice(at, uint16(del), lo, uint32(len(m.arena)), -1)
	}
	if v.Received != nil || !sameHost || v.HasRPort {
		at, del, name := base+uint16(len(v.value)), 0, ";received="
		if v.Received != nil {
			at, del, name = uint16(cap(m.buf)-cap(v.Received)), len(v.Received), ""
		}
		lo := uint32(len(m.arena))
		m.arena = append(append(m.arena, name...), ip...)
		hi := uint32(len(m.arena))
		m.splice(at, uint16(del), lo, hi, -1)
		m.received = span{uint16(hi) - uint16(len(ip)), uint16(hi)}
		m.hasReceived = true
		v.Received = m.arena[m.received.off:m.received.end]
	}
	v.RPort = m.rport
}

// RemoveVia removes the topmost Via value and returns the next one parsed; ok
// is false if there is none.
func (m *Message) RemoveVia() (next Via, ok bool) {
	i := m.First(HVia)
	if i < 0 {
		return next, false
	}
	if n := m.RemoveTopValue(i); n {
		next, err := ParseVia(m.topValue(i))
		return next, err == nil
	}
	if i = m.First(HVia); i < 0 {
		return next, false
	}
	v, _ := NextValue(m.Value(i))
	next, err := ParseVia(v)
	return next, err == nil
}

func (m *Message) topValue(i int) []byte {
	v, _ := NextValue(m.Value(i))
	return v
}

// RemoveTopValue removes the first of header field i's comma-separated values
// and reports whether the field is still there.
func (m *Message) RemoveTopValue(i int) bool {
	h := &m.hdrs[i]
	if h.flags&hGone != 0 {
		return false
	}
	v := m.Value(i)
	_, rest := NextValue(v)
	rest = Trim(rest)
	if len(rest) == 0 {
		m.Remove(i)
		return false
	}
	if h.flags&(hArena|hValue) != 0 {
		m.Replace(i, rest)
		return true
	}
	off := uint16(cap(m.buf) - cap(rest))
	m.splice(h.value.off, off-h.value.off, 0, 0, -1)
	h.value.off = off
	m.forget()
	return true
}

// Mark is a state of a message's edits.
type Mark struct {
	saved           []edit
	hsaved          []Header
	newURI, newBody span
	hasURI, hasBody bool
	first, last     [numHeaders]int16
}

// Mark remembers the edits as they are, so that a branch can add its own and
// Restore can take them back.
func (m *Message) Mark(k *Mark) {
	k.saved = append(k.saved[:0], m.edits...)
	k.hsaved = append(k.hsaved[:0], m.hdrs...)
	k.newURI, k.newBody, k.hasURI, k.hasBody = m.newURI, m.newBody, m.hasURI, m.hasBody
	k.first, k.last = m.first, m.last
}

// Restore returns to a remembered state. The arena keeps its text: slices that
// were handed out stay valid.
func (m *Message) Restore(k *Mark) {
	m.edits = append(m.edits[:0], k.saved...)
	m.hdrs = append(m.hdrs[:0], k.hsaved...)
	m.newURI, m.newBody, m.hasURI, m.hasBody = k.newURI, k.newBody, k.hasURI, k.hasBody
	m.first, m.last = k.first, k.last
	m.cached = 0
}

// Edited tells whether anything but the topmost Via's parameters was changed.
func (m *Message) Edited() bool { return len(m.edits) > 0 || m.hasURI || m.hasBody }
