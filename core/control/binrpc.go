package control

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"sipr/core"
)

// BINRPC is the protocol of SER's sercmd and Kamailio's kamcmd. A packet is
//
//	0xA1, kind<<4 | LL<<2 | CL, length (LL+1 bytes), cookie (CL+1 bytes), records
//
// all in network order. A record begins with a byte S<<7 | size<<4 | type; with
// S, size is the number of bytes after it that hold the size.
const (
	binMark = 0xA1 // magic and version; no JSON text begins with it

	binRequest = 0
	binReply   = 1
	binFault   = 3

	binInt    = 0 // of at most 4 bytes, two's complement only with 4
	binString = 1 // with a zero at the end, which counts
	binDouble = 2 // thousandths, of at most 8 bytes; its size has no S
	binStruct = 3 // members up to an end mark, each a name and a value
	binArray  = 4 // values up to an end mark
	binName   = 5 // of a member; as a string
	binBytes  = 6

	binEnd = 0x80 // on a struct or array: its end
)

// binDepth bounds structs and arrays within each other in a request.
const binDepth = 16

// maxExact is the largest number that a reader gets back exactly from
// thousandths, since it divides them as float64.
const maxExact = (1 << 53) / 1000

// Errors of a request; their texts are SER's.
var (
	errBinPacket = errors.New("corrupted packet")
	errBinMore   = errors.New("more data needed")
	errBinRecord = errors.New("bad record")
	errBinType   = errors.New("record doesn't match type")
)

// binPacket is a request as it was received. With fault set its records were
// not read, and no packet can be read after it.
type binPacket struct {
	cookie []byte
	body   []byte
	fault  *core.Fault
}

// readPacket reads a packet whose first byte was looked at.
func readPacket(r *bufio.Reader) (*binPacket, error) {
	var head [10]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return nil, err
	}
	kind := head[1] >> 4
	ll, cl := int(head[1]>>2&3)+1, int(head[1]&3)+1
	if _, err := io.ReadFull(r, head[2:2+ll+cl]); err != nil {
		return nil, err
	}
	length := bigEndian(head[2 : 2+ll])
	p := &binPacket{cookie: append([]byte(nil), head[2+ll:2+ll+cl]...)}
	switch {
	case kind != binRequest:
		p.fault = &core.Fault{Code: 400, Reason: "bad request: " + errBinPacket.Error()}
	case length > maxLine:
		p.fault = &core.Fault{Code: 400, Reason: fmt.Sprintf("bad request: packet longer than %d bytes", maxLine)}
	default:
		p.body = make([]byte, length)
		if _, err := io.ReadFull(r, p.body); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// bigEndian reads up to 8 bytes.
func bigEndian(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// answerBinary runs a packet's command and returns the packet that goes back;
// last says that nothing can follow.
func (d *door) answerBinary(p *binPacket) (out []byte, last bool) {
	if p.fault != nil {
		return faultPacket(p.cookie, p.fault), true
	}
	call, err := d.callBinary(p.body)
	if err != nil {
		return faultPacket(p.cookie, asFault(err)), false
	}
	var body []byte
	for _, v := range call.Reply {
		body = appendRecord(body, v)
	}
	if len(body) > math.MaxInt32 {
		return faultPacket(p.cookie, &core.Fault{Code: 500, Reason: "reply too long"}), false
	}
	return appendPacket(binReply, p.cookie, body), false
}

func (d *door) callBinary(body []byte) (*core.Call, error) {
	dec := binDecoder{b: body}
	name, err := dec.value(0)
	method, ok := name.(string)
	if err == nil && !ok {
		err = errBinType
	}
	if err != nil {
		return nil, &core.Fault{Code: 400, Reason: "bad request method: " + err.Error()}
	}
	c, ok := d.table.lookup(method)
	if !ok {
		return nil, notFound(method)
	}
	var params []any
	for len(dec.b) > 0 {
		v, err := dec.value(0)
		if err != nil {
			return nil, &core.Fault{Code: 400, Reason: fmt.Sprintf("error at parameter %d: %v", len(params)+1, err)}
		}
		params = append(params, v)
	}
	if err := bindParams(c, params); err != nil {
		return nil, &core.Fault{Code: 400, Reason: err.Error()}
	}
	return d.run(method, params)
}

// binDecoder reads the records of a request; b is what is left of it.
type binDecoder struct{ b []byte }

// head reads what a record begins with, and checks that its size is there.
func (d *binDecoder) head() (kind byte, size int, end bool, err error) {
	if len(d.b) == 0 {
		return 0, 0, false, errBinMore
	}
	kind, size = d.b[0]&0xF, int(d.b[0]>>4)
	d.b = d.b[1:]
	if kind != binDouble && size&8 != 0 {
		n := size & 7
		switch {
		case n == 0 && (kind == binStruct || kind == binArray):
			return kind, 0, true, nil
		case n == 0 || n > 4:
			return 0, 0, false, errBinPacket
		case n > len(d.b):
			return 0, 0, false, errBinMore
		}
		long := bigEndian(d.b[:n])
		d.b = d.b[n:]
		if long > uint64(len(d.b)) {
			return 0, 0, false, errBinMore
		}
		size = int(long)
	}
	if size > len(d.b) {
		return 0, 0, false, errBinMore
	}
	return kind, size, false, nil
}

// value reads a record and what belongs to it: a string, int64, float64,
// *core.Struct or []any.
func (d *binDecoder) value(depth int) (any, error) {
	kind, size, end, err := d.head()
	if err != nil {
		return nil, err
	}
	if end || depth > binDepth {
		return nil, errBinRecord
	}
	content := d.b[:size]
	d.b = d.b[size:]
	switch kind {
	case binInt, binDouble:
		if size > 8 {
			return nil, errBinPacket
		}
		n := int64(bigEndian(content))
		if kind == binDouble {
			return float64(n) / 1000, nil
		}
		if size == 4 { // shorter ones had leading zeros: they are not negative
			n = int64(int32(n))
		}
		return n, nil
	case binString:
		return binText(content)
	case binBytes:
		return string(content), nil
	case binStruct, binArray:
		if size != 0 {
			return nil, errBinRecord
		}
		if kind == binStruct {
			return d.members(depth + 1)
		}
		return d.elements(depth + 1)
	}
	return nil, errBinType
}

// members reads up to the end of a struct.
func (d *binDecoder) members(depth int) (*core.Struct, error) {
	s := new(core.Struct)
	for {
		kind, size, end, err := d.head()
		switch {
		case err != nil:
			return nil, err
		case end && kind == binStruct:
			return s, nil
		case end || kind != binName:
			return nil, errBinRecord
		}
		name, err := binText(d.b[:size])
		if err != nil {
			return nil, err
		}
		d.b = d.b[size:]
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		s.Add(name, v)
	}
}

// elements reads up to the end of an array.
func (d *binDecoder) elements(depth int) ([]any, error) {
	list := []any{}
	for {
		if len(d.b) > 0 && d.b[0] == binEnd|binArray {
			d.b = d.b[1:]
			return list, nil
		}
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func binText(b []byte) (string, error) {
	if len(b) == 0 { // no value
		return "", nil
	}
	if b[len(b)-1] != 0 {
		return "", errBinPacket
	}
	return string(b[:len(b)-1]), nil
}

func faultPacket(cookie []byte, f *core.Fault) []byte {
	body := appendInt(nil, int64(f.Code))
	return appendPacket(binFault, cookie, appendText(body, binString, f.Reason))
}

func appendPacket(kind byte, cookie, body []byte) []byte {
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(body)))
	digits := length[:]
	for len(digits) > 1 && digits[0] == 0 {
		digits = digits[1:]
	}
	out := make([]byte, 0, 2+len(digits)+len(cookie)+len(body))
	out = append(out, binMark, kind<<4|byte(len(digits)-1)<<2|byte(len(cookie)-1))
	out = append(out, digits...)
	out = append(out, cookie...)
	return append(out, body...)
}

// appendRecord appends a value of a reply.
func appendRecord(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return appendText(dst, binString, nullText)
	case string:
		return appendText(dst, binString, v)
	case int64:
		return appendInt(dst, v)
	case float64:
		return appendDouble(dst, v)
	case bool:
		if v {
			return appendInt(dst, 1)
		}
		return appendInt(dst, 0)
	case *core.Struct:
		return appendBinStruct(dst, v)
	case []any:
		dst = append(dst, binArray)
		for _, e := range v {
			dst = appendRecord(dst, e)
		}
		return append(dst, binEnd|binArray)
	}
	return appendText(dst, binString, fmt.Sprint(v))
}

func appendBinStruct(dst []byte, s *core.Struct) []byte {
	dst = append(dst, binStruct)
	if s != nil {
		for _, m := range s.Members {
			dst = appendMember(dst, m.Name, m.Value)
		}
	}
	return append(dst, binEnd|binStruct)
}

// appendMember appends a name and a value. An array becomes as many members of
// that name: within a struct, kamcmd reads no arrays.
func appendMember(dst []byte, name string, v any) []byte {
	if list, ok := v.([]any); ok {
		for _, e := range list {
			dst = appendMember(dst, name, e)
		}
		return dst
	}
	return appendRecord(appendText(dst, binName, name), v)
}

// appendInt appends a number as an int if its readers, who have 32 bits, can
// hold it, else as a double, and what that does not hold exactly as text.
func appendInt(dst []byte, n int64) []byte {
	switch {
	case math.MinInt32 <= n && n <= math.MaxInt32:
		return appendBinNumber(dst, binInt, uint64(uint32(n)))
	case -maxExact <= n && n <= maxExact:
		return appendBinNumber(dst, binDouble, uint64(n*1000))
	}
	return appendText(dst, binString, fmt.Sprint(n))
}

func appendDouble(dst []byte, f float64) []byte {
	if n := math.Round(f * 1000); math.Abs(n) < 1<<63 {
		return appendBinNumber(dst, binDouble, uint64(int64(n)))
	}
	return appendText(dst, binString, fmt.Sprint(f)) // also what is no number
}

// appendBinNumber appends the bytes of n that are not leading zeros.
func appendBinNumber(dst []byte, kind byte, n uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	digits := b[:]
	for len(digits) > 0 && digits[0] == 0 {
		digits = digits[1:]
	}
	return append(append(dst, byte(len(digits))<<4|kind), digits...)
}

// appendText appends a string or a name.
func appendText(dst []byte, kind byte, s string) []byte {
	if n := len(s) + 1; n < 8 {
		dst = append(dst, byte(n)<<4|kind)
	} else {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(n))
		digits := b[:]
		for digits[0] == 0 {
			digits = digits[1:]
		}
		dst = append(append(dst, 0x80|byte(len(digits))<<4|kind), digits...)
	}
	return append(append(dst, s...), 0)
}
