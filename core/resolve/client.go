package resolve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"sipr/core/clock"
)

const (
	// udpSize is the longest answer over UDP that fits any path (DNS flag day
	// 2020).
	udpSize = 1232
	// restServer is how long a server that did not answer is asked last.
	restServer = 30 * time.Second
	// maxStray bounds the messages that may come before the answer.
	maxStray = 100
	// maxFlights bounds the questions under way, each of which has a socket.
	maxFlights = 1024
)

// flights are the questions under way, so that those who want to know the same
// ask once.
type flights struct {
	mu   sync.Mutex
	open map[string]*flight
}

// flight is a question; a may be read when done is closed or nil.
type flight struct {
	done chan struct{}
	a    *answer
}

// ask returns the question about a name, which may be answered already.
func (r *Resolver) ask(cfg *Config, name string, t uint16) *flight {
	key := recordKey(name, t)
	r.flights.mu.Lock()
	defer r.flights.mu.Unlock()
	if f := r.flights.open[key]; f != nil {
		return f
	}
	now := r.clock.Now()
	if a, ok := r.records.get([]byte(key)); ok && a.expires > now {
		return &flight{a: a}
	}
	if len(r.flights.open) >= maxFlights {
		return &flight{a: &answer{err: ErrBusy, expires: now}}
	}
	f := &flight{done: make(chan struct{})}
	r.flights.open[key] = f
	go func() {
		f.a = r.client.resolve(r.base, cfg, r.system.servers(cfg), name, t)
		r.records.put(key, f.a, f.a.err != nil)
		r.flights.mu.Lock()
		delete(r.flights.open, key)
		r.flights.mu.Unlock()
		close(f.done)
	}()
	return f
}

// client asks DNS servers.
type client struct {
	clock clock.Clock
	stats *counters

	mu   sync.Mutex
	rest map[string]clock.Time // servers that did not answer, until when they are asked last
}

// resolve asks for a name and follows its aliases.
func (c *client) resolve(ctx context.Context, cfg *Config, servers []string, name string, t uint16) *answer {
	var expires clock.Time
	for i := 0; ; i++ {
		m, err := c.ask(ctx, cfg, servers, name, t)
		now := c.clock.Now()
		if err != nil {
			return &answer{err: err, expires: now.Add(cfg.KeepError)}
		}
		a, next := read(m, cfg, now, name, t)
		if i > 0 {
			a.expires = min(a.expires, expires)
		}
		if next == "" {
			return a
		}
		if i == maxChain {
			return &answer{err: errNoData, expires: now.Add(cfg.MinNegative)}
		}
		name, expires = next, a.expires
	}
}

// ask asks one server after the other until one answers: with records, or that
// there are none.
func (c *client) ask(ctx context.Context, cfg *Config, servers []string, name string, t uint16) (*dns.Msg, error) {
	why := errSilent
	for attempt := 0; attempt < cfg.Attempts; attempt++ {
		answered := 0
		for _, s := range c.order(servers) {
			// Something on the way may swallow what it does not know, so that
			// the second attempt goes without EDNS.
			m, err := c.exchange(ctx, cfg, s, name, t, attempt == 0)
			if ctx.Err() != nil {
				return nil, errFailed
			}
			c.note(s, err == nil)
			if err != nil {
				c.stats.timeouts.Add(1)
				continue
			}
			if useful(m) {
				return m, nil
			}
			c.stats.serverFailures.Add(1)
			answered++
			why = errFailed
		}
		if answered == len(servers) {
			break
		}
	}
	return nil, why
}

// useful tells an answer from a refusal, a failure or a referral to others.
func useful(m *dns.Msg) bool {
	switch m.Rcode {
	case dns.RcodeNameError:
		return true
	case dns.RcodeSuccess:
		return len(m.Answer) > 0 || m.Authoritative || m.RecursionAvailable || soa(m) != nil
	}
	return false
}

// order returns the servers in the order to ask them.
func (c *client) order(servers []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rest) == 0 || len(servers) < 2 {
		return servers
	}
	now := c.clock.Now()
	first, last := make([]string, 0, len(servers)), []string(nil)
	for _, s := range servers {
		if until, ok := c.rest[s]; ok && until > now {
			last = append(last, s)
			continue
		}
		first = append(first, s)
	}
	return append(first, last...)
}

func (c *client) note(server string, answers bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answers {
		delete(c.rest, server)
		return
	}
	if c.rest == nil {
		c.rest = map[string]clock.Time{}
	}
	if len(c.rest) > 64 { // servers that settings no longer name
		clear(c.rest)
	}
	c.rest[server] = c.clock.Now().Add(restServer)
}

// exchange asks one server: over UDP, and over TCP if the answer was too long.
func (c *client) exchange(ctx context.Context, cfg *Config, server, name string, t uint16, edns bool) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name+".", t)
	if edns {
		q.SetEdns0(udpSize, false)
	}
	m, err := c.send(ctx, cfg, "udp", server, q)
	if err != nil {
		return nil, err
	}
	if edns && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers) {
		q.Extra = nil // RFC 6891 §7: it does not know EDNS
		q.Id = dns.Id()
		if m, err = c.send(ctx, cfg, "udp", server, q); err != nil {
			return nil, err
		}
	}
	if m.Truncated {
		c.stats.truncated.Add(1)
		q.Id = dns.Id()
		return c.send(ctx, cfg, "tcp", server, q)
	}
	return m, nil
}

// send sends one question over a socket of its own, whose random port is half
// of what makes answers hard to forge, and waits for the answer to it.
func (c *client) send(ctx context.Context, cfg *Config, network, server string, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := c.clock.AfterFunc(cfg.Timeout, cancel)
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	past := time.Unix(1, 0)
	release := context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
	defer release()
	c.stats.questions.Add(1)
	co := &dns.Conn{Conn: conn, UDPSize: udpSize}
	if err := co.WriteMsg(q); err != nil {
		return nil, err
	}
	for range maxStray {
		m, err := co.ReadMsg()
		if m != nil && answers(m, q) && (err == nil || m.Truncated) {
			return m, nil
		}
		var op *net.OpError
		if errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && network == "tcp" {
			return nil, err
		}
	}
	return nil, errSilent
}

// answers tells whether m is the answer to q.
func answers(m, q *dns.Msg) bool {
	if !m.Response || m.Id != q.Id || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode == dns.RcodeFormatError
	}
	a, b := m.Question[0], q.Question[0]
	return len(m.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// ServerAddr returns the address of a DNS server given as an IP address with or
// without a port (53).
func ServerAddr(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 {
		return "", errors.New("a DNS server is an IP address, with or without a port")
	}
	return a.String(), nil
}
