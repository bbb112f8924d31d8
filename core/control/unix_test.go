package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// openUnix serves table at a socket of its own until the test ends.
func openUnix(t *testing.T, table *Table, clk clock.Clock) *Unix {
	t.Helper()
	u, err := ListenUnix(filepath.Join(t.TempDir(), "s"), 0, table, quiet(), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close(context.Background()) })
	return u
}

// wire is a peer that sends and reads lines.
type wire struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialWire(t *testing.T, u *Unix) *wire {
	t.Helper()
	conn, err := net.Dial("unix", u.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) expect(want string) {
	w.t.Helper()
	got, err := w.r.ReadString('\n')
	if err != nil || strings.TrimSuffix(got, "\n") != want {
		w.t.Errorf("got  %.300s (%v)\nwant %.300s", got, err, want)
	}
}

func result(v string) string { return `{"jsonrpc":"2.0","result":` + v + `,"id":1}` }
func failure(e, id string) string {
	return `{"jsonrpc":"2.0","error":{` + e + `},"id":` + id + `}`
}
func request(method, params string) string {
	return `{"jsonrpc":"2.0","method":"` + method + `","params":` + params + `,"id":1}`
}

func TestUnixProtocol(t *testing.T) {
	w := dialWire(t, openUnix(t, testTable(t), clock.NewReal()))
	tests := []struct{ send, want string }{
		{request("test.echo", `[]`), result(`{}`)},
		{request("test.echo", `{}`), result(`{}`)},
		{request("test.echo", `null`), result(`{}`)},
		{`{"jsonrpc":"2.0","method":"test.echo","id":1}`, result(`{}`)},
		{request("test.echo", `["a"]`), result(`"a"`)},
		{request("test.echo", ` [ "a" , 9007199254740993, -1, 2.5, true ]`), result(`["a",9007199254740993,-1,2.5,true]`)},
		{request("test.struct", `[]`), result(`{"now":"20:12, today","up":2,"contact":"<sip:a@b>"}`)},
		{request("test.repeat", `[]`), result(`{"domain":["a","b"],"flags":1}`)},
		{request("test.nested", `[]`), result(`{"Domains":{"Domain":{"Domain":"location","Size":1024,"AoRs":{},"Stats":{"Records":0,"Max-Slots":0}}}}`)},
		{request("test.data", `[]`), result(`{"k":[1,2]}`)},
		{request("test.fault", `[]`), failure(`"code":404,"message":"No such\ndomain"`, "1")},
		{request("test.fail", `[]`), failure(`"code":500,"message":"table domain: disk full"`, "1")},
		{request("test.panic", `[]`), failure(`"code":500,"message":"command test.panic panicked: boom"`, "1")},
		{request("nosuch", `[]`), failure(`"code":-32601,"message":"command nosuch not found","data":{"code":500}`, "1")},
		{request("test.echo", `{"a":1}`), failure(`"code":-32602,"message":"invalid params: parameters go by position, in an array"`, "1")},
		{request("test.echo", `[[1]]`), failure(`"code":-32602,"message":"invalid params: parameter 1 is neither text, number nor boolean"`, "1")},
		{request("test.echo", `["a",null]`), failure(`"code":-32602,"message":"invalid params: parameter 2 is neither text, number nor boolean"`, "1")},
		{request("test.echo", `[18446744073709551616]`), failure(`"code":-32602,"message":"invalid params: parameter 1: 18446744073709551616 is out of range"`, "1")},
		{request("test.echo", `"bar"`), failure(`"code":-32602,"message":"invalid params: not an array"`, "1")},
		{`{"jsonrpc":"2.0","method":"test.echo","id": "a b" }`, `{"jsonrpc":"2.0","result":{},"id":"a b"}`},
		{`{"jsonrpc":"2.0","method":"test.echo","id":null}`, `{"jsonrpc":"2.0","result":{},"id":null}`},
		{`{"jsonrpc":"2.0","method":1,"id":1}`, failure(`"code":-32600,"message":"invalid request: method is not a name"`, "1")},
		{`{"jsonrpc":"2.0","METHOD":"test.echo","id":1}`, failure(`"code":-32600,"message":"invalid request: method is not a name"`, "1")},
		{`{"method":"test.echo"}`, failure(`"code":-32600,"message":"invalid request: jsonrpc is not \"2.0\""`, "null")},
		{`{"jsonrpc":"2.0","method":"test.echo","id":{}}`, failure(`"code":-32600,"message":"invalid request: id is neither a string nor a number"`, "null")},
		{`3`, failure(`"code":-32600,"message":"invalid request: not an object"`, "null")},
		{`null`, failure(`"code":-32600,"message":"invalid request: not an object"`, "null")},
		{`{"jsonrpc":"2.0","method"`, failure(`"code":-32700,"message":"parse error"`, "null")},
		{`{} {}`, failure(`"code":-32700,"message":"parse error"`, "null")},
		{"GET / HTTP/1.1", failure(`"code":-32700,"message":"parse error"`, "null")},
		{`[]`, failure(`"code":-32600,"message":"invalid request: empty batch"`, "null")},
		{`[1,` + request("test.echo", `[7]`) + `,{"jsonrpc":"2.0","method":"test.echo"}]`,
			`[` + failure(`"code":-32600,"message":"invalid request: not an object"`, "null") + `,` + result(`7`) + `]`},
		{`[1` + strings.Repeat(",1", maxBatch) + `]`, failure(`"code":-32600,"message":"invalid request: more than 1024 calls in a batch"`, "null")},
		// Notifications, alone and in a batch, even those that fail, get no
		// answer; neither do empty lines.
		{`{"jsonrpc":"2.0","method":"test.echo","params":[1]}` + "\n" +
			`{"jsonrpc":"2.0","method":"nosuch"}` + "\n" +
			`{"jsonrpc":"2.0","method":"test.fail"}` + "\n" +
			`{"jsonrpc":"2.0","method":"test.echo","params":{"a":1}}` + "\n" +
			`[{"jsonrpc":"2.0","method":"test.echo"}]` + "\n\n \r\n" + request("test.echo", `["last"]`), result(`"last"`)},
		{request("test.echo", `["`+strings.Repeat("y", 100_000)+`"]`), result(`"` + strings.Repeat("y", 100_000) + `"`)},
	}
	for _, tt := range tests {
		w.send(tt.send + "\n")
		w.expect(tt.want)
	}
}

func TestUnixLineTooLong(t *testing.T) {
	w := dialWire(t, openUnix(t, testTable(t), clock.NewReal()))
	w.send(strings.Repeat(" ", maxLine+1) + "\n")
	w.expect(failure(`"code":-32700,"message":"parse error: line longer than 1048576 bytes"`, "null"))
	w.send(request("test.echo", `["still here"]`) + "\n")
	w.expect(result(`"still here"`))
}

func TestUnixDocumentEndsWithConnection(t *testing.T) {
	w := dialWire(t, openUnix(t, testTable(t), clock.NewReal()))
	w.send(request("test.echo", `[1]`))
	w.Conn.(*net.UnixConn).CloseWrite()
	w.expect(result(`1`))
	if _, err := w.r.ReadByte(); err != io.EOF {
		t.Errorf("connection stays open: %v", err)
	}
}

func TestUnixFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	open := func() (*Unix, error) { return ListenUnix(path, 0, NewTable(), nil, clock.NewReal()) }

	u, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "already in use") {
		t.Errorf("second door: %v", err)
	}
	if err := u.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}

	// What a killed process leaves behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if u, err = open(); err != nil {
		t.Fatal(err)
	}
	// A successor's socket is not ours to remove.
	os.Remove(path)
	os.WriteFile(path, []byte("x"), 0o600)
	u.Close(t.Context())
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "x" {
		t.Error("file was touched")
	}
	path = filepath.Join(dir, "none", "s")
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("no folder: %v", err)
	}
	path = filepath.Join(dir, "m")
	u, err = ListenUnix(path, 0o660, NewTable(), nil, clock.NewReal())
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Lstat(path); info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v", info.Mode())
	}
	u.Close(t.Context())
}

func TestUnixHangingPeers(t *testing.T) {
	clk := clock.NewFake()
	u := openUnix(t, testTable(t), clk)
	// One never reads what it asked for, one never ends its line.
	deaf := dialWire(t, u)
	deaf.send(request("test.big", `[]`) + "\n")
	mute := dialWire(t, u)
	mute.send(`{"jsonrpc":`)

	w := dialWire(t, u)
	w.send(request("test.echo", `["served"]`) + "\n")
	w.expect(result(`"served"`))

	if _, err := deaf.r.Peek(1); err != nil { // its answer has begun
		t.Fatal(err)
	}
	for open := true; open; {
		clk.Advance(writeTimeout + idleTimeout)
		runtime.Gosched()
		u.mu.Lock()
		open = len(u.conns) > 0
		u.mu.Unlock()
	}
	if n, _ := io.Copy(io.Discard, deaf.r); n == 0 || n >= 4<<20 {
		t.Errorf("deaf peer was sent %d bytes", n)
	}
	if n, _ := io.Copy(io.Discard, mute.r); n > 0 {
		t.Errorf("mute peer was sent %d bytes", n)
	}
}

func TestUnixTooManyConnections(t *testing.T) {
	u := openUnix(t, testTable(t), clock.NewReal())
	var first *wire
	for range maxConns {
		w := dialWire(t, u)
		w.send(request("test.echo", `[1]`) + "\n")
		w.expect(result(`1`))
		if first == nil {
			first = w
		}
	}
	c, err := Dial(t.Context(), u.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var f *core.Fault
	if _, err := c.Call(t.Context(), "test.echo", nil); !errors.As(err, &f) || f.Code != 503 {
		t.Errorf("one too many: %v", err)
	}
	first.send(request("test.echo", `[2]`) + "\n")
	first.expect(result(`2`))
}

func TestUnixConcurrentClients(t *testing.T) {
	u := openUnix(t, testTable(t), clock.NewReal())
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, err := Dial(t.Context(), u.Path())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range 20 {
				want := fmt.Sprintf(`"%d.%d"`, i, j)
				got, err := c.Call(t.Context(), "test.echo", []any{fmt.Sprintf("%d.%d", i, j)})
				if err != nil || string(got) != want {
					t.Errorf("got %s, %v, want %s", got, err, want)
				}
			}
		})
	}
	wg.Wait()
}

// waiting adds test.wait, which runs until release or, if it heeds its context,
// until that ends.
func waiting(t *testing.T, table *Table, heed bool) (started chan struct{}, release func()) {
	started = make(chan struct{}, 1)
	free := make(chan struct{})
	release = sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	table.Add("test", core.Command{Name: "wait", Run: func(ctx context.Context, c *core.Call) error {
		started <- struct{}{}
		if heed {
			select {
			case <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
		} else {
			<-free
		}
		c.Add("done")
		return nil
	}})
	return started, release
}

func TestUnixCommandTimeout(t *testing.T) {
	for _, heed := range []bool{true, false} {
		clk, table := clock.NewFake(), testTable(t)
		started, release := waiting(t, table, heed)
		w := dialWire(t, openUnix(t, table, clk))
		w.send(request("test.wait", `[]`) + "\n")
		<-started
		clk.Advance(commandTimeout)
		w.expect(failure(`"code":504,"message":"command test.wait timed out"`, "1"))
		release()
		w.send(request("test.echo", `[1]`) + "\n")
		w.expect(result(`1`))
	}
}

func TestUnixCloseFinishesCalls(t *testing.T) {
	table := testTable(t)
	started, release := waiting(t, table, true)
	u := openUnix(t, table, clock.NewReal())
	idle, w := dialWire(t, u), dialWire(t, u)
	w.send(request("test.wait", `[]`) + "\n")
	<-started
	closed := make(chan error)
	go func() { closed <- u.Close(context.Background()) }()
	if _, err := idle.r.ReadByte(); err != io.EOF {
		t.Errorf("idle connection: %v", err)
	}
	release()
	w.expect(result(`"done"`))
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Close gives a peer that does not read its answer a second.
func TestUnixCloseDeafPeer(t *testing.T) {
	clk := clock.NewFake()
	u := openUnix(t, testTable(t), clk)
	deaf := dialWire(t, u)
	deaf.send(request("test.big", `[]`) + "\n")
	closeSoon(t, &u.connSet, clk, u.Close)
}

// untilWriting returns when an answer is being written.
func untilWriting(s *connSet) {
	for found := false; !found; runtime.Gosched() {
		s.mu.Lock()
		for c := range s.conns {
			found = found || c.state == connWriting
		}
		s.mu.Unlock()
	}
}

// closeSoon closes a door that writes to a peer which does not read. That has
// to be done a second later.
func closeSoon(t *testing.T, s *connSet, clk *clock.Fake, shut func(context.Context) error) {
	t.Helper()
	untilWriting(s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	closed := make(chan error)
	go func() { closed <- shut(ctx) }()
	for closing := false; !closing; runtime.Gosched() {
		s.mu.Lock()
		closing = s.closing
		s.mu.Unlock()
	}
	clk.Advance(closeGrace)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestUnixCloseLosesPatience(t *testing.T) {
	table := testTable(t)
	started, _ := waiting(t, table, true)
	u := openUnix(t, table, clock.NewReal())
	w := dialWire(t, u)
	w.send(request("test.wait", `[]`) + "\n")
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	io.Copy(io.Discard, w.r)
}

func TestClientErrors(t *testing.T) {
	var ce *ConnectError
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.As(err, &ce) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	table := testTable(t)
	started, _ := waiting(t, table, true)
	u := openUnix(t, table, clock.NewReal())
	c, err := Dial(t.Context(), u.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for method, want := range map[string]core.Fault{
		"test.fault": {Code: 404, Reason: "No such\ndomain"},
		"nosuch":     {Code: 500, Reason: "command nosuch not found"},
	} {
		var f *core.Fault
		if _, err := c.Call(t.Context(), method, nil); !errors.As(err, &f) || *f != want {
			t.Errorf("%s: %v", method, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	go func() { <-started; cancel() }()
	if _, err := c.Call(ctx, "test.wait", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	closing, stop := context.WithCancel(t.Context())
	stop()
	u.Close(closing)
	if _, err := Dial(t.Context(), u.Path()); !errors.As(err, &ce) {
		t.Errorf("after Close: %v", err)
	}
}
