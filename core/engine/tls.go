package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"sipr/core"
	"sipr/core/transport"
	"sipr/lua"
)

// streamParams are the parameters of TLS and WebSocket sockets, and of
// connections that last.
type streamParams struct {
	certificates    []string
	ca, clients     string
	verifyServer    bool
	minVersion      string
	handshakeTime   time.Duration
	maxHandshakes   int
	wsPath          string
	wsOrigins       []string
	wsPing, tcpPing time.Duration
	tcpAlias        bool
	udpMTU          int
}

func (p *streamParams) defaults() {
	*p = streamParams{
		clients: "off", verifyServer: true, minVersion: "1.2", handshakeTime: 10 * time.Second, maxHandshakes: 2000, wsPing: 30 * time.Second, udpMTU: 1300,
	}
}

func (p *streamParams) list() []core.Param {
	return []core.Param{
		core.ListParam(&p.certificates, "tls_certificate", "certificate of the tls and wss sockets, \"chain.pem:key.pem\", or one file that holds both; may be set several times: a client gets the first that is for the name it asks for, else the first of all", checkCertificate),
		core.StringParam(&p.ca, "tls_ca", "file of the authorities that peers are checked against; empty for those of the system, and none for clients"),
		core.StringParam(&p.clients, "tls_client_certificate", "whether clients of a tls socket show a certificate: off, request (a good one or none) or require", core.OneOf("off", "request", "require")),
		core.BoolParam(&p.verifyServer, "tls_verify_server", "whether a server that is reached by TLS must prove that it is who the URI names (RFC 5922)"),
		core.StringParam(&p.minVersion, "tls_min_version", "oldest version of TLS that is spoken: 1.2 or 1.3", core.OneOf("1.2", "1.3")),
		core.DurationParam(&p.handshakeTime, time.Second, "tls_handshake_timeout", "handshakes of an accepted connection, TLS and WebSocket, may take so long", core.Between(100*time.Millisecond, 5*time.Minute)),
		core.IntParam(&p.maxHandshakes, "tls_max_handshakes", "accepted connections in a handshake at once; one source address may have a quarter of it", core.Between(1, 1_000_000)),
		core.StringParam(&p.wsPath, "ws_path", "path of the URL that WebSockets may be opened at, such as /sip; empty for any", checkPath),
		core.ListParam(&p.wsOrigins, "ws_origins", "origin, such as https://phone.example.com or https://*.example.com, of pages that may open WebSockets; may be set several times; all may if it is not set, and clients that are no browsers in any case", transport.CheckOrigin),
		core.DurationParam(&p.wsPing, time.Second, "ws_ping", "a silent WebSocket is pinged so often, and closed if there is no answer; 0 for never", core.Between(time.Duration(0), 24*time.Hour)),
		core.DurationParam(&p.tcpPing, time.Second, "tcp_ping", "a silent TCP or TLS connection that this router has opened gets line breaks (RFC 5626) so often; 0 for never", core.Between(time.Duration(0), 24*time.Hour)),
		core.BoolParam(&p.tcpAlias, "tcp_accept_aliases", "whether the alias parameter of a Via is believed over TCP (RFC 5923); over TLS it is if the client has shown a good certificate"),
		core.IntParam(&p.udpMTU, "udp_mtu", "a request that gets larger than so many bytes goes over TCP where it would go over UDP, if the router listens on TCP and the URI has no transport parameter, and over UDP if there is no connection (RFC 3261 §18.1.1); 0 for never", core.Between(0, 65535)),
	}
}

func checkCertificate(s string) error {
	f := certFile(s)
	if f.Cert == "" || strings.HasSuffix(s, ":") || strings.Contains(f.Key, ":") {
		return errors.New("\"chain.pem:key.pem\" is expected, or one file that holds both")
	}
	return nil
}

func checkPath(s string) error {
	if s != "" && (s[0] != '/' || strings.ContainsAny(s, "?# ")) {
		return fmt.Errorf("%q is no path such as /sip", s)
	}
	return nil
}

func certFile(s string) transport.CertFile {
	cert, key, _ := strings.Cut(s, ":")
	return transport.CertFile{Cert: cert, Key: key}
}

// absolute makes the names of a certificate's files absolute.
func (e *Engine) absolute(f transport.CertFile) transport.CertFile {
	f.Cert = e.path(f.Cert)
	if f.Key != "" {
		f.Key = e.path(f.Key)
	}
	return f
}

// tls turns the parameters into what the transport takes.
func (e *Engine) tls() transport.TLS {
	p := &e.params.streams
	c := transport.TLS{AnyServer: !p.verifyServer, MinVersion: tls.VersionTLS12}
	if p.minVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	switch p.clients {
	case "request":
		c.Clients = transport.ClientAuthRequest
	case "require":
		c.Clients = transport.ClientAuthRequire
	}
	if p.ca != "" {
		c.CA = e.path(p.ca)
	}
	for _, s := range p.certificates {
		c.Certificates = append(c.Certificates, e.absolute(certFile(s)))
	}
	return c
}

// checkCertificates reads the files of a secure listen line, so that a mistake
// is found before anything is stopped or started. Whoever checks settings need
// not be allowed to read keys.
func (e *Engine) checkCertificates(s lua.ListenSetting, l *transport.Listen) error {
	if !l.Proto.Secure() {
		return nil
	}
	c := e.tls()
	if len(l.Certificates) > 0 {
		c.Certificates = l.Certificates
	}
	if len(c.Certificates) == 0 {
		return s.Errorf(`listen %q: there is no certificate for it; add modparam("core", "tls_certificate", "chain.pem:key.pem")`, s.Address)
	}
	if err := transport.CheckTLS(c); err != nil && !errors.Is(err, fs.ErrPermission) {
		return s.Errorf("listen %q: %s", s.Address, err)
	}
	return nil
}

// listenCertificate reads the options cert and key of a listen line.
func listenCertificate(s lua.ListenSetting, l *transport.Listen) error {
	cert, key := text(s.Options["cert"]), text(s.Options["key"])
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "":
		return s.Errorf("listen %q: cert is missing beside key", s.Address)
	case !l.Proto.Secure():
		return s.Errorf("listen %q: only tls and wss have a certificate", s.Address)
	}
	l.Certificates = []transport.CertFile{{Cert: cert, Key: key}}
	return nil
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (m *coreModule) tlsCommands() []core.Command {
	return []core.Command{
		{Name: "tls.reload", Doc: "Reads all certificates anew. Open connections stay; if a file is bad, the old certificates do.", Run: m.cmdTLSReload},
		{Name: "tls.certificates", Doc: "The certificates in use, the names they are for and how long they are valid.", Run: m.cmdTLSCertificates},
	}
}

func (e *Engine) reloadTLS() error {
	if e.transport == nil {
		return nil
	}
	if err := e.transport.ReloadTLS(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}

func (m *coreModule) cmdTLSReload(context.Context, *core.Call) error {
	if err := m.e.reloadTLS(); err != nil {
		return &core.Fault{Code: 500, Reason: err.Error()}
	}
	return nil
}

func (m *coreModule) cmdTLSCertificates(_ context.Context, c *core.Call) error {
	if m.e.transport == nil {
		return nil
	}
	now := m.e.clock.Now().Std()
	for _, k := range m.e.transport.Certificates() {
		c.Struct().Add("file", k.File).Add("names", strings.Join(k.Names, " ")).Add("issuer", k.Issuer).
			Add("not_before", k.NotBefore.UTC().Format(time.RFC3339)).Add("not_after", k.NotAfter.UTC().Format(time.RFC3339)).
			Add("days_left", int64(k.NotAfter.Sub(now)/(24*time.Hour)))
	}
	return nil
}

// alias lets the peer of a connection be reached over it at the port that its
// Via names (RFC 5923).
func (e *Engine) alias(f core.Flow, port uint16) {
	if e.transport == nil || f.Conn == 0 {
		return
	}
	if port == 0 {
		port = f.Proto().Port()
	}
	e.transport.Alias(f, port)
}
