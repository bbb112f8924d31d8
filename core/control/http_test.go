package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"sipr/core/clock"
)

const (
	testToken  = "0123456789abcdef-token"
	testOrigin = "https://admin.example.com"
)

func openHTTP(t *testing.T, table *Table, clk clock.Clock) *HTTP {
	t.Helper()
	h, err := ListenHTTP("127.0.51.1:0", testToken, []string{testOrigin}, table, quiet(), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(context.Background()) })
	return h
}

// rawHTTP sends text over a connection of its own and returns the status line,
// header and body of the answer.
func rawHTTP(t *testing.T, h *HTTP, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	conn := dialHTTP(t, h)
	defer conn.Close()
	req, err := http.NewRequest(method, "http://"+h.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	go req.Write(conn)
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func dialHTTP(t *testing.T, h *HTTP) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// post returns a request with body.
func post(body string) string {
	return fmt.Sprintf("POST /RPC HTTP/1.1\r\nHost: x\r\n%s\r\n%s\r\nContent-Length: %d\r\n\r\n%s", withToken, withJSON, len(body), body)
}

const (
	withToken = "Authorization: Bearer " + testToken
	withJSON  = "Content-Type: application/json"
)

func TestHTTPCalls(t *testing.T) {
	h := openHTTP(t, testTable(t), clock.NewReal())
	for _, tt := range []struct {
		send, want string
		status     int
	}{
		{request("test.echo", `["a",1]`), result(`["a",1]`), 200},
		{request("test.fault", `[]`), failure(`"code":404,"message":"No such\ndomain"`, "1"), 200},
		{request("nosuch", `[]`), failure(`"code":-32601,"message":"command nosuch not found","data":{"code":500}`, "1"), 200},
		{"{\n\"jsonrpc\": \"2.0\",\n\"method\": \"test.echo\", \"id\": 1}\n", result(`{}`), 200},
		{`[` + request("test.echo", `[1]`) + `,` + request("test.echo", `[2]`) + `]`, `[` + result(`1`) + `,` + result(`2`) + `]`, 200},
		{`[]`, failure(`"code":-32600,"message":"invalid request: empty batch"`, "null"), 200},
		{`{"jsonrpc"`, failure(`"code":-32700,"message":"parse error"`, "null"), 200},
		{``, failure(`"code":-32700,"message":"parse error"`, "null"), 200},
		{`{"jsonrpc":"2.0","method":"test.echo"}`, ``, 204},
		{`"` + strings.Repeat("x", maxLine) + `"`, `the body is longer than 1048576 bytes`, 413},
	} {
		resp, body := rawHTTP(t, h, "POST", "/RPC", tt.send, withToken, withJSON)
		if resp.StatusCode != tt.status || strings.TrimSuffix(body, "\n") != tt.want {
			t.Errorf("%.100s:\ngot  %s %.300s\nwant %d %s", tt.send, resp.Status, body, tt.status, tt.want)
		}
		if tt.status == 200 && resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%.100s: %v", tt.send, resp.Header)
		}
	}
}

func TestHTTPRefuses(t *testing.T) {
	table := testTable(t)
	started, release := waiting(t, table, true)
	release()
	h := openHTTP(t, table, clock.NewReal())
	const charset = withJSON + "; charset=utf-8"
	ours, other := "Origin: "+testOrigin, "Origin: https://evil.example.com"
	for _, tt := range []struct {
		method, path string
		headers      []string
		status       int
	}{
		{"GET", "/RPC", nil, 405},
		{"GET", "/RPC", []string{withToken, withJSON}, 405},
		{"PUT", "/RPC", []string{withToken, withJSON}, 405},
		{"OPTIONS", "/RPC", nil, 405},
		{"POST", "/", []string{withToken, withJSON}, 404},
		{"POST", "/RPC/", []string{withToken, withJSON}, 404},
		{"POST", "/RPC", []string{withJSON}, 401},
		{"POST", "/RPC", []string{withJSON, "Authorization: Bearer"}, 401},
		{"POST", "/RPC", []string{withJSON, "Authorization: Bearer wrong"}, 401},
		{"POST", "/RPC", []string{withJSON, withToken + "x"}, 401},
		{"POST", "/RPC", []string{withJSON, "Authorization: Basic " + testToken}, 401},
		{"POST", "/RPC", []string{withJSON, withToken, withToken}, 401},
		{"POST", "/RPC", []string{withToken}, 415},
		{"POST", "/RPC", []string{withToken, "Content-Type: text/plain"}, 415},
		{"POST", "/RPC", []string{withToken, withJSON, other}, 403},
		{"POST", "/RPC", []string{withToken, withJSON, "Origin: null"}, 403},
		{"POST", "/RPC", []string{withToken, withJSON, "Origin: " + testOrigin + ".evil.example.com"}, 403},
		{"POST", "/RPC", []string{withToken, withJSON, ours, other}, 403},
		{"OPTIONS", "/RPC", []string{other, "Access-Control-Request-Method: POST"}, 403},
		{"GET", "/RPC", []string{other}, 403},
		{"OPTIONS", "/RPC", []string{ours, "Access-Control-Request-Method: POST"}, 204},
		{"POST", "/RPC", []string{ours, withJSON}, 401},
	} {
		resp, body := rawHTTP(t, h, tt.method, tt.path, request("test.wait", `[]`), tt.headers...)
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s %v: %s %s", tt.method, tt.path, tt.headers, resp.Status, body)
		}
	}
	if len(started) > 0 {
		t.Error("a refused command ran")
	}
	for _, headers := range [][]string{{withToken, charset}, {withToken, withJSON, ours}, {"Authorization: bearer  " + testToken, withJSON}} {
		resp, body := rawHTTP(t, h, "POST", "/RPC", request("test.echo", `[1]`), headers...)
		if resp.StatusCode != 200 || body != result(`1`)+"\n" {
			t.Errorf("%v: %s %s", headers, resp.Status, body)
		}
	}
	resp, _ := rawHTTP(t, h, "OPTIONS", "/RPC", "", ours)
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != testOrigin {
		t.Errorf("preflight allows %q", got)
	}
}

func TestHTTPSettings(t *testing.T) {
	for _, tt := range []struct{ addr, token, want string }{
		{"127.0.0.1:0", "", "the token must have at least 16 characters"},
		{"127.0.0.1:0", "short", "the token must have at least 16 characters"},
		{"127.0.0.1:0", "0123456789 abcdef", "all of them visible ASCII"},
		{"127.0.0.1", testToken, "missing port"},
		{"host.example.com:0", testToken, "unexpected character"},
	} {
		h, err := ListenHTTP(tt.addr, tt.token, nil, NewTable(), nil, clock.NewReal())
		if err == nil {
			h.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: %v", tt.addr, tt.token, err)
		}
	}
	h, err := ListenHTTP(":0", testToken, nil, NewTable(), nil, clock.NewReal())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(t.Context())
	if !strings.HasPrefix(h.Addr().String(), "127.0.0.1:") {
		t.Errorf("listens at %s", h.Addr())
	}
}

func TestHTTPHangingPeers(t *testing.T) {
	clk := clock.NewFake()
	h := openHTTP(t, testTable(t), clk)
	whole := post(request("test.big", "[]"))
	for _, text := range []string{
		"", "POST /RP", whole[:40], whole[:len(whole)-1], // never end their request
		whole, // never reads the answer
	} {
		if _, err := io.WriteString(dialHTTP(t, h), text); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if resp, body := rawHTTP(t, h, "POST", "/RPC", request("test.echo", `["served"]`), withToken, withJSON); body != result(`"served"`)+"\n" {
			t.Errorf("%s %s", resp.Status, body)
		}
	}
	closeSoon(t, &h.ln.connSet, clk, h.Close)
}

// A peer that does not read its answer loses its connection.
func TestHTTPDeafPeer(t *testing.T) {
	clk := clock.NewFake()
	h := openHTTP(t, testTable(t), clk)
	deaf := dialHTTP(t, h)
	io.WriteString(deaf, post(request("test.big", "[]")))
	untilWriting(&h.ln.connSet)
	for open := true; open; runtime.Gosched() {
		clk.Advance(writeTimeout)
		h.ln.mu.Lock()
		open = len(h.ln.conns) > 0
		h.ln.mu.Unlock()
	}
	if n, _ := io.Copy(io.Discard, deaf); n >= 4<<20 {
		t.Errorf("deaf peer was sent %d bytes", n)
	}
}

// Close does not wait for a peer that has sent half a request.
func TestHTTPClose(t *testing.T) {
	table := testTable(t)
	started, release := waiting(t, table, true)
	h := openHTTP(t, table, clock.NewReal())
	half := dialHTTP(t, h)
	io.WriteString(half, strings.TrimSuffix(post(request("test.echo", "[]")), "}"))
	if resp, _ := rawHTTP(t, h, "POST", "/RPC", request("test.echo", `[1]`), withToken, withJSON); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	answer := make(chan string)
	go func() {
		_, body := rawHTTP(t, h, "POST", "/RPC", request("test.wait", `[]`), withToken, withJSON)
		answer <- body
	}()
	<-started
	closed := make(chan error)
	go func() { closed <- h.Close(context.Background()) }()
	io.Copy(io.Discard, half) // ends when it is closed
	release()
	if got := <-answer; got != result(`"done"`)+"\n" {
		t.Errorf("the running command answered %q", got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestHTTPCloseLosesPatience(t *testing.T) {
	table := testTable(t)
	started, _ := waiting(t, table, true)
	h := openHTTP(t, table, clock.NewReal())
	conn := dialHTTP(t, h)
	io.WriteString(conn, post(request("test.wait", "[]")))
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	io.Copy(io.Discard, conn)
}

func TestHTTPTooManyConnections(t *testing.T) {
	h := openHTTP(t, testTable(t), clock.NewReal())
	var conns []net.Conn
	for range maxConns {
		conns = append(conns, dialHTTP(t, h))
	}
	if b, _ := io.ReadAll(dialHTTP(t, h)); len(b) > 0 {
		t.Errorf("one too many was answered %q", b)
	}
	conns[0].Close()
	for end := time.Now().Add(10 * time.Second); ; { // until the server has noticed
		conn := dialHTTP(t, h)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if b, _ := io.ReadAll(conn); len(b) > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no room after a connection was closed")
		}
	}
}
