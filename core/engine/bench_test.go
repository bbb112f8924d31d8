package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/database"
	"sipr/core/transport"
	"sipr/lua"
	"sipr/modules"
)

// nullNet is a network that keeps what was sent last and sends nothing.
type nullNet struct {
	socket *core.Socket
	buf    []byte
	sent   [][]byte
}

func (n *nullNet) Sockets() []*core.Socket { return []*core.Socket{n.socket} }
func (n *nullNet) Route(_ core.Proto, to netip.AddrPort, _ *core.Socket) (core.Flow, error) {
	return core.Flow{Socket: n.socket, Remote: to}, nil
}
func (n *nullNet) Alive(core.Flow) bool    { return true }
func (n *nullNet) NewSender() core.Sender  { return n }
func (n *nullNet) Buffer() []byte          { return n.buf[len(n.buf):] }
func (n *nullNet) Flush()                  {}
func (n *nullNet) Yield()                  {}
func (n *nullNet) Resume()                 {}
func (n *nullNet) Keep() *transport.Buffer { return nil }
func (n *nullNet) Send(_ core.Flow, msg []byte) error {
	start := len(n.buf)
	if cap(n.buf)-start < len(msg) {
		panic("full")
	}
	n.buf = append(n.buf, msg...)
	n.sent = append(n.sent, n.buf[start:])
	return nil
}
func (n *nullNet) reset() { n.buf, n.sent = n.buf[:0], n.sent[:0] }

// benchEngine starts a router with the shipped script on a null network.
func benchEngine(b *testing.B) (*Engine, *nullNet) {
	b.Helper()
	dir := b.TempDir()
	script, err := os.ReadFile("../../etc/route.lua")
	if err != nil {
		b.Fatal(err)
	}
	settings := `listen "udp:127.0.0.1:5060"
modparam("core", "db_url", "sqlite:sipr.db")
modparam("core", "ctl_socket", "")
for _, m in ipairs{"tm","rr","domain","users","auth","permissions","registrar","gateway"} do loadmodule(m) end
modparam("registrar", "db_mode", 0)
modparam("permissions", "trusted", "127.0.0.0/8")
route "route.lua"`
	for name, text := range map[string]string{"sipr.lua": settings, "route.lua": string(script)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	db, err := database.OpenURL(context.Background(), "sqlite:sipr.db", dir)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := database.Migrate(context.Background(), db, modules.Migrations()...); err != nil {
		b.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO domain (did, domain, flags) VALUES ('t', 'sip.test', 33)"); err != nil {
		b.Fatal(err)
	}
	db.Close()
	s, err := lua.LoadSettings(filepath.Join(dir, "sipr.lua"))
	if err != nil {
		b.Fatal(err)
	}
	e, err := New(s, Options{Modules: modules.All(), Clock: clock.NewReal(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	n := &nullNet{buf: make([]byte, 0, 1<<20), socket: &core.Socket{Proto: core.UDP, Addr: netip.MustParseAddrPort("127.0.0.1:5060"),
		SentBy: []byte("127.0.0.1"), Host: []byte("127.0.0.1"), Port: 5060}}
	e.network = n
	if err := e.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.close(context.Background()) })
	return e, n
}

func wire(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func benchRegister(n int) []byte {
	return wire(fmt.Sprintf(`REGISTER sip:sip.test SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:7080;branch=z9hG4bK0000000%d;rport
Max-Forwards: 70
From: <sip:u1@sip.test>;tag=t1
To: <sip:u1@sip.test>
Call-ID: reg-1@127.0.0.3
CSeq: %d REGISTER
Contact: <sip:u1@127.0.0.1:7070>
Expires: 3600
User-Agent: sipload/1.0
Content-Length: 0

`, n, n))
}

func (n *nullNet) last(b *testing.B, status string) []byte {
	b.Helper()
	if len(n.sent) == 0 || !bytes.HasPrefix(n.sent[len(n.sent)-1], []byte(status)) {
		b.Fatalf("want %s, sent %d: %s", status, len(n.sent), n.sent)
	}
	return n.sent[len(n.sent)-1]
}

func BenchmarkRegister(b *testing.B) {
	e, n := benchEngine(b)
	flow := core.Flow{Socket: n.socket, Remote: netip.MustParseAddrPort("127.0.0.1:7080")}
	msg := benchRegister(10000000)
	i := 1000
	b.ReportAllocs()
	for b.Loop() {
		i++
		copy(msg[bytes.Index(msg, []byte("CSeq: "))+6:], fmt.Appendf(nil, "%d", 10000000+i))
		n.reset()
		e.Handle(n, msg, flow, e.clock.Now())
	}
	n.last(b, "SIP/2.0 200")
}

func BenchmarkOptions(b *testing.B) {
	e, n := benchEngine(b)
	flow := core.Flow{Socket: n.socket, Remote: netip.MustParseAddrPort("127.0.0.1:7080")}
	msg := wire(`OPTIONS sip:127.0.0.1:5060 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:7080;branch=z9hG4bK0000000;rport
Max-Forwards: 70
From: <sip:u1@sip.test>;tag=t1
To: <sip:127.0.0.1>
Call-ID: opt-1@127.0.0.3
CSeq: 1 OPTIONS
Contact: <sip:u1@127.0.0.1:7070>
User-Agent: sipload/1.0
Content-Length: 0

`)
	b.ReportAllocs()
	for b.Loop() {
		n.reset()
		e.Handle(n, msg, flow, e.clock.Now())
	}
	n.last(b, "SIP/2.0 200")
}
