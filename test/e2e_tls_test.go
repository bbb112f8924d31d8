package test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const (
	secureHost = "127.0.56.1"
	callerHost = "127.0.56.100"
	calleeHost = "127.0.56.101"
)

// authority signs the certificates of a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    atomic.Int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key}
}

// issue writes tls.pem and tls.key beside a router's settings.
func (a *authority) issue(r *router) (serial int64) {
	a.t.Helper()
	serial = a.n.Add(1) + 1
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "example.com"}, DNSNames: []string{"example.com"}, IPAddresses: []net.IP{net.ParseIP(secureHost)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	r.write("tls.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	r.writeKey(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return serial
}

func (r *router) writeKey(text string) {
	r.t.Helper()
	r.write("tls.key", text)
	if err := os.Chmod(r.path("tls.key"), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (a *authority) client() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool, ServerName: "example.com"}
}

// secure is a router that listens on every transport.
type secure struct {
	*router
	a     *authority
	addrs map[string]netip.AddrPort // by transport
}

// installSecure makes the folder of one. Its certificate is there.
func installSecure(t testing.TB, more string) *secure {
	t.Helper()
	s := &secure{a: newAuthority(t), addrs: map[string]netip.AddrPort{}}
	lines := `modparam("core", "tls_certificate", "tls.pem:tls.key")` + "\n" + more
	for _, p := range []string{"tls", "ws", "wss"} {
		addr := netip.AddrPortFrom(netip.MustParseAddr(secureHost), freeStreamPort(t))
		s.addrs[strings.ToUpper(p)] = addr
		lines += fmt.Sprintf("listen \"%s:%s\"\n", p, addr)
	}
	s.router = install(t, setup{more: lines})
	s.addrs["UDP"], s.addrs["TCP"] = s.addr, s.addr
	s.a.issue(s.router)
	return s
}

func freeStreamPort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", secureHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// streamPeer is a peer over a connection that is open.
func streamPeer(t testing.TB, proto string, c net.Conn, local string) *peer {
	p := &peer{t: t, proto: proto, addr: local, tag: unique("t"), user: "peer", tcp: c, in: make(chan *message, 10000)}
	t.Cleanup(p.close)
	go func() {
		for b := bufio.NewReader(c); ; {
			raw, err := readStream(b)
			if err != nil {
				return
			}
			p.take(raw, c.RemoteAddr().String())
		}
	}()
	return p
}

// dial opens a connection from a host; UDP is a socket.
func (s *secure) dial(t testing.TB, proto, host string) *peer {
	t.Helper()
	switch proto {
	case "UDP":
		return listenUDP(t, host)
	case "TCP":
		return dialTCP(t, s.router, host)
	}
	c, local, err := s.connect(proto, host)
	if err != nil {
		t.Fatal(err)
	}
	return streamPeer(t, proto, c, local)
}

// connect opens a TLS or WebSocket connection; local is its address here.
func (s *secure) connect(proto, host string) (c net.Conn, local string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	raw, err := d.DialContext(ctx, "tcp", s.addrs[proto].String())
	if err != nil {
		return nil, "", err
	}
	local, c = raw.LocalAddr().String(), raw
	if proto != "WS" {
		secured := tls.Client(raw, s.a.client())
		if err := secured.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, "", err
		}
		c = secured
	}
	if proto == "TLS" {
		return c, local, nil
	}
	over := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	client := &http.Client{Transport: &http.Transport{DialContext: over, DialTLSContext: over}}
	ws, _, err := websocket.Dial(ctx, strings.ToLower(proto)+"://"+s.addrs[proto].String()+"/", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"sip"}})
	if err != nil {
		raw.Close()
		return nil, "", err
	}
	ws.SetReadLimit(-1)
	return websocket.NetConn(context.Background(), ws, websocket.MessageText), local, nil
}

// TestCallsBetweenTransports: everyone registers over his own transport, and
// everyone calls everyone, both ways through the same connection.
func TestCallsBetweenTransports(t *testing.T) {
	s := installSecure(t, "")
	s.start()
	s.provision()
	protos := []string{"UDP", "TCP", "TLS", "WS", "WSS"}
	callers, callees := map[string]*peer{}, map[string]*peer{}
	for _, p := range protos {
		for user, host := range map[string]string{"a-" + strings.ToLower(p): callerHost, "b-" + strings.ToLower(p): calleeHost} {
			s.sipr("user", "add", user+"@example.com", "-p", user)
			ph := s.dial(t, p, host)
			ph.register(s.router, user)
			if host == callerHost {
				callers[p] = ph
			} else {
				callees[p] = ph
			}
		}
	}
	for _, from := range protos {
		for _, to := range protos {
			t.Run(from+" to "+to, func(t *testing.T) {
				a, b := callers[from], callees[to]
				a.t, b.t = t, t
				invite, got := ring(s.router, a, b)
				if via := got.h("Via"); !strings.HasPrefix(via, "SIP/2.0/"+to+" "+s.addrs[to].String()) {
					t.Errorf("Via is %q", via)
				}
				rr := got.all("Record-Route")
				if want := map[bool]int{true: 1, false: 2}[from == to]; len(rr) != want {
					t.Errorf("Record-Route is %q, want %d", rr, want)
				}
				for i, proto := range []string{to, from}[:len(rr)] {
					if want := "<sip:" + s.addrs[proto].String(); !strings.HasPrefix(rr[i], want) ||
						proto != "UDP" && !strings.Contains(rr[i], ";transport="+strings.ToLower(proto)) {
						t.Errorf("Record-Route %d is %q, want one of %s", i, rr[i], proto)
					}
				}
				x, y := answer(s.router, a, b, invite, got)
				y.q.cseq++
				q := y.next("INFO") // from the callee
				b.send(s.router, q.text(b))
				a.sendRaw(s.router, a.expect("INFO").reply(a, 200, "OK"))
				b.response(q, 200)
				x.bye(b)
			})
		}
	}
}

// TestWebSocketClientGone: a registered browser that has closed its page is not
// called, and the caller is told at once.
func TestWebSocketClientGone(t *testing.T) {
	s := installSecure(t, "")
	s.start()
	s.provision()
	bob, alice := s.dial(t, "WSS", calleeHost), s.dial(t, "TLS", callerHost)
	bob.register(s.router, "bob")
	alice.register(s.router, "alice")
	bob.close()
	eventually(t, "the connection is gone", func() bool { return s.number("core.tcp_info", "opened_connections") == 1 })
	begin := time.Now()
	_, m := alice.doAs(s.router, alice.request("INVITE", "sip:bob@example.com", "sip:alice@example.com", "sip:bob@example.com"), "alice", "alice")
	if m.code < 400 || time.Since(begin) > 2*time.Second {
		t.Errorf("%s after %s", m.line, time.Since(begin))
	}
}

// TestCertificateReload replaces the certificate while clients come and go.
func TestCertificateReload(t *testing.T) {
	s := installSecure(t, "")
	s.start()
	s.provision()
	old := s.dial(t, "TLS", callerHost)
	old.register(s.router, "alice")
	serial := func() int64 {
		c, _, err := s.connect("TLS", callerHost)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	var connections atomic.Int64
	for _, proto := range []string{"TLS", "WSS"} {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, _, err := s.connect(proto, calleeHost)
				if err != nil {
					t.Errorf("%s under load: %v", proto, err)
					return
				}
				connections.Add(1)
				c.Close()
			}
		})
	}
	for range 5 {
		want := s.a.issue(s.router)
		s.sipr("ctl", "tls.reload")
		if got := serial(); got != want {
			t.Errorf("certificate %d after a reload, want %d", got, want)
		}
	}
	want := s.a.issue(s.router)
	s.sipr("ctl", "core.reload")
	if got := serial(); got != want {
		t.Errorf("certificate %d after core.reload, want %d", got, want)
	}
	s.write("tls.pem", "not a certificate")
	if _, errs, code := s.try("ctl", "tls.reload"); code == 0 || !strings.Contains(errs, s.path("tls.pem")) || !strings.Contains(errs, "old certificates stay") {
		t.Errorf("a bad certificate: exit code %d, %s", code, errs)
	}
	if got := serial(); got != want {
		t.Errorf("certificate %d after a bad one, want the old %d", got, want)
	}
	close(stop)
	load.Wait()
	if n := connections.Load(); n < 10 {
		t.Errorf("only %d connections were made meanwhile", n)
	}
	old.ping(s.router) // the connection of the first certificate
	var list []struct {
		File string `json:"file"`
		Days int    `json:"days_left"`
	}
	s.callList(&list, "tls.certificates")
	if len(list) != 1 || list[0].File != s.path("tls.pem") {
		t.Errorf("tls.certificates: %+v", list)
	}
}

// TestBadCertificate: settings with a certificate that cannot be used are
// refused by a sentence that names the file and the line.
func TestBadCertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(s *secure)
		want  []string
	}{
		"missing":  {func(s *secure) { os.Remove(s.path("tls.pem")) }, []string{"etc/tls.pem", "no such file"}},
		"junk":     {func(s *secure) { s.write("tls.pem", "junk") }, []string{"etc/tls.pem", "PEM"}},
		"mismatch": {func(s *secure) { key := read(t, s.path("tls.key")); s.a.issue(s.router); s.writeKey(key) }, []string{"etc/tls.key", "does not match"}},
		"open":     {func(s *secure) { os.Chmod(s.path("tls.key"), 0o644) }, []string{"etc/tls.key", "every user"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := installSecure(t, "")
			tt.spoil(s)
			for _, command := range []string{"check", "run"} {
				_, errs, code := s.try(command)
				if code != 4 {
					t.Errorf("%s: exit code %d", command, code)
				}
				for _, w := range append(tt.want, "sipr.lua:") {
					if !strings.Contains(errs, w) {
						t.Errorf("%s: %q has no %q", command, errs, w)
					}
				}
			}
		})
	}
}

// TestSlowHandshakes: connections that say nothing hold up nobody.
func TestSlowHandshakes(t *testing.T) {
	s := installSecure(t, `modparam("core", "tls_handshake_timeout", 3)`+"\n")
	s.start()
	s.provision()
	var mute []net.Conn
	for _, proto := range []string{"TLS", "WS", "WSS"} {
		for range 100 {
			c, err := net.Dial("tcp", s.addrs[proto].String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			mute = append(mute, c)
		}
	}
	begin := time.Now()
	alice, bob := s.dial(t, "TLS", callerHost), s.dial(t, "WSS", calleeHost)
	alice.register(s.router, "alice")
	bob.register(s.router, "bob")
	x, _ := talk(s.router, alice, bob)
	x.bye(bob)
	if d := time.Since(begin); d > 2500*time.Millisecond {
		t.Errorf("the call took %s", d)
	}
	for _, c := range mute {
		c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); n > 0 || os.IsTimeout(err) {
			t.Fatalf("a mute connection: %d, %v", n, err)
		}
	}
	if n := s.number("core.tcp_info", "opened_connections"); n != 2 {
		t.Errorf("%d connections are open, want 2", n)
	}
}

// TestIdleConnections measures what a connection costs that does nothing.
func TestIdleConnections(t *testing.T) {
	if testing.Short() || os.Getenv("SIPR_RACE") != "" {
		t.Skip("it makes thousands of connections")
	}
	for proto, limit := range map[string]int64{"TLS": 40 << 10, "WSS": 50 << 10} {
		t.Run(proto, func(t *testing.T) {
			const n = 5000
			s := installSecure(t, "")
			s.start()
			before := s.resident()
			next := make(chan int)
			var dialers sync.WaitGroup
			var mu sync.Mutex
			var conns []net.Conn
			for range 8 {
				dialers.Go(func() {
					for range next {
						c, _, err := s.connect(proto, callerHost)
						if err != nil {
							t.Error(err)
							continue
						}
						mu.Lock()
						conns = append(conns, c)
						mu.Unlock()
					}
				})
			}
			begin := time.Now()
			for i := range n {
				next <- i
			}
			close(next)
			dialers.Wait()
			took := time.Since(begin)
			defer func() {
				for _, c := range conns {
					go c.Close()
				}
			}()
			eventually(t, "all are open", func() bool { return s.number("core.tcp_info", "opened_connections") == n })
			each := (s.resident() - before) / n
			t.Logf("%d idle %s connections: %d bytes each; opened in %s", n, proto, each, took)
			if each > limit {
				t.Errorf("an idle connection takes %d bytes, more than %d", each, limit)
			}
			ping(t, s.router)
		})
	}
}

// resident returns the memory of the router's process in bytes.
func (r *router) resident() int64 {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(r.cmd.Process.Pid), "statm"))
	if err != nil {
		r.t.Skip(err)
	}
	var size, pages int64
	fmt.Sscan(string(b), &size, &pages)
	return pages * int64(os.Getpagesize())
}

// TestLargeRequestOverTCP: a request that is too large for a datagram goes over
// TCP, and over UDP if nobody listens there (RFC 3261 §18.1.1).
func TestLargeRequestOverTCP(t *testing.T) {
	s := installSecure(t, "")
	s.start()
	s.provision()
	alice, bob := s.dial(t, "UDP", callerHost), s.dial(t, "UDP", calleeHost)
	alice.register(s.router, "alice")
	bob.register(s.router, "bob")
	pad := "X-Pad: " + strings.Repeat("x", 1200)
	call := func(uri string, at *peer, headers ...string) {
		t.Helper()
		invite := alice.request("INVITE", uri, "sip:alice@example.com", uri, headers...)
		alice.send(s.router, invite.text(alice))
		m := alice.response(invite, 407)
		alice.acknowledge(s.router, invite, m)
		invite = invite.authorize(m, "alice", "alice")
		alice.send(s.router, invite.text(alice))
		got := at.expect("INVITE")
		if want := "SIP/2.0/" + at.proto + " "; !strings.HasPrefix(got.h("Via"), want) {
			t.Errorf("Via is %q, want %s", got.h("Via"), want)
		}
		at.sendRaw(s.router, got.reply(at, 486, "Busy Here"))
		alice.acknowledge(s.router, invite, alice.response(invite, 486))
	}
	carol := s.dial(t, "UDP", calleeHost)
	outside := "sip:carol@" + carol.addr
	call(outside, carol, pad) // nobody listens on TCP
	call(outside, carol, pad) // which is known for a while

	dave := s.dial(t, "UDP", calleeHost)
	l, err := net.Listen("tcp", dave.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	outside = "sip:dave@" + dave.addr
	call(outside, dave) // a small one
	lb, err := net.Listen("tcp", bob.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer lb.Close()
	call("sip:bob@example.com", bob, pad) // who registered over UDP is reached over UDP

	accepted := make(chan *peer, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- streamPeer(t, "TCP", c, c.LocalAddr().String())
		}
	}()
	over := make(chan struct{})
	go func() {
		defer close(over)
		p := <-accepted
		if got := p.poll(patience, func(m *message) bool { return m.method == "INVITE" }); got != nil && strings.HasPrefix(got.h("Via"), "SIP/2.0/TCP ") {
			p.sendRaw(s.router, got.reply(p, 486, "Busy Here"))
		} else {
			t.Errorf("over TCP came %v", got)
		}
	}()
	invite := alice.request("INVITE", outside, "sip:alice@example.com", outside, pad)
	if _, m := alice.doAs(s.router, invite, "alice", "alice"); m.code != 486 {
		t.Errorf("%s", m.line)
	}
	<-over
}
