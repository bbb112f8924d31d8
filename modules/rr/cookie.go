package rr

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"

	"github.com/dchest/siphash"

	"sipr/core"
	"sipr/core/sipmsg"
)

// cookieParam is the parameter of our Record-Route that carries attributes.
const cookieParam = "ck"

// maxCookie is the largest cookie_size.
const maxCookie = 1024

// macSize is the length of the MAC behind the attributes of a cookie.
const macSize = 8

// cookies are the attributes that travel with a dialog: those with the flag
// dialog_cookie go into our Record-Route and come back in the Route of each
// request inside the dialog. A MAC over Call-ID, the tag of who set the dialog
// up and the attributes sees to it that nobody else can have written them.
type cookies struct {
	enabled        bool
	filter, secret string
	size           int // of the attributes, before they are encoded

	k0, k1  uint64
	pattern *regexp.Regexp // nil for every name
	dropped *core.Counter
}

func (c *cookies) params() []core.Param {
	return []core.Param{
		core.BoolParam(&c.enabled, "enable_cookies", "whether attributes with the flag dialog_cookie travel in Record-Route"),
		core.StringParam(&c.filter, "cookie_filter", "regular expression (RE2) for the names of attributes that may; empty for all", checkFilter),
		core.SecretParam(&c.secret, "cookie_secret", "what their key is made of; empty for core's secret"),
		core.IntParam(&c.size, "cookie_size", "bytes that the attributes of one dialog may have; those that do not fit are left out and counted (cookies_dropped)", core.Between(0, maxCookie)),
	}
}

func checkFilter(s string) error {
	_, err := regexp.Compile(s)
	return err
}

func (c *cookies) configure(h core.Host) (err error) {
	c.dropped = h.Counter("cookies_dropped")
	if c.filter != "" {
		if c.pattern, err = regexp.Compile(c.filter); err != nil {
			return fmt.Errorf("cookie_filter: %w", err)
		}
	}
	return nil
}

func (c *cookies) start(h core.Host) {
	key := h.Secret("record-route-cookie")
	if c.secret != "" {
		key = sha256.Sum256([]byte("record-route-cookie\x00" + c.secret))
	}
	c.k0, c.k1 = binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
}

func (c *cookies) allowed(name string) bool { return c.pattern == nil || c.pattern.MatchString(name) }

// mac is the proof that attributes belong to a dialog.
func (c *cookies) mac(callID, tag, payload []byte) uint64 {
	var tmp [2048]byte
	b := binary.AppendUvarint(tmp[:0], uint64(len(callID)))
	b = append(b, callID...)
	b = binary.AppendUvarint(b, uint64(len(tag)))
	b = append(append(b, tag...), payload...)
	return siphash.Hash(c.k0, c.k1, b)
}

// appendTo appends the cookie parameter, if the request has attributes for it.
// tag is the tag of who set the dialog up; reverse tells that the request comes
// from the other side, so that its tracks are exchanged.
func (c *cookies) appendTo(dst []byte, r *core.Request, tag []byte, reverse bool) []byte {
	if !c.enabled || !r.Attrs.HasFlag(core.AttrCookie) {
		return dst
	}
	var tmp [maxCookie + 128 + macSize]byte
	payload := tmp[:0]
	r.Attrs.EachFlagged(core.AttrCookie, func(t core.Track, class core.Class, at *core.Attr) bool {
		if !c.allowed(at.Name) {
			return true
		}
		if reverse {
			t = t.Other()
		}
		if attrSize(at) > c.size-len(payload) {
			c.dropped.Add(1)
			return true
		}
		payload = appendAttr(payload, t, class, at)
		return true
	})
	if len(payload) == 0 {
		return dst
	}
	payload = binary.BigEndian.AppendUint64(payload, c.mac(r.Msg.CallID(), tag, payload))
	dst = append(append(dst, ';'), cookieParam+"="...)
	return base64.RawURLEncoding.AppendEncode(dst, payload)
}

// attrSize is at least what appendAttr appends.
func attrSize(at *core.Attr) int {
	return 1 + 2*binary.MaxVarintLen32 + len(at.Name) + len(at.Value.Str) + len(at.Value.Raw)
}

// appendAttr appends one value: a byte with track, class and kind, the name
// with its length, and a number or a text with its length.
func appendAttr(b []byte, t core.Track, c core.Class, at *core.Attr) []byte {
	if c == core.GlobalClass {
		t = core.FromTrack
	}
	b = append(b, byte(t)|byte(c)<<1|byte(at.Value.Kind)<<3)
	b = append(binary.AppendUvarint(b, uint64(len(at.Name))), at.Name...)
	if at.Value.Kind != core.KindText {
		return binary.AppendVarint(b, at.Value.Num)
	}
	if at.Value.Raw != nil {
		return append(binary.AppendUvarint(b, uint64(len(at.Value.Raw))), at.Value.Raw...)
	}
	return append(binary.AppendUvarint(b, uint64(len(at.Value.Str))), at.Value.Str...)
}

// restore gives a request inside a dialog the attributes that its Route brings
// back. It reports whether there were any with a good proof.
func (c *cookies) restore(r *core.Request, tag []byte, reverse bool) bool {
	if !c.enabled {
		return false
	}
	text, ok := sipmsg.HeaderParam(r.RouteParams, cookieParam)
	if !ok || base64.RawURLEncoding.DecodedLen(len(text)) > maxCookie+macSize {
		return false
	}
	var tmp [maxCookie + macSize]byte
	raw, err := base64.RawURLEncoding.AppendDecode(tmp[:0], text)
	if err != nil || len(raw) < macSize {
		return false
	}
	payload, mac := raw[:len(raw)-macSize], raw[len(raw)-macSize:]
	if binary.BigEndian.Uint64(mac) != c.mac(r.Msg.CallID(), tag, payload) {
		return false
	}
	var last core.AttrRef
	for len(payload) > 0 {
		ref, v, rest, ok := cutAttr(payload)
		if !ok {
			return false
		}
		payload = rest
		if reverse && ref.Class != core.GlobalClass {
			ref.Track = ref.Track.Other()
		}
		if !c.allowed(ref.Name) {
			continue
		}
		if ref != last { // the values of one name come together
			if err := r.Attrs.Remove(&ref); err != nil {
				return false
			}
			last = ref
		}
		if err := r.Attrs.AddFlagged(&ref, v, core.AttrCookie); err != nil {
			return false
		}
	}
	return true
}

// cutAttr undoes appendAttr.
func cutAttr(b []byte) (ref core.AttrRef, v core.Value, rest []byte, ok bool) {
	head := b[0]
	ref.Track, ref.Class, v.Kind = core.Track(head&1), core.Class(head>>1&3), core.Kind(head>>3)
	name, b, ok := cutText(b[1:])
	if !ok {
		return ref, v, nil, false
	}
	ref.Name = string(name)
	switch v.Kind {
	case core.KindText:
		v.Raw, b, ok = cutText(b)
		return ref, v, b, ok && core.ValidAttrName(ref.Name)
	case core.KindInt, core.KindBool:
		n, size := binary.Varint(b)
		if size <= 0 {
			return ref, v, nil, false
		}
		v.Num = n
		return ref, v, b[size:], core.ValidAttrName(ref.Name)
	}
	return ref, v, nil, false
}

func cutText(b []byte) (text, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n], b[n:], true
}
