package sipmsg

import (
	"bytes"
	"errors"
)

// ErrLength is returned for a message on a stream whose Content-Length is
// missing, malformed or contradicts itself: where it ends cannot be known.
var ErrLength = errors.New("no usable Content-Length")

// Framer cuts messages out of a byte stream (RFC 3261 §18.3), whatever way the
// bytes arrive. The zero value is ready.
type Framer struct {
	scanned int // bytes of the current message that were searched already
	total   int // its length, once the header section is complete
}

// Frame looks for the first whole message in buf, which must begin where the
// last message ended. It returns its length, or 0 if more bytes are needed.
// After ErrLength the length is that of the header section, which may still be
// answered; after any error the stream is lost.
func (f *Framer) Frame(buf []byte) (int, error) {
	if f.total == 0 {
		end := f.headerEnd(buf)
		if end == 0 {
			if len(buf) >= MaxSize {
				return 0, ErrTooBig
			}
			return 0, nil
		}
		n, err := contentLength(buf[:end])
		if err != nil {
			f.scanned = 0
			return end, err
		}
		if end+n > MaxSize {
			return end, ErrTooBig
		}
		f.total = end + n
	}
	if len(buf) < f.total {
		return 0, nil
	}
	n := f.total
	f.scanned, f.total = 0, 0
	return n, nil
}

// headerEnd returns the offset after the empty line, 0 if it is not there yet.
// Line breaks before the start line do not count (RFC 3261 §7.5).
func (f *Framer) headerEnd(buf []byte) int {
	i := 0
	for i+1 < len(buf) && buf[i] == '\r' && buf[i+1] == '\n' {
		i += 2
	}
	i = max(i, f.scanned)
	for {
		nl := bytes.IndexByte(buf[i:], '\n')
		if nl < 0 {
			f.scanned = len(buf)
			return 0
		}
		nl += i
		rest := buf[nl+1:]
		switch {
		case len(rest) >= 1 && rest[0] == '\n':
			return nl + 2
		case len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n':
			return nl + 3
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
			f.scanned = nl // look at this line break again
			return 0
		}
		i = nl + 1
	}
}

// contentLength finds the Content-Length in a header section.
func contentLength(b []byte) (int, error) {
	length := -1
	for len(b) > 0 {
		nl := bytes.IndexByte(b, '\n')
		if nl < 0 {
			break
		}
		line := b[:nl]
		b = b[nl+1:]
		colon := bytes.IndexByte(line, ':')
		// A line that begins with white space continues the one before: what
		// it says is no header field, for Parse neither.
		if colon <= 0 || line[0] == ' ' || line[0] == '\t' ||
			LookupHeader(bytes.TrimRight(line[:colon], " \t")) != HContentLength {
			continue
		}
		value := line[colon+1:]
		for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
			nl := bytes.IndexByte(b, '\n')
			value = append(append([]byte(nil), value...), b[:nl]...)
			b = b[nl+1:]
		}
		n, ok := ParseUint(Trim(value), MaxSize*16)
		if !ok || length >= 0 {
			return 0, ErrLength
		}
		length = int(n)
	}
	if length < 0 {
		return 0, ErrLength
	}
	return length, nil
}
