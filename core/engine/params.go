package engine

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sipr/core"
	"sipr/core/transport"
	"sipr/lua"
)

// coreParams are the parameters of the module core.
type coreParams struct {
	dbURL, secret, secretFile          string
	socket, fifo, fifoReplies          string
	ctlTCP, http, httpToken            string
	httpOrigins                        []string
	user, group                        string
	aliases                            []string
	budget, maxScripts, maxRequests    int
	sharedEntries                      int
	waitTimeout, drainTime             time.Duration
	maxConns, maxConnsPerIP            int
	connIdle, connMessage, connectTime time.Duration
	udpReaders                         int
	serverID                           int
	udpGSO                             bool
	serverHeader                       string
	streams                            streamParams
	dns                                dnsParams
}

func (p *coreParams) defaults() {
	*p = coreParams{
		secretFile: "sipr.secret", socket: "sipr.sock", fifoReplies: "/tmp",
		budget: 1_000_000, maxScripts: 4096, maxRequests: 100_000, sharedEntries: 100_000,
		waitTimeout: 5 * time.Second, drainTime: 30 * time.Second,
		maxConns: 20000, connIdle: 3605 * time.Second, connMessage: 30 * time.Second, connectTime: 5 * time.Second,
		udpGSO: true,
	}
	p.streams.defaults()
	p.dns.defaults()
}

func (p *coreParams) list() []core.Param {
	list := []core.Param{
		core.SecretParam(&p.dbURL, "db_url", "database of every module that names none: sqlite:FILE or mysql://user:password@host/name"),
		core.SecretParam(&p.secret, "secret", "text that all keys of this router are made of; nodes of one service share it. Empty: a random one is kept in secret_file"),
		core.StringParam(&p.secretFile, "secret_file", "file that keeps the random secret"),
		core.StringParam(&p.socket, "ctl_socket", "unix socket for management, JSON-RPC 2.0 and BINRPC (kamcmd); empty for none"),
		core.StringParam(&p.ctlTCP, "ctl_tcp", "address and port of the loopback, such as 127.0.0.1:2046, for what ctl_socket speaks; every user of the machine may then manage the router; empty for none"),
		core.StringParam(&p.fifo, "fifo", "FIFO for management, SER's protocol; empty for none"),
		core.StringParam(&p.fifoReplies, "fifo_reply_dir", "folder of the reply FIFOs"),
		core.StringParam(&p.http, "http", "address and port, such as 127.0.0.1:8080, for JSON-RPC 2.0 by HTTP, POST /RPC; empty for none"),
		core.SecretParam(&p.httpToken, "http_token", "what callers of http must show as bearer token, at least 16 characters"),
		core.ListParam(&p.httpOrigins, "http_origins", "origin, such as https://admin.example.com, of pages that browsers may let call http; may be set several times"),
		core.StringParam(&p.user, "user", "user to become after the sockets are bound"),
		core.StringParam(&p.group, "group", "group to become after the sockets are bound"),
		core.ListParam(&p.aliases, "alias", "further host or host:port that is this router; may be set several times"),
		core.IntParam(&p.budget, "script_budget", "steps that one run of the script may take", core.Between(1000, 1_000_000_000)),
		core.IntParam(&p.maxScripts, "max_scripts", "requests that may run or wait in the script at once; more get 503", core.Between(1, 1_000_000)),
		core.IntParam(&p.sharedEntries, "shared_entries", "entries that the script's shared table may have", core.Between(1, 100_000_000)),
		core.DurationParam(&p.waitTimeout, time.Second, "wait_timeout", "how long one wait of an export (database, DNS) may take", core.Between(10*time.Millisecond, 5*time.Minute)),
		core.IntParam(&p.serverID, "server_id", "number of this router among those of one service, which scripts read as @sys.server_id", core.Between(0, 1<<31-1)),
		core.DurationParam(&p.drainTime, time.Second, "drain_time", "how long a stop waits for what is under way", core.Between(time.Duration(0), time.Hour)),
		core.IntParam(&p.maxConns, "tcp_max_connections", "stream connections at once", core.Between(1, 10_000_000)),
		core.IntParam(&p.maxConnsPerIP, "tcp_accept_iplimit", "stream connections of one source address; 0 for no limit", core.Between(0, 10_000_000)),
		core.DurationParam(&p.connIdle, time.Second, "tcp_connection_lifetime", "a connection on which nothing is received for so long is closed", core.Between(time.Second, 24*time.Hour)),
		core.DurationParam(&p.connMessage, time.Second, "tcp_message_timeout", "a message must be complete after so long", core.Between(time.Second, time.Hour)),
		core.DurationParam(&p.connectTime, time.Second, "tcp_connect_timeout", "opening a connection may take so long", core.Between(100*time.Millisecond, 5*time.Minute)),
		core.BoolParam(&p.udpGSO, "udp_gso", "whether UDP messages of one length to one address leave together where the system can do it (Linux); a capture on this machine may show them as one long datagram"),
		core.IntParam(&p.udpReaders, "udp_readers", "sockets, each with its reader, for every UDP address; 0 for one per processor", core.Between(0, 256)),
		core.StringParam(&p.serverHeader, "server_header", "value of the Server header field of this router's own responses; empty for none", noLineBreak),
	}
	return slices.Concat(list, p.streams.list(), p.dns.list())
}

func noLineBreak(s string) error {
	if strings.ContainsAny(s, "\r\n") {
		return fmt.Errorf("a line break is not allowed")
	}
	return nil
}

// listens turns the listen lines into addresses. A wildcard becomes one
// socket for each of the machine's addresses, so that every message is
// answered from the address it was sent to.
func (e *Engine) listens() ([]transport.Listen, error) {
	var out []transport.Listen
	for _, s := range e.settings.Listen {
		l, err := parseListen(s)
		if err != nil {
			return nil, err
		}
		for i, f := range l.Certificates {
			l.Certificates[i] = e.absolute(f)
		}
		if err := e.checkCertificates(s, &l); err != nil {
			return nil, err
		}
		if !l.Addr.Addr().IsUnspecified() {
			out = append(out, l)
			continue
		}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return nil, s.Errorf("listen: the machine's addresses: %s", err)
		}
		for _, a := range addrs {
			ipn, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, _ := netip.AddrFromSlice(ipn.IP)
			ip = ip.Unmap()
			if ip.Is4() == l.Addr.Addr().Is4() && !ip.IsLinkLocalUnicast() {
				one := l
				one.Addr = netip.AddrPortFrom(ip, l.Addr.Port())
				out = append(out, one)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: there is no listen line: add listen \"udp:127.0.0.1:5060\"", e.settings.File)
	}
	return out, nil
}

func parseListen(s lua.ListenSetting) (transport.Listen, error) {
	var l transport.Listen
	proto, rest, ok := strings.Cut(s.Address, ":")
	l.Proto = core.ParseProto(proto)
	if !ok || l.Proto == core.ProtoNone {
		return l, s.Errorf("listen %q: a protocol comes first: udp:127.0.0.1:5060", s.Address)
	}
	addr, err := netip.ParseAddrPort(rest)
	if err != nil {
		ip, err2 := netip.ParseAddr(strings.Trim(rest, "[]"))
		if err2 != nil {
			return l, s.Errorf("listen %q: an IP address, with a port or without, comes after the protocol; IPv6 in brackets", s.Address)
		}
		addr = netip.AddrPortFrom(ip, l.Proto.Port())
	}
	l.Addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	for k, v := range s.Options {
		switch k {
		case "advertise":
			l.Advertise = fmt.Sprint(v)
		case "cert", "key":
		default:
			return l, s.Errorf("listen: there is no option %s%s", k, lua.Suggest(k, []string{"advertise", "cert", "key"}))
		}
	}
	return l, listenCertificate(s, &l)
}
