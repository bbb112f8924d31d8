package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"sipr/core"
)

// TLS is what tls and wss sockets use.
type TLS struct {
	// Certificates are offered to clients: the first that has the name asked
	// for (SNI), else the first of all; and to servers that ask for one.
	Certificates []CertFile
	// CA is a PEM file with the authorities that peers are checked against.
	// Empty: those of the system for servers, none for clients.
	CA string
	// Clients says whether the clients of a tls socket show a certificate.
	// Browsers, on wss sockets, are never asked.
	Clients ClientAuth
	// AnyServer accepts servers that prove nothing.
	AnyServer bool
	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13; 0 for the first.
	MinVersion uint16
}

// CertFile names the PEM files of a certificate with its chain and of its
// private key, which may be one file.
type CertFile struct{ Cert, Key string }

// ClientAuth says what a tls socket asks of its clients.
type ClientAuth uint8

// A certificate is not asked for; it is, and must be good if one is shown; it
// must be shown.
const (
	ClientAuthOff ClientAuth = iota
	ClientAuthRequest
	ClientAuthRequire
)

// keyring holds the certificates of one socket, or of all that have none of
// their own. A reload puts a new set in the place of the old; connections that
// are open keep what they began with.
type keyring struct {
	cfg TLS
	set atomic.Pointer[certSet]
}

// certSet is what was read from the files at one time. It never changes.
type certSet struct {
	certs                []tls.Certificate
	server, web, clients *tls.Config
	roots                *x509.CertPool
}

// maxPEM bounds what is read of a file.
const maxPEM = 4 << 20

// read reads the files and makes the configurations for handshakes of them.
func (k *keyring) read() (*certSet, error) {
	s := &certSet{}
	for _, f := range k.cfg.Certificates {
		c, err := f.read()
		if err != nil {
			return nil, err
		}
		s.certs = append(s.certs, c)
	}
	if k.cfg.CA != "" {
		b, err := readFile(k.cfg.CA, false)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("authorities: %s holds no certificate", k.cfg.CA)
		}
	} else if k.cfg.Clients != ClientAuthOff {
		return nil, errors.New("certificates of clients are asked for, but no file of authorities is set to check them by")
	}
	s.server = &tls.Config{MinVersion: max(k.cfg.MinVersion, tls.VersionTLS12), Certificates: s.certs}
	s.web = s.server.Clone()
	s.web.NextProtos = []string{"http/1.1"}
	s.server.ClientCAs = s.roots
	s.server.ClientAuth = [...]tls.ClientAuthType{tls.NoClientCert, tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert}[k.cfg.Clients]
	s.clients = &tls.Config{MinVersion: s.server.MinVersion, Certificates: s.certs, InsecureSkipVerify: true} // connections are verified by verify
	return s, nil
}

func (f CertFile) read() (c tls.Certificate, err error) {
	key := f.Key
	if key == "" {
		key = f.Cert
	}
	cert, err := readFile(f.Cert, false)
	if err != nil {
		return c, fmt.Errorf("certificate: %w", err)
	}
	secret, err := readFile(key, true)
	if err != nil {
		return c, fmt.Errorf("private key of certificate %s: %w", f.Cert, err)
	}
	if c, err = tls.X509KeyPair(cert, secret); err != nil {
		return c, fmt.Errorf("certificate %s with private key %s: %w", f.Cert, key, err)
	}
	return c, nil
}

// readFile reads a file. One with a secret that every user of the machine may
// read is refused.
func readFile(name string, secret bool) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := st.Mode().Perm(); secret && mode&0o007 != 0 {
		return nil, fmt.Errorf("%s: every user may use it (mode %04o); chmod 0640 or 0600", name, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = fmt.Errorf("%s is no PEM file: it is longer than %d bytes", name, maxPEM)
	}
	return b, err
}

// has tells whether a certificate is in the set already.
func (s *certSet) has(leaf *x509.Certificate) bool {
	for i := range s.certs {
		if s.certs[i].Leaf.Equal(leaf) {
			return true
		}
	}
	return false
}

// CheckTLS reads the files that a configuration names, and does nothing else.
func CheckTLS(cfg TLS) error {
	_, err := (&keyring{cfg: cfg}).read()
	return err
}

// openKeys reads the certificates of a secure socket.
func (t *Transport) openKeys(l Listen) (*keyring, error) {
	cfg := t.cfg.TLS
	if len(l.Certificates) > 0 {
		cfg.Certificates = l.Certificates
	} else if t.shared != nil {
		return t.shared, nil
	}
	if len(cfg.Certificates) == 0 {
		return nil, errors.New("there is no certificate for it")
	}
	k := &keyring{cfg: cfg}
	s, err := k.read()
	if err != nil {
		return nil, err
	}
	for i := range s.certs {
		if err := t.outOfDate(s.certs[i].Leaf); err != nil {
			t.cfg.Log.Warn("certificate", "file", cfg.Certificates[i].Cert, "error", err)
		}
	}
	k.set.Store(s)
	t.keyrings = append(t.keyrings, k)
	if len(l.Certificates) == 0 {
		t.shared = k
	}
	return k, nil
}

// outOfDate tells why a certificate is of no use today.
func (t *Transport) outOfDate(leaf *x509.Certificate) error {
	now := t.cfg.Clock.Now().Std()
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("it has expired at %s", leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("it is not valid before %s", leaf.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// ReloadTLS reads all files anew, for connections from now on. If one of them
// is bad, or holds a new certificate that is not valid today, everything stays
// as it was.
func (t *Transport) ReloadTLS() error {
	t.reload.Lock()
	defer t.reload.Unlock()
	sets := make([]*certSet, len(t.keyrings))
	for i, k := range t.keyrings {
		s, err := k.read()
		if err != nil {
			return fmt.Errorf("the old certificates stay: %w", err)
		}
		for j := range s.certs {
			if err := t.outOfDate(s.certs[j].Leaf); err != nil && !k.set.Load().has(s.certs[j].Leaf) {
				return fmt.Errorf("the old certificates stay: certificate %s: %w", k.cfg.Certificates[j].Cert, err)
			}
		}
		sets[i] = s
	}
	for i, k := range t.keyrings {
		k.set.Store(sets[i])
	}
	return nil
}

// CertInfo describes a certificate in use.
type CertInfo struct {
	File                string
	Names               []string
	Issuer              string
	NotBefore, NotAfter time.Time
}

// Certificates lists the certificates in use.
func (t *Transport) Certificates() []CertInfo {
	var out []CertInfo
	for _, k := range t.keyrings {
		for i, c := range k.set.Load().certs {
			leaf := c.Leaf
			names := append([]string(nil), leaf.DNSNames...)
			for _, ip := range leaf.IPAddresses {
				names = append(names, ip.String())
			}
			for _, u := range leaf.URIs {
				names = append(names, u.String())
			}
			out = append(out, CertInfo{k.cfg.Certificates[i].Cert, names, leaf.Issuer.String(), leaf.NotBefore, leaf.NotAfter})
		}
	}
	return out
}

// serverConfig is for a handshake with a client.
func (k *keyring) serverConfig(p core.Proto) *tls.Config {
	if p == core.WSS {
		return k.set.Load().web
	}
	return k.set.Load().server
}

// clientConfig is for a handshake with the server at a flow's end.
func (k *keyring) clientConfig(f core.Flow) *tls.Config {
	s := k.set.Load()
	cfg := s.clients.Clone()
	host := f.Host.String()
	cfg.ServerName = host
	if host == "" {
		host = f.Remote.Addr().String()
	}
	if !k.cfg.AnyServer {
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return s.verify(cs, host) }
	}
	return cfg
}

// verify checks a server's certificate.
func (s *certSet) verify(cs tls.ConnectionState, host string) error {
	opts := x509.VerifyOptions{Roots: s.roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	leaf := cs.PeerCertificates[0]
	if _, err := leaf.Verify(opts); err != nil {
		return err
	}
	return proves(leaf, host)
}

// proves checks that a certificate is one for a SIP domain (RFC 5922 §7.1): if
// it names domains as SIP URIs these count, else its DNS names. Unlike §7.2 it
// lets *.example.com stand for one label, since many carriers show such.
func proves(leaf *x509.Certificate, host string) error {
	var domains []string
	for _, u := range leaf.URIs {
		if u.Scheme != "sip" || strings.Contains(u.Opaque, "@") {
			continue
		}
		d, _, _ := strings.Cut(u.Opaque, ";")
		if strings.EqualFold(strings.TrimSuffix(d, "."), host) {
			return nil
		}
		domains = append(domains, d)
	}
	if len(domains) > 0 && len(leaf.IPAddresses) == 0 {
		return fmt.Errorf("the certificate is for the SIP domains %s, not %s", strings.Join(domains, ", "), host)
	}
	return leaf.VerifyHostname(host)
}
