package resolve

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// zone is a DNS server on loopback, over UDP and TCP.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR // by "name type"
	extra   map[string][]dns.RR // the additional section, by "name type"
	asked   []string            // "name type" in the order of the questions
	tcp     int
	// answer, if set, comes before the records; nil says that they shall
	// answer.
	answer func(q dns.Question, req *dns.Msg, overTCP bool) *dns.Msg
	// before, if set, may send what is not the answer.
	before func(w dns.ResponseWriter, req *dns.Msg)
	// hold, if set, keeps questions back until it is closed; got tells of each.
	hold chan struct{}
	got  chan string
}

const soaLine = "example.com. 60 IN SOA ns.example.com. admin.example.com. 1 2 3 4 30"

// newZone starts a server on 127.0.55.n with the records of a zone file.
func newZone(t testing.TB, n int, lines ...string) *zone {
	t.Helper()
	z := &zone{records: map[string][]dns.RR{}, extra: map[string][]dns.RR{}}
	z.add(t, lines...)
	ip := fmt.Sprintf("127.0.55.%d", n)
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	z.addr = l.Addr().String()
	pc, err := net.ListenPacket("udp", z.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{
		{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { z.serve(w, m, true) })},
		{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { z.serve(w, m, false) })},
	} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go s.ActivateAndServe()
		<-ready
		t.Cleanup(func() { s.Shutdown() })
	}
	return z
}

func parse(t testing.TB, lines []string) (list []dns.RR) {
	t.Helper()
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rr)
	}
	return list
}

func (z *zone) add(t testing.TB, lines ...string) {
	t.Helper()
	list := parse(t, lines)
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, rr := range list {
		key := strings.TrimSuffix(strings.ToLower(rr.Header().Name), ".") + " " + dns.TypeToString[rr.Header().Rrtype]
		z.records[key] = append(z.records[key], rr)
	}
}

func (z *zone) set(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
}

// questions returns what was asked since the last call.
func (z *zone) questions() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	list := z.asked
	z.asked = nil
	return list
}

func (z *zone) serve(w dns.ResponseWriter, req *dns.Msg, overTCP bool) {
	q := req.Question[0]
	name := strings.TrimSuffix(strings.ToLower(q.Name), ".")
	key := name + " " + dns.TypeToString[q.Qtype]
	z.mu.Lock()
	z.asked = append(z.asked, key)
	if overTCP {
		z.tcp++
	}
	hold, got, answer, before := z.hold, z.got, z.answer, z.before
	z.mu.Unlock()
	if got != nil {
		got <- key
	}
	if hold != nil {
		<-hold
	}
	if before != nil {
		before(w, req)
	}
	if answer != nil {
		if m := answer(q, req, overTCP); m != nil {
			if m.MsgHdr.Id != 0 {
				w.WriteMsg(m)
			}
			return
		}
	}
	w.WriteMsg(z.reply(req, name, key))
}

func (z *zone) reply(req *dns.Msg, name, key string) *dns.Msg {
	m := new(dns.Msg).SetReply(req)
	m.RecursionAvailable = true
	z.mu.Lock()
	defer z.mu.Unlock()
	owner := name
	for i := 0; i < 10; i++ {
		c := z.records[owner+" CNAME"]
		if len(c) == 0 {
			break
		}
		m.Answer = append(m.Answer, c...)
		owner = strings.TrimSuffix(c[0].(*dns.CNAME).Target, ".")
	}
	m.Answer = append(m.Answer, z.records[owner+key[len(name):]]...)
	m.Extra = append(m.Extra, z.extra[key]...)
	if len(z.records[owner+key[len(name):]]) > 0 {
		return m
	}
	rr, _ := dns.NewRR(soaLine)
	m.Ns = append(m.Ns, rr)
	exists := false
	for k := range z.records {
		n, _, _ := strings.Cut(k, " ")
		exists = exists || n == owner || strings.HasSuffix(n, "."+owner)
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	return m
}

// silence is an answer that is not sent.
func silence() *dns.Msg { return &dns.Msg{} }

func refuse(req *dns.Msg, rcode int) *dns.Msg { return new(dns.Msg).SetRcode(req, rcode) }

// fixture is a resolver with a clock of its own that asks zones.
type fixture struct {
	*Resolver
	t     testing.TB
	clock *clock.Fake
}

// first always draws the lowest number, so that lists are in the order of the
// records.
func first(int) int { return 0 }

func newFixture(t testing.TB, change func(*Config), zones ...*zone) *fixture {
	t.Helper()
	c := clock.NewFake()
	cfg := Config{
		Clock: c, Rand: first, DeadFor: time.Minute, ResolvConf: filepath.Join(t.TempDir(), "none"),
		Supports: func(p core.Proto, v6 bool) bool { return p <= core.TLS && !v6 },
	}
	for _, z := range zones {
		cfg.Servers = append(cfg.Servers, z.addr)
	}
	if change != nil {
		change(&cfg)
	}
	r := New(cfg)
	t.Cleanup(r.Close)
	return &fixture{Resolver: r, t: t, clock: c}
}

func query(t testing.TB, uri string) *Query {
	t.Helper()
	u, err := sipmsg.ParseURI([]byte(uri))
	if err != nil {
		t.Fatal(err)
	}
	q, err := QueryOf(&u)
	if err != nil {
		t.Fatal(err)
	}
	return &q
}

func show(list []Target, err error) string {
	if err != nil {
		return err.Error()
	}
	var s []string
	for _, t := range list {
		s = append(s, t.Proto.String()+" "+t.Addr.String())
	}
	return strings.Join(s, ", ")
}

// look returns the targets of a URI as text.
func (f *fixture) look(uri string) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return show(f.Lookup(ctx, query(f.t, uri), nil))
}

// cached returns what is known of a URI, "?" for nothing.
func (f *fixture) cached(uri string) string {
	f.t.Helper()
	list, err, known := f.Cached(query(f.t, uri), nil)
	if !known {
		return "?"
	}
	return show(list, err)
}

func (f *fixture) want(uri, targets string) {
	f.t.Helper()
	if got := f.look(uri); got != targets {
		f.t.Errorf("%s leads to\n     %s\nnot  %s", uri, got, targets)
	}
}

func (f *fixture) asked(z *zone, want ...string) {
	f.t.Helper()
	if got := z.questions(); strings.Join(got, ", ") != strings.Join(want, ", ") {
		f.t.Errorf("asked %q, want %q", got, want)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
