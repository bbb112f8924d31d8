package control

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/clock"
)

// doors opens each door that has connections.
func doors(t *testing.T) map[string]func(*Table, clock.Clock) (s *stream, network, addr string) {
	return map[string]func(*Table, clock.Clock) (*stream, string, string){
		"unix": func(table *Table, clk clock.Clock) (*stream, string, string) {
			u, err := ListenUnix(filepath.Join(t.TempDir(), "s"), 0, table, quiet(), clk)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { u.Close(context.Background()) })
			return &u.stream, "unix", u.Path()
		},
		"tcp": func(table *Table, clk clock.Clock) (*stream, string, string) {
			s := openTCP(t, table, clk)
			return &s.stream, "tcp", s.Addr().String()
		},
	}
}

func openTCP(t *testing.T, table *Table, clk clock.Clock) *TCP {
	t.Helper()
	s, err := ListenTCP("127.0.51.1:0", false, table, quiet(), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func TestTCPAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:0":       "not an address of the loopback",
		"[::]:0":          "not an address of the loopback",
		"192.0.2.1:1":     "not an address of the loopback",
		"example.com:1":   "unexpected character",
		"127.0.0.1":       "missing port",
		"127.0.0.1:http":  "invalid port",
		"127.0.0.1:99999": "invalid port",
	} {
		s, err := ListenTCP(addr, false, NewTable(), nil, clock.NewReal())
		if err == nil {
			s.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	for addr, host := range map[string]string{":0": "127.0.0.1", "localhost:0": "127.0.0.1", "0.0.0.0:0": "0.0.0.0"} {
		s, err := ListenTCP(addr, true, NewTable(), nil, clock.NewReal())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Addr().(*net.TCPAddr).IP.String(); got != host {
			t.Errorf("%s listens at %s", addr, got)
		}
		s.Close(t.Context())
	}
}

func TestTCPProtocols(t *testing.T) {
	s := openTCP(t, testTable(t), clock.NewReal())
	p := dialBinary(t, "tcp", s.Addr().String())
	w := &wire{t, p.Conn, p.r}
	w.send("\n" + request("test.echo", `["text"]`) + "\n")
	w.expect(result(`"text"`))
	if kind, values := p.call("test.echo", "packet"); kind != binReply || len(values) != 1 || values[0] != "packet" {
		t.Errorf("kind %d, %v", kind, values)
	}
	w.send("[{\n")
	w.expect(failure(`"code":-32700,"message":"parse error"`, "null"))
	w.send(request("test.echo", `["again"]`) + "\n")
	w.expect(result(`"again"`))
}

// A page in a browser can make it send a request to any address and choose its
// body.
func TestTCPBrowser(t *testing.T) {
	for _, first := range []string{
		"POST / HTTP/1.1\r\n", "GET /%7b%7d HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\r\nPOST / HTTP/1.1\r\n",
		"\x16\x03\x01\x02\x00\n", strings.Repeat("x", maxLine+1) + "\n",
	} {
		table := testTable(t)
		ran := make(chan struct{}, 10)
		table.Add("test", core.Command{Name: "note", Run: func(context.Context, *core.Call) error {
			ran <- struct{}{}
			return nil
		}})
		s := openTCP(t, table, clock.NewReal())
		w := dialBinary(t, "tcp", s.Addr().String())
		text := first + "Host: localhost\r\n\r\n" + request("test.note", "[]") + "\n" + string(binCall("test.note"))
		go io.WriteString(w.Conn, text)
		answer, _ := io.ReadAll(w.r) // ends with the connection; by a reset, since it was not read whole
		if strings.Contains(string(answer), "result") {
			t.Errorf("%.30q: %s", first, answer)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(ran) > 0 {
			t.Errorf("%.30q: the command ran", first)
		}
	}
}
