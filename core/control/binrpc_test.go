package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
	"sipr/core/clock"
)

// unhex reads bytes as hex digits and text in quotes.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

// binPeer is a peer that speaks BINRPC.
type binPeer struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialBinary(t *testing.T, network, addr string) *binPeer {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &binPeer{t, conn, bufio.NewReader(conn)}
}

func (p *binPeer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// packet reads a whole packet as it is.
func (p *binPeer) packet() []byte {
	p.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(p.r, head); err != nil {
		p.t.Fatal(err)
	}
	more := make([]byte, int(head[1]>>2&3)+int(head[1]&3)+2)
	if _, err := io.ReadFull(p.r, more); err != nil {
		p.t.Fatal(err)
	}
	body := make([]byte, bigEndian(more[:head[1]>>2&3+1]))
	if _, err := io.ReadFull(p.r, body); err != nil {
		p.t.Fatal(err)
	}
	return append(append(head, more...), body...)
}

// call calls a command and returns the values of its answer.
func (p *binPeer) call(method string, params ...any) (kind byte, values []any) {
	p.t.Helper()
	p.send(binCall(method, params...))
	return parseAnswer(p.t, p.packet())
}

func binCall(method string, params ...any) []byte {
	body := appendText(nil, binString, method)
	for _, v := range params {
		body = appendRecord(body, v)
	}
	return appendPacket(binRequest, []byte{1, 2, 3, 4}, body)
}

func parseAnswer(t *testing.T, packet []byte) (kind byte, values []any) {
	t.Helper()
	dec := binDecoder{b: packet[2+int(packet[1]>>2&3)+int(packet[1]&3)+2:]}
	for len(dec.b) > 0 {
		v, err := dec.value(0)
		if err != nil {
			t.Fatalf("% x: %v", packet, err)
		}
		values = append(values, v)
	}
	return packet[1] >> 4, values
}

func uptimeTable(t *testing.T) *Table {
	table := testTable(t)
	table.Add("core", core.Command{Name: "uptime", Run: func(_ context.Context, c *core.Call) error {
		c.Struct().Add("now", "Sat Nov 21 20:17:14 2026").Add("up_since", "Sat Nov 21 20:17:12 2026").Add("uptime", int64(5))
		return nil
	}})
	table.Add("core", core.Command{Name: "echo", Run: func(_ context.Context, c *core.Call) error { c.Reply = c.Params; return nil }})
	table.Add("test", core.Command{Name: "pair", Args: "<x> [{name:…}]", Run: func(_ context.Context, c *core.Call) error {
		c.Reply = c.Params
		return nil
	}})
	return table
}

// The bytes are those that kamcmd and Kamailio exchange.
func TestBINRPCBytes(t *testing.T) {
	p := dialBinary(t, "unix", openUnix(t, uptimeTable(t), clock.NewReal()).Path())
	tests := []struct{ name, send, want string }{
		{"values", `a1 03 11 52 4a 49 4c 91 0a "core.echo" 00 21 "a" 00 10 01`, `a1 13 05 52 4a 49 4c 21 "a" 00 10 01`},
		{"text", `a1 03 12 52 4a 49 4c 91 0a "core.echo" 00 21 "a" 00 21 "1" 00`, `a1 13 06 52 4a 49 4c 21 "a" 00 21 "1" 00`},
		{"not found", `a1 03 0d 77 02 a3 bb 91 0b "nosuch.cmd" 00`, `a1 33 22 77 02 a3 bb 20 01 f4 91 1d "command nosuch.cmd not found" 00`},
		{"struct", `a1 03 0e 07 08 09 0a 91 0c "core.uptime" 00`, `a1 13 52 07 08 09 0a 03 45 "now" 00 91 19 "Sat Nov 21 20:17:14 2026" 00
			95 09 "up_since" 00 91 19 "Sat Nov 21 20:17:12 2026" 00 75 "uptime" 00 10 05 83`},
		{"nothing", `a1 01 0c 00 07 91 0a "core.echo" 00`, `a1 11 00 00 07`},
		{"long forms", `a1 05 00 1d 01 02 91 0a "core.echo" 00 90 02 12 34 a0 00 02 12 34 10 00 00 a1 00 02 "a" 00`,
			`a1 11 0b 01 02 20 12 34 20 12 34 00 00 21 "a" 00`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.send(unhex(t, tt.send))
			if got, want := p.packet(), unhex(t, tt.want); !bytes.Equal(got, want) {
				t.Errorf("got  % x\nwant % x", got, want)
			}
		})
	}
}

func TestBINRPCRecords(t *testing.T) {
	tests := []struct {
		in   any
		wire string
		back any // what a reader makes of it, if that is something else
	}{
		{int64(0), `00`, nil},
		{int64(7), `10 07`, nil},
		{int64(0x1234), `20 12 34`, nil},
		{int64(math.MaxInt32), `40 7f ff ff ff`, nil},
		{int64(-1), `40 ff ff ff ff`, nil},
		{int64(math.MinInt32), `40 80 00 00 00`, nil},
		{int64(math.MaxInt32 + 1), `62 01 f4 00 00 00 00`, 2147483648.0},
		{int64(-math.MaxInt32 - 2), `82 ff ff fe 0b ff ff fc 18`, -2147483649.0},
		{int64(maxExact), `72 1f ff ff ff ff fc 20`, float64(maxExact)},
		{int64(maxExact + 1), `91 0e "9007199254741" 00`, "9007199254741"},
		{int64(math.MinInt64), `91 15 "-9223372036854775808" 00`, "-9223372036854775808"},
		{2.5, `22 09 c4`, nil},
		{3_000_000.0, `42 b2 d0 5e 00`, nil},
		{-0.001, `82 ff ff ff ff ff ff ff ff`, nil},
		{0.0, `02`, nil},
		{1e300, `71 "1e+300" 00`, "1e+300"},
		{math.NaN(), `41 "NaN" 00`, "NaN"},
		{true, `10 01`, int64(1)},
		{false, `00`, int64(0)},
		{nil, `91 0e "<null string>" 00`, nullText},
		{"", `11 00`, nil},
		{"abcdef", `71 "abcdef" 00`, nil},
		{"abcdefg", `91 08 "abcdefg" 00`, nil},
		{strings.Repeat("x", 299), `a1 01 2c "` + strings.Repeat("x", 299) + `" 00`, nil},
		{[]any{int64(1), "x"}, `04 10 01 21 "x" 00 84`, nil},
		{[]any{}, `04 84`, nil},
		{new(core.Struct), `03 83`, nil},
		{(*core.Struct)(nil), `03 83`, new(core.Struct)},
		{new(core.Struct).Add("a", int64(1)).Add("a", "b"), `03 25 "a" 00 10 01 25 "a" 00 21 "b" 00 83`, nil},
		{new(core.Struct).Add("s", new(core.Struct).Add("a", int64(1))), `03 25 "s" 00 03 25 "a" 00 10 01 83 83`, nil},
		{new(core.Struct).Add("l", []any{int64(1), int64(2)}).Add("none", []any{}), `03 25 "l" 00 10 01 25 "l" 00 10 02 83`,
			new(core.Struct).Add("l", int64(1)).Add("l", int64(2))},
	}
	for _, tt := range tests {
		wire := appendRecord(nil, tt.in)
		if want := unhex(t, tt.wire); !bytes.Equal(wire, want) {
			t.Errorf("%v: got  % x\nwant % x", tt.in, wire, want)
		}
		if tt.back == nil {
			tt.back = tt.in
		}
		dec := binDecoder{b: wire}
		back, err := dec.value(0)
		if diff := cmp.Diff(tt.back, back); err != nil || len(dec.b) > 0 || diff != "" {
			t.Errorf("%v: %v, %d bytes left\n%s", tt.in, err, len(dec.b), diff)
		}
	}
}

// What is wrong within a packet is answered, and the connection goes on.
func TestBINRPCBadRecords(t *testing.T) {
	p := dialBinary(t, "unix", openUnix(t, uptimeTable(t), clock.NewReal()).Path())
	const echo = `91 0a "core.echo" 00 `
	for _, tt := range []struct{ body, want string }{
		{``, "bad request method: more data needed"},
		{`10 01`, "bad request method: record doesn't match type"},
		{`05`, "bad request method: record doesn't match type"},
		{`03 83`, "bad request method: record doesn't match type"},
		{`31 "ab"`, "bad request method: more data needed"},
		{`21 "ab"`, "bad request method: corrupted packet"},
		{echo + `20 01`, "error at parameter 1: more data needed"},
		{echo + `10 01 83`, "error at parameter 2: bad record"},
		{echo + `84`, "error at parameter 1: bad record"},
		{echo + `25 "a" 00 10 01`, "error at parameter 1: record doesn't match type"},
		{echo + `07`, "error at parameter 1: record doesn't match type"},
		{echo + `81`, "error at parameter 1: corrupted packet"},
		{echo + `d1 00 00 00 00 01 00`, "error at parameter 1: corrupted packet"},
		{echo + `c1 ff ff ff ff 00`, "error at parameter 1: more data needed"},
		{echo + `91`, "error at parameter 1: more data needed"},
		{echo + `90 09 01 02 03 04 05 06 07 08 09`, "error at parameter 1: corrupted packet"},
		{echo + `92 01 02 03 04 05 06 07 08 09`, "error at parameter 1: corrupted packet"},
		{echo + `03`, "error at parameter 1: more data needed"},
		{echo + `03 10 01 83`, "error at parameter 1: bad record"},
		{echo + `03 25 "a" 00 83`, "error at parameter 1: bad record"},
		{echo + `03 25 "ab" 83`, "error at parameter 1: corrupted packet"},
		{echo + `03 84`, "error at parameter 1: bad record"},
		{echo + `13 00 83`, "error at parameter 1: bad record"},
		{echo + `04 10 01`, "error at parameter 1: more data needed"},
		{echo + strings.Repeat("04", 1000), "error at parameter 1: bad record"},
		{echo + `03 83`, "parameter 1 cannot be a struct"},
		{echo + `10 01 04 84`, "parameter 2 cannot be an array"},
		{`91 0a "test.pair" 00 10 01 10 02`, "parameter 2 must be a struct"},
		{`91 0a "test.pair" 00 10 01 41 "a:b" 00 `, ""},
		{`91 0a "test.pair" 00 10 01 31 "ab" 00 `, "Colon missing in struct on parameter 2"},
	} {
		p.send(appendPacket(binRequest, []byte{9}, unhex(t, tt.body)))
		kind, values := parseAnswer(t, p.packet())
		if tt.want == "" {
			if kind != binReply {
				t.Errorf("%.60s: kind %d, %v", tt.body, kind, values)
			}
			continue
		}
		if diff := cmp.Diff([]any{int64(400), tt.want}, values); kind != binFault || diff != "" {
			t.Errorf("%.60s: kind %d\n%s", tt.body, kind, diff)
		}
	}
	if kind, values := p.call("core.echo", "still here"); kind != binReply || len(values) != 1 || values[0] != "still here" {
		t.Errorf("kind %d, %v", kind, values)
	}
}

// What is no packet at all, or a too long one, is answered and ends the
// connection.
func TestBINRPCBadPackets(t *testing.T) {
	u := openUnix(t, uptimeTable(t), clock.NewReal())
	for head, want := range map[string]string{
		`a1 10 00 07`:                   `bad request: corrupted packet`,
		`a1 70 00 07`:                   `bad request: corrupted packet`,
		`a1 0c 00 10 00 01 07`:          `bad request: packet longer than 1048576 bytes`,
		`a1 0f ff ff ff ff 00 00 00 07`: `bad request: packet longer than 1048576 bytes`,
	} {
		p := dialBinary(t, "unix", u.Path())
		p.send(unhex(t, head))
		kind, values := parseAnswer(t, p.packet())
		if diff := cmp.Diff([]any{int64(400), want}, values); kind != binFault || diff != "" {
			t.Errorf("%s: kind %d\n%s", head, kind, diff)
		}
		if _, err := p.r.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection goes on: %v", head, err)
		}
	}
}

func TestBINRPCFaults(t *testing.T) {
	p := dialBinary(t, "unix", openUnix(t, testTable(t), clock.NewReal()).Path())
	for method, want := range map[string][]any{
		"test.fault": {int64(404), "No such\ndomain"},
		"test.fail":  {int64(500), "table domain: disk full"},
		"test.panic": {int64(500), "command test.panic panicked: boom"},
		"nosuch":     {int64(500), "command nosuch not found"},
	} {
		if kind, values := p.call(method); kind != binFault || cmp.Diff(want, values) != "" {
			t.Errorf("%s: kind %d, %v", method, kind, values)
		}
	}
}

// One connection may carry both protocols, and long packets.
func TestBINRPCBesideJSON(t *testing.T) {
	u := openUnix(t, testTable(t), clock.NewReal())
	p := dialBinary(t, "unix", u.Path())
	w := &wire{t, p.Conn, p.r}
	for range 3 {
		w.send(request("test.echo", `["text"]`) + "\n")
		w.expect(result(`"text"`))
		if kind, values := p.call("test.repeat"); kind != binReply || cmp.Diff([]any{
			new(core.Struct).Add("domain", "a").Add("flags", int64(1)).Add("domain", "b")}, values) != "" {
			t.Errorf("kind %d, %v", kind, values)
		}
	}
	long := strings.Repeat("y", 500_000)
	if _, values := p.call("test.echo", long, int64(-3), 1.25, true); cmp.Diff([]any{long, int64(-3), 1.25, int64(1)}, values) != "" {
		t.Errorf("%.200v", values)
	}
	// Several packets may come at once, in any pieces.
	both := append(binCall("test.echo", "1"), binCall("test.echo", "2")...)
	for _, b := range both {
		p.send([]byte{b})
	}
	for _, want := range []string{"1", "2"} {
		if _, values := parseAnswer(t, p.packet()); len(values) != 1 || values[0] != want {
			t.Errorf("got %v, want %s", values, want)
		}
	}
}

func TestStructParameters(t *testing.T) {
	u := openUnix(t, uptimeTable(t), clock.NewReal())
	want := []any{"x", new(core.Struct).Add("name", "a,b").Add("uri", "sip:a").Add("name", "c")}
	p := dialBinary(t, "unix", u.Path())
	for _, v := range []any{want[1], `name:a\ob,uri:sip:a,name:c`} {
		if kind, values := p.call("test.pair", "x", v); kind != binReply || cmp.Diff(want, values) != "" {
			t.Errorf("%v: kind %d, %v", v, kind, values)
		}
	}
	w := dialWire(t, u)
	for params, want := range map[string]string{
		`["x",{"name":"a","n":1}]`: result(`["x",{"name":"a","n":1}]`),
		`["x","name:a,n:1"]`:       result(`["x",{"name":"a","n":"1"}]`),
		`[{"name":"a"}]`:           failure(`"code":-32602,"message":"invalid params: parameter 1 cannot be a struct"`, "1"),
		`["x",1]`:                  failure(`"code":-32602,"message":"invalid params: parameter 2 must be a struct"`, "1"),
		`["x",{"name":[1]}]`:       failure(`"code":-32602,"message":"invalid params: parameter 2, member name is neither text, number nor boolean"`, "1"),
		`["x",{"name":99999999999999999999999999}]`: failure(`"code":-32602,"message":"invalid params: parameter 2, member name: 99999999999999999999999999 is out of range"`, "1"),
	} {
		w.send(request("test.pair", params) + "\n")
		w.expect(want)
	}
}

func TestBINRPCHangingPeers(t *testing.T) {
	for name, open := range doors(t) {
		t.Run(name, func(t *testing.T) {
			clk := clock.NewFake()
			s, network, addr := open(testTable(t), clk)
			// One never reads what it asked for, the others never end a packet.
			deaf := dialBinary(t, network, addr)
			deaf.send(binCall("test.big"))
			var mute []*binPeer
			for _, part := range []string{`a1`, `a1 03`, `a1 03 05 01 02`, `a1 00 05 01 91 0a`} {
				p := dialBinary(t, network, addr)
				p.send(unhex(t, part))
				mute = append(mute, p)
			}
			p := dialBinary(t, network, addr)
			if kind, values := p.call("test.echo", "served"); kind != binReply || len(values) != 1 || values[0] != "served" {
				t.Errorf("kind %d, %v", kind, values)
			}
			for open := true; open; {
				clk.Advance(writeTimeout + idleTimeout)
				runtime.Gosched()
				s.mu.Lock()
				open = len(s.conns) > 0
				s.mu.Unlock()
			}
			if n, _ := io.Copy(io.Discard, deaf.r); n == 0 || n >= 4<<20 {
				t.Errorf("deaf peer was sent %d bytes", n)
			}
			for _, p := range mute {
				if n, _ := io.Copy(io.Discard, p.r); n > 0 {
					t.Errorf("mute peer was sent %d bytes", n)
				}
			}
		})
	}
}

// TestBINRPCNoise changes good requests at random places: the door survives
// whatever comes, and does not read beyond the packet.
func TestBINRPCNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := new(door)
	d.init(uptimeTable(t), nil, clock.NewReal())
	defer d.cancel()
	good := binCall("test.pair", "x", new(core.Struct).Add("name", "a").Add("n", int64(70000)), 2.5, []any{int64(1), []any{"y"}})
	for range 20_000 {
		b := bytes.Clone(good)
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
		readAndAnswer(t, d, b[:1+rng.IntN(len(b))])
	}
}

// readAndAnswer gives d what a peer sent, up to the end of its connection.
func readAndAnswer(t *testing.T, d *door, b []byte) {
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		p, err := readPacket(r)
		if err != nil {
			return
		}
		out, last := d.answerBinary(p)
		if kind, _ := parseAnswer(t, out); out[0] != binMark || kind != binReply && kind != binFault {
			t.Fatalf("% x: answer % x", b, out)
		}
		if last {
			return
		}
	}
}

func FuzzBINRPC(f *testing.F) {
	f.Add(binCall("core.echo", "a", int64(1), 2.5, []any{"x"}))
	f.Add(binCall("test.pair", "x", new(core.Struct).Add("name", "a")))
	f.Add(unhex(f, `a1 0f ff ff ff ff 00 00 00 07`))
	table := NewTable()
	for _, name := range []string{"core.echo", "test.pair"} {
		module, name, _ := strings.Cut(name, ".")
		if err := table.Add(module, core.Command{Name: name, Args: "<x> {y}", Run: func(_ context.Context, c *core.Call) error {
			c.Reply = c.Params
			return nil
		}}); err != nil {
			f.Fatal(err)
		}
	}
	d := new(door)
	d.init(table, nil, clock.NewReal())
	f.Cleanup(d.cancel)
	f.Fuzz(func(t *testing.T, in []byte) {
		readAndAnswer(t, d, in)
		dec := binDecoder{b: in}
		for len(dec.b) > 0 {
			before := len(dec.b)
			v, err := dec.value(0)
			if err != nil {
				return
			}
			if len(dec.b) >= before {
				t.Fatalf("% x: %v was read from nothing", in, v)
			}
			// Writing it and reading that gives the same bytes again.
			first := appendRecord(nil, v)
			again := binDecoder{b: first}
			w, err := again.value(0)
			if err != nil || !bytes.Equal(first, appendRecord(nil, w)) && !strings.Contains(fmt.Sprint(v), "[") {
				t.Fatalf("% x: %v became %v, %v", in, v, w, err)
			}
		}
	})
}
