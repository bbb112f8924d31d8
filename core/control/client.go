package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sipr/core"
)

// ConnectError says that nobody answered at a socket.
type ConnectError struct {
	Path string
	Err  error
}

func (e *ConnectError) Error() string { return fmt.Sprintf("cannot connect to %s: %v", e.Path, e.Err) }

// Unwrap returns the system's error.
func (e *ConnectError) Unwrap() error { return e.Err }

// Client is a connection to a router's unix socket. Its calls are made one
// after the other; any goroutine may make one.
type Client struct {
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
	id   int64
}

// Dial connects to the socket at path. The error is a *ConnectError, or ctx's
// when that ended.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &ConnectError{path, err}
	}
	return &Client{conn: conn, r: bufio.NewReader(conn)}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Call runs a command and returns its result. A command's refusal is a
// *core.Fault. When ctx ends first its error is returned, and the connection
// is of no further use.
func (c *Client) Call(ctx context.Context, method string, params []any) (json.RawMessage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id++
	if params == nil {
		params = []any{}
	}
	req, err := marshal(struct {
		Version string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
		ID      int64  `json:"id"`
	}{"2.0", method, params, c.id})
	if err != nil {
		return nil, fmt.Errorf("%s: parameters: %w", method, err)
	}
	// A deadline in the past interrupts what is under way.
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, werr := c.conn.Write(append(req, '\n'))
	// A router that refuses the connection answers before it reads.
	line, err := c.r.ReadBytes('\n')
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		if werr != nil {
			err = werr
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%s: connection to the router lost: %w", method, err)
	}
	return c.parse(method, line)
}

func (c *Client) parse(method string, line []byte) (json.RawMessage, error) {
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int             `json:"code"`
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data"`
		} `json:"error"`
		ID json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, fmt.Errorf("%s: answer: %w", method, err)
	}
	if e := answer.Error; e != nil {
		fault := &core.Fault{Code: e.Code, Reason: e.Message}
		var data rpcErrorData
		if json.Unmarshal(e.Data, &data) == nil && data.Code != 0 {
			fault.Code = data.Code
		}
		return nil, fault
	}
	if !bytes.Equal(answer.ID, fmt.Appendf(nil, "%d", c.id)) {
		return nil, fmt.Errorf("%s: %w", method, errors.New("answer to another call"))
	}
	return answer.Result, nil
}
