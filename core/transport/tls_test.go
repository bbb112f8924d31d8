package transport

import (
	"bytes"
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
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/clock"
)

// authority signs certificates for a test and keeps them in files.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), n: 1}
	a.key = newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.write("ca.pem", pemBlock("CERTIFICATE", der), 0o644)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (a *authority) write(name string, b []byte, mode os.FileMode) string {
	a.t.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, b, mode); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		a.t.Fatal(err)
	}
	return file
}

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

// issue writes a certificate for names: hosts, addresses or sip: URIs. Its
// files are name.pem and name.key.
func (a *authority) issue(name string, change func(*x509.Certificate), names ...string) CertFile {
	a.t.Helper()
	a.n++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.n), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else if u, err := url.Parse(n); err == nil && u.Scheme == "sip" {
			tmpl.URIs = append(tmpl.URIs, u)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	if change != nil {
		change(tmpl)
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return CertFile{
		Cert: a.write(name+".pem", pemBlock("CERTIFICATE", der), 0o644),
		Key:  a.write(name+".key", pemBlock("PRIVATE KEY", k), 0o600),
	}
}

// client is what a client of the authority's servers uses.
func (a *authority) client(server string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool, ServerName: server}
}

func on(p core.Proto) Listen {
	return Listen{Proto: p, Addr: netip.AddrPortFrom(loop4, 0)}
}

func dialTLS(t *testing.T, tr *Transport, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(dialTCP(t, tr), cfg)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTLSEcho(t *testing.T) {
	a := newAuthority(t)
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{a.issue("one", nil, "one.example")}}}, handler{handle: echo})
	c := dialTLS(t, tr, a.client("one.example"))
	big := message(1, 60000)
	write(t, c, big)
	expect(t, c, big)
	for i, b := range message(2, 3) { // a record for each byte
		write(t, c, []byte{b})
		if i%7 == 0 {
			time.Sleep(0)
		}
	}
	expect(t, c, message(2, 3))
	write(t, c, append(append(message(3, 0), message(4, 9)...), ping...))
	expect(t, c, append(append(message(3, 0), message(4, 9)...), pong...))
	write(t, c, []byte("OPTIONS sip:a SIP/2.0\r\n\r\n")) // no Content-Length: answered and closed
	expect(t, c, []byte("OPTIONS sip:a SIP/2.0\r\n\r\n"))
	expectEnd(t, c)
	until(t, "the connection is gone", func() bool { return len(tr.Conns(1)) == 0 })
}

func TestTLSVersions(t *testing.T) {
	a := newAuthority(t)
	cert := a.issue("one", nil, "one.example")
	for _, tt := range []struct {
		min, client uint16
		ok          bool
	}{{0, tls.VersionTLS11, false}, {0, tls.VersionTLS12, true}, {0, tls.VersionTLS13, true}, {tls.VersionTLS13, tls.VersionTLS12, false}} {
		tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{cert}, MinVersion: tt.min}}, handler{handle: echo})
		cfg := a.client("one.example")
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tt.client
		c := tls.Client(dialTCP(t, tr), cfg)
		if err := c.Handshake(); (err == nil) != tt.ok {
			t.Errorf("minimum %x, client %x: %v", tt.min, tt.client, err)
		}
	}
}

func TestTLSServerName(t *testing.T) {
	a := newAuthority(t)
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{
		a.issue("one", nil, "one.example"), a.issue("two", nil, "two.example", "*.two.example"),
	}}}, handler{handle: echo})
	for name, want := range map[string]string{"one.example": "one", "two.example": "two", "a.two.example": "two", "other.example": "one", "": "one"} {
		cfg := a.client(name)
		cfg.InsecureSkipVerify = true
		c := dialTLS(t, tr, cfg)
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("name %q: certificate %s, want %s", name, got, want)
		}
	}
	if list := tr.Certificates(); len(list) != 2 || strings.Join(list[1].Names, " ") != "two.example *.two.example" {
		t.Errorf("Certificates: %v", list)
	}
}

func TestTLSCertificateOfOneSocket(t *testing.T) {
	a := newAuthority(t)
	own := on(core.TLS)
	own.Certificates = []CertFile{a.issue("own", nil, "own.example")}
	tr := serve(t, Config{Listen: []Listen{own, on(core.TLS), on(core.WSS)}, TLS: TLS{Certificates: []CertFile{a.issue("all", nil, "all.example")}}}, handler{handle: echo})
	dialTLS(t, tr, a.client("own.example"))
	if len(tr.keyrings) != 2 {
		t.Errorf("%d key rings, want 2: two sockets share one", len(tr.keyrings))
	}
}

func TestTLSBadFiles(t *testing.T) {
	a := newAuthority(t)
	good := a.issue("good", nil, "good.example")
	other := a.issue("other", nil, "other.example")
	open := CertFile{good.Cert, a.write("open.key", mustRead(t, good.Key), 0o644)}
	junk := a.write("junk.pem", []byte("junk"), 0o600)
	for name, tt := range map[string]struct {
		cfg  TLS
		want []string
	}{
		"none":     {TLS{}, []string{"no certificate"}},
		"missing":  {TLS{Certificates: []CertFile{{a.dir + "/no.pem", good.Key}}}, []string{"certificate: ", "/no.pem", "no such file"}},
		"no key":   {TLS{Certificates: []CertFile{{good.Cert, a.dir + "/no.key"}}}, []string{"private key of certificate", "/no.key"}},
		"mismatch": {TLS{Certificates: []CertFile{{good.Cert, other.Key}}}, []string{good.Cert, other.Key, "does not match"}},
		"open":     {TLS{Certificates: []CertFile{open}}, []string{"open.key", "every user", "chmod"}},
		"junk":     {TLS{Certificates: []CertFile{{junk, good.Key}}}, []string{"junk.pem"}},
		"one file": {TLS{Certificates: []CertFile{{Cert: junk}}}, []string{"junk.pem"}},
		"ca":       {TLS{Certificates: []CertFile{good}, CA: junk}, []string{"authorities", "junk.pem"}},
		"no ca":    {TLS{Certificates: []CertFile{good}, Clients: ClientAuthRequire}, []string{"no file of authorities"}},
	} {
		tr, err := Open(Config{Clock: clock.NewReal(), Listen: []Listen{on(core.TLS)}, TLS: tt.cfg})
		if err == nil {
			closeIt(t, tr)
			t.Errorf("%s: no error", name)
			continue
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v; want %q in it", name, err, w)
			}
		}
	}
	both := a.write("both.pem", append(mustRead(t, good.Cert), mustRead(t, good.Key)...), 0o640)
	if err := CheckTLS(TLS{Certificates: []CertFile{{Cert: both}}}); err != nil {
		t.Error(err)
	}
}

func mustRead(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTLSReload(t *testing.T) {
	a := newAuthority(t)
	cert := a.issue("one", nil, "one.example")
	tr := serve(t, Config{Listen: []Listen{on(core.TLS), on(core.WSS)}, TLS: TLS{Certificates: []CertFile{cert}}}, handler{handle: echo})
	serial := func() int64 {
		c := dialTLS(t, tr, a.client("one.example"))
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	first := dialTLS(t, tr, a.client("one.example"))
	old := serial()
	keep := mustRead(t, cert.Key)
	for name, spoil := range map[string]func(){
		"junk": func() { a.write("one.pem", []byte("junk"), 0o644) },
		"expired": func() {
			a.issue("one", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "one.example")
		},
		"mismatch": func() { a.issue("one", nil, "one.example"); a.write("one.key", keep, 0o600) },
		"open key": func() { a.issue("one", nil, "one.example"); os.Chmod(cert.Key, 0o644) },
	} {
		spoil()
		if err := tr.ReloadTLS(); err == nil || !strings.Contains(err.Error(), "one.") || !strings.Contains(err.Error(), "old certificates stay") {
			t.Errorf("%s: %v", name, err)
		}
		if now := serial(); now != old {
			t.Errorf("%s: certificate %d, want the old %d", name, now, old)
		}
	}
	os.Chmod(cert.Key, 0o600)
	a.issue("one", nil, "one.example")
	if err := tr.ReloadTLS(); err != nil {
		t.Fatal(err)
	}
	if now := serial(); now == old {
		t.Error("the certificate is the old one after a reload")
	}
	write(t, first, message(1, 1))
	expect(t, first, message(1, 1))
}

func TestTLSExpiredAtReloadStays(t *testing.T) {
	a := newAuthority(t)
	cert := a.issue("one", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "one.example")
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{cert}}}, handler{handle: echo})
	if err := tr.ReloadTLS(); err != nil {
		t.Errorf("the reload of a certificate that was in use fails: %v", err)
	}
}

func TestTLSClientCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	server := a.issue("server", nil, "server.example")
	load := func(f CertFile) []tls.Certificate {
		c, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{c}
	}
	good, bad := load(a.issue("phone", nil, "phone.example")), load(stranger.issue("phone", nil, "phone.example"))
	for _, tt := range []struct {
		auth             ClientAuth
		show             []tls.Certificate
		served, verified bool
	}{
		{ClientAuthOff, nil, true, false}, {ClientAuthOff, bad, true, false},
		{ClientAuthRequest, nil, true, false}, {ClientAuthRequest, good, true, true}, {ClientAuthRequest, bad, false, false},
		{ClientAuthRequire, nil, false, false}, {ClientAuthRequire, good, true, true}, {ClientAuthRequire, bad, false, false},
	} {
		tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{server}, CA: a.ca(), Clients: tt.auth}}, handler{handle: echo})
		cfg := a.client("server.example")
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if tt.show == nil {
				return &tls.Certificate{}, nil
			}
			return &tt.show[0], nil // also if the server does not know its authority
		}
		c := tls.Client(dialTCP(t, tr), cfg)
		c.Handshake()
		c.Write(message(1, 0))
		n, _ := c.Read(make([]byte, 1000))
		if (n > 0) != tt.served {
			t.Errorf("%v: served %v, want %v", tt, n > 0, tt.served)
		}
		if tt.served {
			if got := tr.conns.byAddr[connKey{proto: core.TLS, remote: c.LocalAddr().(*net.TCPAddr).AddrPort()}].verified; got != tt.verified {
				t.Errorf("%v: verified %v", tt, got)
			}
		}
	}
}

// TestTLSServers opens connections to servers, good ones and others.
func TestTLSServers(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	own := a.issue("own", nil, "own.example")
	name := core.NameOf[string]
	for what, tt := range map[string]struct {
		server  CertFile
		host    core.HostName
		any, ok bool
	}{
		"by name":         {a.issue("a", nil, "Server.example"), name("server.example"), false, true},
		"by wildcard":     {a.issue("b", nil, "*.example"), name("server.example."), false, true},
		"by SIP domain":   {a.issue("c", nil, "sip:server.example", "other.example"), name("SERVER.example"), false, true},
		"SIP domain only": {a.issue("d", nil, "sip:other.example", "server.example"), name("server.example"), false, false},
		"a user's URI":    {a.issue("e", nil, "sip:bob@server.example", "x.example"), name("server.example"), false, false},
		"other name":      {a.issue("f", nil, "other.example"), name("server.example"), false, false},
		"by address":      {a.issue("g", nil, "127.0.0.1"), core.HostName{}, false, true},
		"no address":      {a.issue("h", nil, "server.example"), core.HostName{}, false, false},
		"stranger":        {stranger.issue("i", nil, "server.example"), name("server.example"), false, false},
		"expired":         {a.issue("j", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "server.example"), name("server.example"), false, false},
		"any":             {stranger.issue("k", nil, "other.example"), name("server.example"), true, true},
	} {
		lost := make(chan string, 1)
		server := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{tt.server}}}, handler{handle: echo})
		back := make(chan string, 1)
		tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{own}, CA: a.ca(), AnyServer: tt.any}}, handler{
			handle: func(_ Worker, msg []byte, _ core.Flow) { back <- string(msg) },
			lost:   func(msg []byte, _ core.Flow) { lost <- string(msg) },
		})
		f, err := tr.Route(core.TLS, server.Sockets()[0].Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.Host = tt.host
		w := tr.NewSender()
		if err := w.Send(f, message(1, 1)); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		select {
		case <-back:
			if !tt.ok {
				t.Errorf("%s: the server was trusted", what)
			}
		case <-lost:
			if tt.ok {
				t.Errorf("%s: the server was not trusted", what)
			}
		case <-time.After(patience):
			t.Errorf("%s: neither an answer nor an error", what)
		}
	}
}

// TestTLSHostsOfOneAddress: a connection serves another name of the same
// address only if the certificate is good for that too.
func TestTLSHostsOfOneAddress(t *testing.T) {
	a := newAuthority(t)
	server := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{
		a.issue("a", nil, "a.example"), a.issue("b", nil, "b.example"),
	}}}, handler{handle: echo})
	back := make(chan core.Flow, 1)
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{a.issue("own", nil, "own.example")}, CA: a.ca()}},
		handler{handle: func(_ Worker, _ []byte, f core.Flow) { back <- f }})
	send := func(host string) core.Flow {
		f, _ := tr.Route(core.TLS, server.Sockets()[0].Addr, nil)
		f.Host = core.NameOf(host)
		w := tr.NewSender()
		if err := w.Send(f, message(1, 1)); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		return receive(t, back, "answer of "+host)
	}
	first, second, again := send("a.example"), send("b.example"), send("a.example")
	if first.Conn == second.Conn || first.Conn != again.Conn {
		t.Errorf("connections %d, %d, %d", first.Conn, second.Conn, again.Conn)
	}
}

func TestTLSHandshakesAreBounded(t *testing.T) {
	a := newAuthority(t)
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{a.issue("one", nil, "one.example")}},
		MaxHandshakes: 8, HandshakeTime: 300 * time.Millisecond}, handler{handle: echo})
	dial := func(local string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		c, err := d.Dial("tcp", tr.Sockets()[0].Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
	slow := []net.Conn{dial("127.0.56.1"), dial("127.0.56.1")}
	until(t, "both are under way", func() bool { return len(tr.Conns(9)) == 2 })
	expectEnd(t, dial("127.0.56.1")) // a third of one address
	c := tls.Client(dial("127.0.56.2"), a.client("one.example"))
	write(t, c, message(1, 1)) // others are served
	expect(t, c, message(1, 1))
	for _, s := range slow {
		expectEnd(t, s)
	}
	if n := tr.Stats.HandshakesFailed.Load(); n != 2 {
		t.Errorf("%d failed handshakes, want 2", n)
	}
	write(t, c, message(2, 1)) // the deadline of the handshake is gone
	expect(t, c, message(2, 1))
}

func TestTLSNoise(t *testing.T) {
	a := newAuthority(t)
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{a.issue("one", nil, "one.example")}}}, handler{handle: echo})
	c := dialTCP(t, tr)
	write(t, c, message(1, 1)) // plain SIP to the TLS port
	c.Read(make([]byte, 100))
	until(t, "it is given up", func() bool { return len(tr.Conns(1)) == 0 && tr.Stats.HandshakesFailed.Load() == 1 })
}

// TestTLSSlowReader: who does not read holds up nobody, and is given up.
func TestTLSSlowReader(t *testing.T) {
	a := newAuthority(t)
	flows, lost := make(chan core.Flow, 1), make(chan struct{}, 10000)
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{a.issue("one", nil, "one.example")}},
		WriteTime: 200 * time.Millisecond, WriteQueue: 1 << 20}, handler{
		handle: func(_ Worker, _ []byte, f core.Flow) { flows <- f },
		lost:   func([]byte, core.Flow) { lost <- struct{}{} },
	})
	c := dialTLS(t, tr, a.client("one.example"))
	write(t, c, message(1, 1))
	f := receive(t, flows, "message")
	w, full := tr.NewSender(), false
	// The kernel takes a lot, after the queue was full for the first time too.
	until(t, "undeliverable messages", func() bool {
		for range 100 {
			full = w.Send(f, message(1, 5000)) == errQueueFull || full
		}
		w.Flush()
		return len(lost) > 0
	})
	if !full {
		t.Error("the queue has no bound")
	}
	until(t, "it is given up", func() bool { return !tr.Alive(f) })
}

func TestAlias(t *testing.T) {
	a := newAuthority(t)
	phone := a.issue("phone", nil, "peer.example")
	cert, err := tls.LoadX509KeyPair(phone.Cert, phone.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		proto   core.Proto
		trust   bool // TCPAlias, or a client certificate
		host    string
		accept  bool
		reached bool
	}{
		{"TCP", core.TCP, true, "", true, true},
		{"TCP not trusted", core.TCP, false, "", false, false},
		{"TLS", core.TLS, true, "peer.example", true, true},
		{"TLS, its address", core.TLS, true, "", true, false},
		{"TLS, another name", core.TLS, true, "other.example", true, false},
		{"TLS without a certificate", core.TLS, false, "peer.example", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flows := make(chan core.Flow, 1)
			tr := serve(t, Config{Listen: []Listen{on(tt.proto)}, TCPAlias: tt.trust, ConnectTime: time.Second,
				TLS: TLS{Certificates: []CertFile{a.issue("one", nil, "one.example")}, CA: a.ca(), Clients: ClientAuthRequest}},
				handler{handle: func(_ Worker, _ []byte, f core.Flow) { flows <- f }})
			var c net.Conn = dialTCP(t, tr)
			if tt.proto == core.TLS {
				cfg := a.client("one.example")
				if tt.trust {
					cfg.Certificates = []tls.Certificate{cert}
				}
				c = tls.Client(c, cfg)
			}
			write(t, c, message(1, 1))
			f := receive(t, flows, "message")
			if got := tr.Alias(f, 9); got != tt.accept {
				t.Errorf("accepted: %v", got)
			}
			to := core.Flow{Socket: f.Socket, Remote: netip.AddrPortFrom(f.Remote.Addr(), 9), Host: core.NameOf(tt.host)}
			if got := tr.conns.find(tr.keyOf(to)) != nil; got != tt.reached {
				t.Errorf("reached: %v", got)
			}
			if other, err := tr.connFor(to); err != nil || (other.flow.Conn == f.Conn) != tt.reached {
				t.Errorf("the connection to the port is %v, %v", other, err)
			}
			c.Close()
			until(t, "it is gone", func() bool { return !tr.Alive(f) })
			until(t, "no address is left", func() bool {
				tr.conns.mu.RLock()
				defer tr.conns.mu.RUnlock()
				return len(tr.conns.byAddr) == 0
			})
		})
	}
}

// TestPing: connections that we opened are kept alive; the answers are not
// taken for pings.
func TestPing(t *testing.T) {
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tr := serve(t, Config{Listen: tcpOn(loop4), Ping: 40 * time.Millisecond}, handler{handle: echo})
	f, _ := tr.Route(core.TCP, ln.Addr().(*net.TCPAddr).AddrPort(), nil)
	w := tr.NewSender()
	w.Send(f, message(1, 1))
	w.Flush()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	expect(t, c, message(1, 1))
	for range 4 {
		expect(t, c, []byte(ping))
		write(t, c, pong)
	}
	write(t, c, message(2, 1))
	got := make([]byte, 0, 1000)
	for !bytes.HasSuffix(got, message(2, 1)) {
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		got = append(got, b[:n]...)
	}
	if rest := bytes.TrimSuffix(got, message(2, 1)); len(rest)%len(ping) != 0 {
		t.Errorf("%q came beside pings", rest)
	}
}

func TestTLSCloseIsPolite(t *testing.T) {
	a := newAuthority(t)
	tr := serve(t, Config{Listen: []Listen{on(core.TLS)}, TLS: TLS{Certificates: []CertFile{a.issue("one", nil, "one.example")}}}, handler{handle: echo})
	c := dialTLS(t, tr, a.client("one.example"))
	write(t, c, message(1, 1))
	expect(t, c, message(1, 1))
	closeIt(t, tr)
	if _, err := c.Read(make([]byte, 1)); fmt.Sprint(err) != "EOF" { // a close_notify alert
		t.Errorf("the end is %v", err)
	}
}
