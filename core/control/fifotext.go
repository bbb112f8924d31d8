package control

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sipr/core"
)

// ErrUnsupported is the error of ListenFIFO where the system has no FIFOs.
var ErrUnsupported = fmt.Errorf("no FIFOs on this system: %w", errors.ErrUnsupported)

// maxRequest bounds a request that comes through a FIFO, in bytes.
const maxRequest = 64 << 10

// nullText stands for no value in SER's replies.
const nullText = "<null string>"

// fifoScanner cuts what comes through a FIFO into requests: lines that end in
// LF, CR or both, up to an empty one.
type fifoScanner struct {
	lines   []string
	line    []byte
	size    int
	skipped bool // too long; the first line is kept
	lastCR  bool
}

// partial reports whether a request has begun.
func (s *fifoScanner) partial() bool { return len(s.lines) > 0 || len(s.line) > 0 }

// reset forgets a request that has begun.
func (s *fifoScanner) reset() { *s = fifoScanner{lastCR: s.lastCR} }

// next consumes one byte. It returns true when that completes a request, whose
// lines it leaves in lines until reset.
func (s *fifoScanner) next(b byte) bool {
	switch {
	case b == '\n' && s.lastCR:
		s.lastCR = false
		return false
	case b == '\n' || b == '\r':
		s.lastCR = b == '\r'
		s.grow()
		if len(s.line) == 0 {
			if len(s.lines) > 0 {
				return true
			}
			s.reset() // empty lines between requests mean nothing
			return false
		}
		if !s.skipped || len(s.lines) == 0 {
			s.lines = append(s.lines, strings.TrimRight(string(s.line), " \t"))
		}
		s.line = s.line[:0]
		return false
	}
	s.lastCR = false
	s.grow()
	// Of a line that is skipped, one byte tells that it is not empty.
	if !s.skipped || len(s.line) == 0 {
		s.line = append(s.line, b)
	}
	return false
}

func (s *fifoScanner) grow() {
	s.size++
	s.skipped = s.size > maxRequest
}

// fifoRequest is a request in SER's FIFO protocol:
//
//	:method:reply_fifo
//	parameter
//	<empty line>
type fifoRequest struct {
	method string
	reply  string   // name of the FIFO for the reply, empty for none
	lines  []string // of the parameters
}

// parseFIFO reads a request. When the error is a *core.Fault, the request's
// reply names who is to be told.
func parseFIFO(lines []string) (req fifoRequest, err error) {
	rest, ok := strings.CutPrefix(lines[0], ":")
	if !ok {
		return req, errors.New("request does not begin with a colon")
	}
	method, reply, ok := strings.Cut(rest, ":")
	if !ok {
		return req, errors.New("request has no second colon")
	}
	// The reply goes into one folder, nowhere else.
	if strings.ContainsAny(reply, "./\\\x00") {
		return req, errors.New("name of the reply FIFO has a dot or a slash")
	}
	req.method, req.reply = strings.TrimRight(method, " \t"), reply
	if req.method == "" {
		return req, &core.Fault{Code: 400, Reason: "Command name missing"}
	}
	req.lines = lines[1:]
	return req, nil
}

// bindFIFO reads the lines of a command's parameters. As in SER, line 1 is that
// of the command.
func bindFIFO(c core.Command, lines []string) ([]any, error) {
	var params []any
	for i, line := range lines {
		where := fmt.Sprintf("Line %d", i+2)
		if structAt(c, i) {
			s, err := parseStruct(line, where)
			if err != nil {
				return nil, &core.Fault{Code: 400, Reason: err.Error()}
			}
			params = append(params, s)
			continue
		}
		text, ok := unescapeFIFO(line)
		if !ok {
			return nil, &core.Fault{Code: 400, Reason: "Invalid parameter value on " + strings.ToLower(where)}
		}
		params = append(params, text)
	}
	return params, nil
}

// unescapeFIFO decodes a parameter. In requests SER takes \c for a colon and \o
// for a comma, the other way round than in its replies; clients depend on it.
func unescapeFIFO(s string) (string, bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		if i++; i == len(s) {
			return "", false
		}
		at := strings.IndexByte(`nrt\0co`, s[i])
		if at < 0 {
			return "", false
		}
		out = append(out, "\n\r\t\\\x00:,"[at])
	}
	return string(out), true
}

// appendEscaped encodes text of a reply; inStruct also what separates members.
func appendEscaped(dst []byte, s string, inStruct bool) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\\':
			dst = append(dst, `\\`...)
		case c == 0:
			dst = append(dst, `\0`...)
		case c == ':' && inStruct:
			dst = append(dst, `\o`...)
		case c == ',' && inStruct:
			dst = append(dst, `\c`...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// fifoReply returns the whole text of a reply.
func fifoReply(call *core.Call, err error) []byte {
	if err != nil {
		f := asFault(err)
		out := strconv.AppendInt(nil, int64(f.Code), 10)
		out = appendEscaped(append(out, ' '), f.Reason, false)
		return append(out, '\n')
	}
	out := []byte("200 OK\n")
	for _, v := range call.Reply {
		out = appendPositional(out, v)
	}
	return out
}

// appendPositional appends a value on a line of its own, an array as its
// values, and nothing for a struct without members.
func appendPositional(dst []byte, v any) []byte {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			dst = appendPositional(dst, e)
		}
		return dst
	case *core.Struct:
		n := len(dst)
		if dst = appendMembers(dst, v); len(dst) == n {
			return dst
		}
	default:
		dst = appendScalar(dst, v, false)
	}
	return append(dst, '\n')
}

// appendMembers appends a struct as SER does: first its scalars, the last one
// first, then each container as its name, a colon and its own members. A comma
// stands only between a value and what follows.
func appendMembers(dst []byte, s *core.Struct) []byte {
	if s == nil {
		return dst
	}
	for i := len(s.Members) - 1; i >= 0; i-- {
		m := s.Members[i]
		if isContainer(m.Value) {
			continue
		}
		dst = appendName(dst, m.Name)
		dst = append(appendScalar(dst, m.Value, true), ',')
	}
	for _, m := range s.Members {
		if isContainer(m.Value) {
			dst = appendContainer(appendName(dst, m.Name), m.Value)
		}
	}
	return bytes.TrimSuffix(dst, []byte{','})
}

// appendContainer appends what a container holds, with a comma after it unless
// that is nothing.
func appendContainer(dst []byte, v any) []byte {
	n := len(dst)
	switch v := v.(type) {
	case *core.Struct:
		dst = appendMembers(dst, v)
	case []any:
		for _, e := range v {
			if isContainer(e) {
				dst = appendContainer(dst, e)
			} else {
				dst = append(appendScalar(dst, e, true), ',')
			}
		}
	}
	if len(dst) == n || dst[len(dst)-1] == ',' || dst[len(dst)-1] == ':' {
		return dst
	}
	return append(dst, ',')
}

func appendName(dst []byte, name string) []byte {
	return append(appendEscaped(dst, name, true), ':')
}

func isContainer(v any) bool {
	switch v.(type) {
	case *core.Struct, []any:
		return true
	}
	return false
}

func appendScalar(dst []byte, v any, inStruct bool) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, nullText...)
	case string:
		return appendEscaped(dst, v, inStruct)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		return strconv.AppendFloat(dst, v, 'f', 6, 64)
	case bool:
		if v {
			return append(dst, '1')
		}
		return append(dst, '0')
	}
	return appendEscaped(dst, fmt.Sprint(v), inStruct)
}
