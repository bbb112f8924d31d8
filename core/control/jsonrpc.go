package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sipr/core"
)

// Error codes of JSON-RPC 2.0, section 5.1.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNotFound       = -32601
	codeInvalidParams  = -32602
)

// maxBatch bounds the calls of one batch, since each is answered.
const maxBatch = 1024

// looksJSON tells whether a line may be a JSON-RPC document, or none at all.
func looksJSON(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '{' || line[0] == '['
}

// rpcError is the error member of a response.
type rpcError struct {
	Code    int           `json:"code"`
	Message string        `json:"message"`
	Data    *rpcErrorData `json:"data,omitempty"`
}

// rpcErrorData carries the code that the same fault has at SER's doors.
type rpcErrorData struct {
	Code int `json:"code"`
}

// rpcRequest is one call as it was received.
type rpcRequest struct {
	method string
	params []any
	id     json.RawMessage // nil: a notification
}

// answerJSON runs the document of one line and returns what goes back,
// without the line's end; nil if there is no answer.
func (d *door) answerJSON(line []byte) []byte {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil
	}
	if !json.Valid(line) {
		return errorResponse(nil, &rpcError{Code: codeParse, Message: "parse error"})
	}
	if line[0] != '[' {
		return d.answerCall(line)
	}
	var batch []json.RawMessage
	if err := json.Unmarshal(line, &batch); err != nil {
		return errorResponse(nil, &rpcError{Code: codeParse, Message: "parse error"})
	}
	if len(batch) == 0 {
		return errorResponse(nil, &rpcError{Code: codeInvalidRequest, Message: "invalid request: empty batch"})
	}
	if len(batch) > maxBatch {
		return errorResponse(nil, &rpcError{Code: codeInvalidRequest,
			Message: fmt.Sprintf("invalid request: more than %d calls in a batch", maxBatch)})
	}
	var out []byte
	for _, raw := range batch {
		one := d.answerCall(raw)
		if one == nil {
			continue
		}
		if out == nil {
			out = append(out, '[')
		} else {
			out = append(out, ',')
		}
		out = append(out, one...)
	}
	if out != nil {
		out = append(out, ']')
	}
	return out
}

// answerCall runs one request object; nil for a notification.
func (d *door) answerCall(raw []byte) []byte {
	req, rpcErr := parseRequest(raw)
	if rpcErr == nil {
		if result, err := d.call(req); err != nil {
			rpcErr = err
		} else if req.id != nil {
			return response(req.id, "result", result)
		}
	} else if rpcErr.Code == codeInvalidRequest {
		// What is no request is no notification either.
		return errorResponse(req.id, rpcErr)
	}
	if req.id == nil {
		return nil
	}
	return errorResponse(req.id, rpcErr)
}

func (d *door) call(req rpcRequest) (json.RawMessage, *rpcError) {
	c, ok := d.table.lookup(req.method)
	if !ok {
		f := notFound(req.method)
		return nil, &rpcError{Code: codeNotFound, Message: f.Reason, Data: &rpcErrorData{f.Code}}
	}
	if err := bindParams(c, req.params); err != nil {
		return nil, &rpcError{Code: codeInvalidParams, Message: "invalid params: " + err.Error()}
	}
	call, err := d.run(req.method, req.params)
	if err == nil {
		var result []byte
		if result, err = callResult(call); err == nil {
			return result, nil
		}
		err = fmt.Errorf("command %s: reply: %w", req.method, err)
	}
	f := asFault(err)
	return nil, &rpcError{Code: f.Code, Message: f.Reason}
}

// parseRequest checks a request object. The request's id is set even with an
// error, if it could be made out.
func parseRequest(raw []byte) (rpcRequest, *rpcError) {
	var req rpcRequest
	invalid := func(why string) (rpcRequest, *rpcError) {
		return req, &rpcError{Code: codeInvalidRequest, Message: "invalid request: " + why}
	}
	// A map, not a struct: member names are case-sensitive.
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return invalid("not an object")
	}
	if id, ok := members["id"]; ok {
		if !isID(id) {
			return invalid("id is neither a string nor a number")
		}
		req.id = id
	}
	var version string
	if json.Unmarshal(members["jsonrpc"], &version) != nil || version != "2.0" {
		return invalid(`jsonrpc is not "2.0"`)
	}
	if json.Unmarshal(members["method"], &req.method) != nil || req.method == "" {
		return invalid("method is not a name")
	}
	params, err := parseParams(members["params"])
	if err != nil {
		return req, &rpcError{Code: codeInvalidParams, Message: "invalid params: " + err.Error()}
	}
	req.params = params
	return req, nil
}

func isID(raw json.RawMessage) bool {
	switch c := raw[0]; c {
	case '"', '-', 'n':
		return true
	default:
		return '0' <= c && c <= '9'
	}
}

// parseParams reads positional parameters. Names have no meaning here, since
// a command knows its parameters by position.
func parseParams(raw json.RawMessage) ([]any, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	switch raw[0] {
	case '[':
	case '{':
		var members map[string]json.RawMessage
		if err := dec.Decode(&members); err != nil {
			return nil, err
		}
		if len(members) > 0 {
			return nil, fmt.Errorf("parameters go by position, in an array")
		}
		return nil, nil
	default:
		return nil, fmt.Errorf("not an array")
	}
	var raws []json.RawMessage
	if err := dec.Decode(&raws); err != nil {
		return nil, err
	}
	params := make([]any, len(raws))
	for i, raw := range raws {
		var err error
		if raw[0] == '{' {
			params[i], err = parseObject(raw)
		} else {
			params[i], err = parseScalar(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("parameter %d%w", i+1, err)
		}
	}
	return params, nil
}

// parseObject reads a parameter that is a struct. Its members keep their order.
func parseObject(raw []byte) (*core.Struct, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	s := new(core.Struct)
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			return nil, fmt.Errorf(": %w", err)
		}
		v, err := parseScalar(value)
		if err != nil {
			return nil, fmt.Errorf(", member %v%w", name, err)
		}
		s.Add(fmt.Sprint(name), v)
	}
	return s, nil
}

// parseScalar reads a value. Its error continues the name of what it is.
func parseScalar(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	switch v := v.(type) {
	case string, bool:
		return v, nil
	case json.Number:
		n, err := parseNumber(string(v))
		if err != nil {
			return nil, fmt.Errorf(": %s is out of range", v)
		}
		return n, nil
	}
	return nil, errors.New(" is neither text, number nor boolean")
}

// parseNumber returns an int64 for what is written as an integer, a float64
// otherwise.
func parseNumber(s string) (any, error) {
	if !strings.ContainsAny(s, ".eE") {
		return strconv.ParseInt(s, 10, 64)
	}
	return strconv.ParseFloat(s, 64)
}

func errorResponse(id json.RawMessage, e *rpcError) []byte {
	raw, err := marshal(e)
	if err != nil {
		raw = []byte(`{"code":500,"message":"internal error"}`)
	}
	return response(id, "error", raw)
}

func response(id json.RawMessage, member string, value []byte) []byte {
	out := make([]byte, 0, len(value)+len(id)+48)
	out = append(out, `{"jsonrpc":"2.0","`...)
	out = append(out, member...)
	out = append(out, `":`...)
	out = append(out, value...)
	out = append(out, `,"id":`...)
	if id == nil {
		out = append(out, "null"...)
	} else {
		out = append(out, id...)
	}
	return append(out, '}')
}

// callResult returns a call's reply as JSON: its Data if a command set it, else
// the only value, an array of several, or an empty object for none.
func callResult(c *core.Call) ([]byte, error) {
	switch {
	case c.Data != nil:
		return appendJSON(nil, c.Data)
	case len(c.Reply) == 0:
		return []byte("{}"), nil
	case len(c.Reply) == 1:
		return appendJSON(nil, c.Reply[0])
	}
	return appendJSON(nil, c.Reply)
}

// appendJSON appends a value of a reply as JSON.
func appendJSON(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case *core.Struct:
		return appendStruct(dst, v)
	case []any:
		return appendArray(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	}
	raw, err := marshal(v)
	return append(dst, raw...), err
}

func appendArray(dst []byte, values []any) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, v); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendStruct appends a struct as an object whose members keep the order of
// their first appearance. Members of one name become an array, since JSON
// readers keep only one of them.
func appendStruct(dst []byte, s *core.Struct) (_ []byte, err error) {
	if s == nil {
		return append(dst, "null"...), nil
	}
	values := make(map[string][]any, len(s.Members))
	var names []string
	for _, m := range s.Members {
		if _, seen := values[m.Name]; !seen {
			names = append(names, m.Name)
		}
		values[m.Name] = append(values[m.Name], m.Value)
	}
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, name); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		if all := values[name]; len(all) == 1 {
			dst, err = appendJSON(dst, all[0])
		} else {
			dst, err = appendArray(dst, all)
		}
		if err != nil {
			return dst, fmt.Errorf("%s: %w", name, err)
		}
	}
	return append(dst, '}'), nil
}

// marshal is json.Marshal that leaves <, > and & alone: they are everywhere in
// SIP addresses, and no browser reads this.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}), nil
}
