package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sipr/core"
)

func addrOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5060)
}

const one = "one.example.com. 60 IN A 192.0.2.1"

func TestNegativeAnswersAreKept(t *testing.T) {
	z := newZone(t, 1, one)
	f := newFixture(t, nil, z)
	f.want("sip:two.example.com:5060", ErrNotFound.Error())
	f.asked(z, "two.example.com A")
	f.clock.Advance(29 * time.Second) // the zone's minimum is 30 s (RFC 2308 §5)
	f.want("sip:two.example.com:5060", ErrNotFound.Error())
	f.asked(z)
	z.add(t, "two.example.com. 60 IN A 192.0.2.2")
	f.clock.Advance(time.Second)
	f.want("sip:two.example.com:5060", "UDP 192.0.2.2:5060")
}

func TestAnswersLiveAsLongAsTheirRecords(t *testing.T) {
	z := newZone(t, 1,
		"_sip._udp.example.com. 100 IN SRV 0 0 5060 a.example.com.", "a.example.com. 10 IN A 192.0.2.1",
		"zero.example.com. 0 IN A 192.0.2.9")
	f := newFixture(t, nil, z)
	const uri = "sip:example.com;transport=udp"
	f.look(uri)
	f.asked(z, "_sip._udp.example.com SRV", "a.example.com A")
	f.clock.Advance(10*time.Second - 1)
	if got := f.cached(uri); got != "UDP 192.0.2.1:5060" {
		t.Error(got)
	}
	f.clock.Advance(1)
	if got := f.cached(uri); got != "?" {
		t.Error(got)
	}
	f.look(uri)
	f.asked(z, "a.example.com A") // SRV still lives
	f.clock.Advance(90 * time.Second)
	f.look(uri)
	f.asked(z, "_sip._udp.example.com SRV", "a.example.com A")
	f.look("sip:zero.example.com:5060")
	if got := f.cached("sip:zero.example.com:5060"); got != "UDP 192.0.2.9:5060" {
		t.Errorf("an answer with TTL 0 serves at least those who wait: %s", got)
	}
	f.Flush()
	if s := f.Stats(); s.Queries != 0 || s.Records != 0 || f.cached(uri) != "?" {
		t.Errorf("after the flush: %+v", s)
	}
}

func TestServersThatFail(t *testing.T) {
	bad := newZone(t, 1, one)
	good := newZone(t, 2, one)
	for name, rcode := range map[string]int{"SERVFAIL": dns.RcodeServerFailure, "REFUSED": dns.RcodeRefused} {
		t.Run(name, func(t *testing.T) {
			bad.set(func() {
				bad.answer = func(_ dns.Question, req *dns.Msg, _ bool) *dns.Msg { return refuse(req, rcode) }
			})
			newFixture(t, nil, bad, good).want("sip:one.example.com:5060", "UDP 192.0.2.1:5060")
			bad.questions()
			f := newFixture(t, nil, bad)
			f.want("sip:one.example.com:5060", ErrServers.Error())
			f.want("sip:one.example.com:5061", ErrServers.Error()) // the same name
			f.asked(bad, "one.example.com A")
			f.clock.Advance(5 * time.Second)
			bad.set(func() { bad.answer = nil })
			f.want("sip:one.example.com:5060", "UDP 192.0.2.1:5060")
		})
	}
	t.Run("a server that cannot answer leaves it to others", func(t *testing.T) {
		bad.set(func() {
			bad.answer = func(_ dns.Question, req *dns.Msg, _ bool) *dns.Msg {
				m := new(dns.Msg).SetReply(req)
				m.Ns = parse(t, []string{"com. 60 IN NS ns.example.net."})
				return m
			}
		})
		newFixture(t, nil, bad, good).want("sip:one.example.com:5060", "UDP 192.0.2.1:5060")
	})
	t.Run("an old server without EDNS", func(t *testing.T) {
		bad.set(func() {
			bad.answer = func(_ dns.Question, req *dns.Msg, _ bool) *dns.Msg {
				if req.IsEdns0() != nil {
					return refuse(req, dns.RcodeFormatError)
				}
				return nil
			}
		})
		newFixture(t, nil, bad).want("sip:one.example.com:5060", "UDP 192.0.2.1:5060")
	})
	t.Run("NAPTR fails, the rest answers", func(t *testing.T) {
		bad.set(func() {
			bad.answer = func(q dns.Question, req *dns.Msg, _ bool) *dns.Msg {
				if q.Qtype == dns.TypeNAPTR {
					return refuse(req, dns.RcodeServerFailure)
				}
				return nil
			}
		})
		newFixture(t, nil, bad).want("sip:one.example.com", "UDP 192.0.2.1:5060")
	})
}

// A server that does not answer costs its time once; then others come first.
func TestSlowServer(t *testing.T) {
	slow, good := newZone(t, 1, one), newZone(t, 2, one, "two.example.com. 60 IN A 192.0.2.2")
	got := make(chan string, 10)
	slow.set(func() {
		slow.got = got
		slow.answer = func(dns.Question, *dns.Msg, bool) *dns.Msg { return silence() }
	})
	f := newFixture(t, nil, slow, good)
	done := make(chan string)
	go func() { done <- f.look("sip:one.example.com:5060") }()
	<-got
	f.clock.Advance(2 * time.Second)
	if s := <-done; s != "UDP 192.0.2.1:5060" {
		t.Error(s)
	}
	f.want("sip:two.example.com:5060", "UDP 192.0.2.2:5060") // without the slow one
	f.asked(slow, "one.example.com A")
	if s := f.Stats(); s.Timeouts != 1 || s.Questions != 3 {
		t.Errorf("%+v", s)
	}
	f.clock.Advance(restServer)
	slow.set(func() { slow.answer = nil })
	f.Flush()
	f.look("sip:one.example.com:5060")
	f.asked(slow, "one.example.com A")
}

func TestNobodyWaitsLongerThanItsContext(t *testing.T) {
	z := newZone(t, 1, one)
	hold, got := make(chan struct{}), make(chan string, 1)
	z.set(func() { z.hold, z.got = hold, got })
	f := newFixture(t, nil, z)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-got; cancel() }()
	if _, err := f.Lookup(ctx, query(t, "sip:one.example.com:5060"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(hold) // the answer serves the next one
	f.want("sip:one.example.com:5060", "UDP 192.0.2.1:5060")
	f.asked(z, "one.example.com A")
}

func TestTruncatedAnswerIsAskedForOverTCP(t *testing.T) {
	z := newZone(t, 1)
	for i := range 15 {
		z.add(t, fmt.Sprintf("_sip._udp.example.com. 60 IN SRV %d 0 5060 %s%d.example.com.", i, strings.Repeat("long", 15), i),
			fmt.Sprintf("%s%d.example.com. 60 IN A 192.0.2.%d", strings.Repeat("long", 15), i, i))
	}
	z.set(func() {
		z.answer = func(q dns.Question, req *dns.Msg, overTCP bool) *dns.Msg {
			if overTCP || q.Qtype != dns.TypeSRV {
				return nil
			}
			m := new(dns.Msg).SetReply(req)
			m.Truncated = true
			return m
		}
	})
	f := newFixture(t, nil, z)
	if got := f.look("sip:example.com;transport=udp"); strings.Count(got, "UDP") != 15 {
		t.Errorf("got %s", got)
	}
	s := f.Stats()
	z.set(func() {
		if z.tcp != 1 || s.Truncated != 1 {
			t.Errorf("%d over TCP, %+v", z.tcp, s)
		}
	})
}

// What is no answer to the question is not taken for one.
func TestStrayAnswersAreIgnored(t *testing.T) {
	for name, forge := range map[string]func(m *dns.Msg){
		"another id":       func(m *dns.Msg) { m.Id++ },
		"another question": func(m *dns.Msg) { m.Question[0].Name = "two.example.com." },
		"another type":     func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
		"no question":      func(m *dns.Msg) { m.Question = nil },
		"a question":       func(m *dns.Msg) { m.Response = false },
	} {
		t.Run(name, func(t *testing.T) {
			z := newZone(t, 1, one)
			z.set(func() {
				z.before = func(w dns.ResponseWriter, req *dns.Msg) {
					w.Write([]byte("rubbish"))
					m := new(dns.Msg).SetReply(req)
					m.Answer = parse(t, []string{"one.example.com. 60 IN A 192.0.2.66"})
					forge(m)
					w.WriteMsg(m)
				}
			})
			newFixture(t, nil, z).want("sip:one.example.com:5060", "UDP 192.0.2.1:5060")
		})
	}
}

// Without any server there are two rounds of questions, not three.
func TestSilenceEndsSoon(t *testing.T) {
	z := newZone(t, 1, one)
	got := make(chan string, 10)
	z.set(func() {
		z.got = got
		z.answer = func(dns.Question, *dns.Msg, bool) *dns.Msg { return silence() }
	})
	f := newFixture(t, func(c *Config) { c.Attempts = 1 }, z)
	done := make(chan string)
	go func() { done <- f.look("sip:one.example.com") }()
	<-got // NAPTR
	f.clock.Advance(2 * time.Second)
	for range 3 { // SRV for UDP, TCP and TLS
		<-got
	}
	f.clock.Advance(2 * time.Second)
	if s := <-done; s != ErrServers.Error() {
		t.Error(s)
	}
	f.want("sip:one.example.com", ErrServers.Error())
	if n := len(z.questions()); n != 4 {
		t.Errorf("%d questions", n)
	}
}

func TestClosedResolverAsksNoMore(t *testing.T) {
	z := newZone(t, 1, one)
	got := make(chan string, 1)
	z.set(func() {
		z.got = got
		z.answer = func(dns.Question, *dns.Msg, bool) *dns.Msg { return silence() }
	})
	f := newFixture(t, nil, z)
	go func() { <-got; f.Close() }()
	f.want("sip:one.example.com:5060", ErrServers.Error())
}

func TestOneQuestionForAllWhoWait(t *testing.T) {
	z := newZone(t, 1, one)
	hold, got := make(chan struct{}), make(chan string, 10)
	z.set(func() { z.hold, z.got = hold, got })
	f := newFixture(t, nil, z)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if s := f.look("sip:one.example.com:5060"); s != "UDP 192.0.2.1:5060" {
				t.Error(s)
			}
		})
	}
	<-got
	close(hold)
	wg.Wait()
	f.asked(z, "one.example.com A")
}

// RFC 8767: an old answer is better than none while the servers are down.
func TestOldAnswersServeWhileServersAreDown(t *testing.T) {
	z := newZone(t, 1, one)
	f := newFixture(t, func(c *Config) { c.Stale = 10 * time.Minute }, z)
	const uri = "sip:one.example.com:5060"
	f.look(uri)
	z.set(func() {
		z.answer = func(_ dns.Question, req *dns.Msg, _ bool) *dns.Msg { return refuse(req, dns.RcodeServerFailure) }
	})
	f.clock.Advance(time.Minute)
	z.questions()
	f.want(uri, "UDP 192.0.2.1:5060")
	f.asked(z, "one.example.com A")
	f.clock.Advance(29 * time.Second)
	f.want(uri, "UDP 192.0.2.1:5060")
	f.asked(z) // the servers have a rest
	if s := f.Stats(); s.Stale != 1 {
		t.Errorf("%+v", s)
	}
	f.clock.Advance(10 * time.Minute)
	f.want(uri, ErrServers.Error())

	f = newFixture(t, func(c *Config) { c.Stale = -1 }, z)
	z.set(func() { z.answer = nil })
	f.look(uri)
	z.set(func() {
		z.answer = func(_ dns.Question, req *dns.Msg, _ bool) *dns.Msg { return refuse(req, dns.RcodeServerFailure) }
	})
	f.clock.Advance(time.Minute)
	f.want(uri, ErrServers.Error())
}

// What is asked for again and again survives what was asked for once, also
// later on; what nobody asks for any more makes room.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	var c cache[int]
	c.init()
	c.limit(80)
	used := func() (n int) {
		for i := range 20 {
			if _, ok := c.get([]byte{'u', byte(i)}); ok {
				n++
			}
		}
		return n
	}
	for i := range 20 {
		c.put(string([]byte{'u', byte(i)}), i, false)
	}
	for round := range 50 {
		if n := used(); n != 20 {
			t.Fatalf("round %d: %d of 20 are left", round, n)
		}
		for i := range 200 {
			c.put(string([]byte{'x', byte(round), byte(i)}), i, false)
			c.put(string([]byte{'n', byte(round), byte(i)}), i, true)
		}
	}
	if n := c.len(); n != 100 {
		t.Errorf("%d items", n)
	}
	for i := range 200 { // many that were asked for twice
		c.put(string([]byte{'z', byte(i)}), i, false)
		c.get([]byte{'z', byte(i)})
		if n := used(); n != 20 {
			t.Fatalf("%d of 20 are left", n)
		}
	}
	for i := range 200 { // others are in use now
		c.put(string([]byte{'y', byte(i)}), i, false)
		c.get([]byte{'y', byte(i)})
	}
	if n := used(); n == 20 {
		t.Error("what nobody asked for is still there")
	}
	c.put("both", 1, true)
	c.put("both", 2, false) // the name exists now
	if v, _ := c.get([]byte("both")); v != 2 || c.rooms[1].young.Len()+c.rooms[1].proven.Len() != 19 {
		t.Errorf("%d", v)
	}
}

// A server that knows only its own zone tells no more than the alias.
func TestAliasIntoAnotherZone(t *testing.T) {
	z := newZone(t, 1, "c.example.net. 50 IN A 192.0.2.1")
	z.set(func() {
		z.answer = func(q dns.Question, req *dns.Msg, _ bool) *dns.Msg {
			if q.Name == "c.example.net." {
				return nil
			}
			m := new(dns.Msg).SetReply(req)
			m.Answer = parse(t, []string{q.Name + " 20 IN CNAME c.example.net."})
			return m
		}
	})
	f := newFixture(t, nil, z)
	f.want("sip:a.example.com:5060", "UDP 192.0.2.1:5060")
	f.asked(z, "a.example.com A", "c.example.net A")
	if d := f.Dump(1); d[0].TTL != 20*time.Second {
		t.Errorf("it lives for %v", d[0].TTL)
	}
}

// With an old answer at hand nobody waits until all servers have had their
// time.
func TestOldAnswersServeWhileServersAreSlow(t *testing.T) {
	z := newZone(t, 1, one)
	f := newFixture(t, func(c *Config) { c.Attempts = 5 }, z)
	const uri = "sip:one.example.com:5060"
	f.look(uri)
	got := make(chan string, 10)
	z.set(func() {
		z.got = got
		z.answer = func(dns.Question, *dns.Msg, bool) *dns.Msg { return silence() }
	})
	f.clock.Advance(time.Minute)
	done := make(chan string)
	go func() { done <- f.look(uri) }()
	<-got
	f.clock.Advance(2 * time.Second)
	if s := <-done; s != "UDP 192.0.2.1:5060" {
		t.Error(s)
	}
	f.want(uri, "UDP 192.0.2.1:5060")
}

// Neither names that do not exist nor those that all exist (a wildcard) push
// out what is in use.
func TestMadeUpNamesDoNotEvictGoodOnes(t *testing.T) {
	z := newZone(t, 1)
	var good []string
	for i := range 40 {
		name := fmt.Sprintf("good%d.example.com", i)
		z.add(t, fmt.Sprintf("%s. 3600 IN A 192.0.2.%d", name, i))
		good = append(good, "sip:"+name+":5060")
	}
	z.set(func() {
		z.answer = func(q dns.Question, req *dns.Msg, _ bool) *dns.Msg {
			if !strings.HasSuffix(q.Name, ".wild.example.com.") {
				return nil
			}
			m := new(dns.Msg).SetReply(req)
			m.RecursionAvailable = true
			m.Answer = parse(t, []string{q.Name + " 3600 IN A 192.0.2.99"})
			return m
		}
	})
	f := newFixture(t, func(c *Config) { c.MaxEntries = 100 }, z)
	for _, g := range good {
		f.look(g)
		f.look(g)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 500 {
				f.look(fmt.Sprintf("sip:x%d-%d.example.com:5060", i, j))
				f.look(fmt.Sprintf("sip:x%d-%d.wild.example.com:5060", i, j))
			}
		})
	}
	wg.Wait()
	if s := f.Stats(); s.Queries > 125 || s.Records > 125 {
		t.Errorf("kept more than allowed: %+v", s)
	}
	for _, g := range good {
		if f.cached(g) == "?" {
			t.Errorf("%s was pushed out", g)
		}
	}
}

func TestNamesThatAreNone(t *testing.T) {
	z := newZone(t, 1, "under_score.example.com. 60 IN A 192.0.2.1", "single. 60 IN A 192.0.2.2", "3com. 60 IN A 192.0.2.3")
	f := newFixture(t, nil, z)
	for _, host := range []string{
		"", ".", "..", "a..b", "-a.com", "a-.com", "a-", "1.2.3.999", "1.2.3", "a b", "a/b", "a.com..", "é.com", "a\x00b",
		strings.Repeat("a", 64) + ".com", strings.Repeat("abcdefg.", 32) + "com",
	} {
		if _, err, known := f.Cached(&Query{Host: []byte(host)}, nil); err != ErrName || !known {
			t.Errorf("%q: %v, %v", host, err, known)
		}
		if _, err := f.Lookup(context.Background(), &Query{Host: []byte(host)}, nil); err != ErrName {
			t.Errorf("%q: %v", host, err)
		}
	}
	f.asked(z)
	f.want("sip:single:5060", "UDP 192.0.2.2:5060")
	f.want("sip:3com:5060", "UDP 192.0.2.3:5060")
	got, err := f.Lookup(context.Background(), &Query{Host: []byte("Under_Score.example.com."), Port: 5060}, nil)
	if show(got, err) != "UDP 192.0.2.1:5060" || got[0].Host != "under_score.example.com" {
		t.Errorf("%v %v", got, err)
	}
}

func TestHostsFile(t *testing.T) {
	z := newZone(t, 1, everything...)
	file := filepath.Join(t.TempDir(), "hosts")
	write(t, file, "# names\n192.0.2.50 Example.com www # more\n2001:db8::50 example.com\nrubbish\nfe80::1%eth0 example.com\n")
	f := newFixture(t, func(c *Config) {
		c.Hosts = file
		c.Supports = func(core.Proto, bool) bool { return true }
	}, z)
	f.want("sip:example.com", "UDP 192.0.2.50:5060, UDP [2001:db8::50]:5060")
	f.want("sips:www:5070", "TLS 192.0.2.50:5070")
	f.want("sip:localhost;transport=tcp", "TCP 127.0.0.1:5060, TCP [::1]:5060")
	f.asked(z)
	write(t, file, "192.0.2.51 example.com\n192.0.2.53 tls.example.com")
	f.clock.Advance(hostsTTL)
	f.want("sip:example.com", "UDP 192.0.2.51:5060")
	write(t, file, "192.0.2.53 tls.example.com\n")
	f.clock.Advance(hostsTTL)
	f.want("sip:example.com", "TLS 192.0.2.53:5071") // a server's address
}

func TestResolvConf(t *testing.T) {
	a, b := newZone(t, 1, one), newZone(t, 2, "one.example.com. 1 IN A 192.0.2.2")
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, file, "nameserver "+a.addr+"\n")
	f := newFixture(t, func(c *Config) { c.ResolvConf = file })
	f.want("sip:one.example.com:5060", "UDP 192.0.2.1:5060")
	write(t, file, "# changed\nsearch x.y\nnameserver "+b.addr+"\n")
	f.clock.Advance(time.Minute)
	f.want("sip:one.example.com:5060", "UDP 192.0.2.2:5060")
	for text, want := range map[string]string{
		"nameserver 192.0.2.1\nnameserver ::1\nnameserver x\n": "192.0.2.1:53 [::1]:53",
		"": "127.0.0.1:53", "search example.com\nnameserver\n": "127.0.0.1:53",
	} {
		if got := strings.Join(parseResolvConf(text), " "); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestServerAddr(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "192.0.2.1:54": "192.0.2.1:54", "::1": "[::1]:53", "[::1]": "[::1]:53", "[::1]:54": "[::1]:54",
		"dns.example.com": "", "192.0.2.1:0": "", "": "",
	} {
		if got, err := ServerAddr(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestDump(t *testing.T) {
	z := newZone(t, 1, one)
	f := newFixture(t, nil, z)
	f.look("sip:one.example.com:5060")
	f.look("sips:none.example.com:5061;transport=tcp")
	f.clock.Advance(10 * time.Second)
	list := f.Dump(10)
	if len(list) != 2 || list[0].Host != "none.example.com" || list[0].Err != ErrNotFound || !list[0].Secure || list[0].Transport != core.TCP ||
		list[1].TTL != 50*time.Second || show(list[1].Targets, nil) != "UDP 192.0.2.1:5060" {
		t.Errorf("%+v", list)
	}
	if n := len(f.Dump(1)); n != 1 {
		t.Errorf("%d entries", n)
	}
}

func TestCachedDoesNotAllocate(t *testing.T) {
	f, q1, q4 := benchFixture(t)
	buf := make([]Target, 0, MaxTargets)
	f.Fail(core.UDP, addr("192.0.2.2:5060"))
	missing := query(t, "sip:nobody.example.com:5060")
	f.look("sip:nobody.example.com:5060")
	for _, q := range []*Query{q1, q4, missing, query(t, "sip:192.0.2.1")} {
		if n := testing.AllocsPerRun(100, func() { f.Cached(q, buf) }); n != 0 {
			t.Errorf("%s: %v allocations", q.Host, n)
		}
	}
}

func benchFixture(t testing.TB) (f *fixture, q1, q4 *Query) {
	z := newZone(t, 1, one)
	for i := range 4 {
		z.add(t, fmt.Sprintf("_sip._udp.four.example.com. 60 IN SRV 10 %d 5060 s%d.example.com.", i*10, i),
			fmt.Sprintf("s%d.example.com. 60 IN A 192.0.2.%d", i, i+1))
	}
	f = newFixture(t, func(c *Config) { c.Rand = nil }, z)
	f.look("sip:one.example.com:5060")
	f.look("sip:four.example.com;transport=udp")
	return f, query(t, "sip:one.example.com:5060"), query(t, "sip:four.example.com;transport=udp")
}

func BenchmarkCachedOneTarget(b *testing.B) {
	f, q, _ := benchFixture(b)
	var few [MaxTargets]Target
	b.ReportAllocs()
	for b.Loop() {
		if list, _, _ := f.Cached(q, few[:0]); len(list) != 1 {
			b.Fatal(list)
		}
	}
}

func BenchmarkCachedFourTargets(b *testing.B) {
	f, _, q := benchFixture(b)
	var few [MaxTargets]Target
	b.ReportAllocs()
	for b.Loop() {
		if list, _, _ := f.Cached(q, few[:0]); len(list) != 4 {
			b.Fatal(list)
		}
	}
}
