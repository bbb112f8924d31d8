package test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMutations sends many damaged messages over UDP and TCP. Nothing crashes,
// others are served meanwhile, and what was taken is given back. The long form
// sends them at a steady rate and watches the memory.
func TestMutations(t *testing.T) {
	count, limit, rate := 100_000, 20*time.Second, 0
	if testing.Short() {
		count = 5_000
	}
	duration := long(t)
	if duration > 0 {
		rate = 1700
		count, limit = rate*int(duration.Seconds()), 2*duration
		// With the router's own 300 the garbage of minutes hides what is alive.
		t.Setenv("GOGC", "10")
	}
	r := start(t, setup{level: "error", more: trust + `modparam("tm", "fr_timer", 500)
modparam("tm", "fr_inv_timer", 1000)
modparam("tm", "retr_timer1", 10)
modparam("tm", "retr_timer2", 50)
modparam("tm", "t4", 50)
modparam("core", "tcp_message_timeout", 1)
`})
	bob := phone(t, r, "bob")
	go bob.discard()
	ping(t, r)
	goroutines, heap := r.number("core.ps", "goroutines"), r.number("core.info", "heap")

	f := newFlood(t, r)
	watcher := listenUDP(t, victimHost)
	before := r.received()
	begin, sent := time.Now(), 0
	slowest, pings := time.Duration(0), 0
	var samples []memory
	for ; sent < count && time.Since(begin) < limit; sent++ {
		f.send(sent)
		if sent%100 != 0 {
			continue
		}
		d := watcher.ping(r)
		pings, slowest = pings+1, max(slowest, d)
		if d > 2*time.Second {
			t.Errorf("OPTIONS took %s", d)
		}
		// What the router has no time to read would be lost unseen.
		for end := time.Now().Add(200 * time.Millisecond); r.received()-before < int64(sent)*9/10 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(sent) * time.Second / time.Duration(rate))))
		}
		if at := time.Since(begin); duration > 0 && at > time.Duration(len(samples))*time.Second {
			samples = append(samples, r.memory(at))
		}
	}
	f.close()
	t.Logf("%d messages in %s; %d OPTIONS, the slowest in %s", sent, time.Since(begin).Round(time.Millisecond), pings, slowest.Round(time.Millisecond))
	if n := r.received() - before; n < int64(sent)*8/10 { // a part is meant to be no message at all
		t.Errorf("only %d of %d came through", n, sent)
	}
	if sent < count/4 || rate > 0 && sent < count {
		t.Errorf("only %d messages in %s", sent, limit)
	}
	if duration > 0 {
		steady(t, samples, duration)
	}
	eventually(t, "all transactions ended", func() bool { return r.number("tm.stats", "current") == 0 })
	eventually(t, "goroutines ended", func() bool { return r.number("core.ps", "goroutines") <= goroutines+10 })
	if n := r.number("core.ps", "requests_in_hand"); n != 0 {
		t.Errorf("%d requests in hand", n)
	}
	// The heap holds garbage of up to three times of what is alive.
	if now := r.number("core.info", "heap"); now > heap+200<<20 {
		t.Errorf("heap grew from %d to %d MB", heap>>20, now>>20)
	}
	r.try("ctl", "registrar.rm", "bob@example.com")
	alice, callee := phone(t, r, "alice"), phone(t, r, "bob")
	a, _ := talk(r, alice, callee)
	a.bye(callee)
}

// flood sends damaged messages.
type flood struct {
	t         *testing.T
	r         *router
	rng       *rand.Rand
	messages  []string // what is damaged
	udp, near *peer    // near is trusted
	tcp       *peer    // nil between two connections
}

func newFlood(t *testing.T, r *router) *flood {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	f := &flood{t: t, r: r, rng: rand.New(rand.NewPCG(seed, 1)), udp: listenUDP(t, phoneHost), near: listenUDP(t, trustedHost)}
	f.messages = seeds(r, f.udp)
	go f.udp.discard()
	go f.near.discard()
	return f
}

// send sends the nth message.
func (f *flood) send(n int) {
	f.t.Helper()
	text := mutate(f.rng, f.messages[f.rng.IntN(len(f.messages))], f.messages)
	switch {
	case n%10 == 0: // over TCP, a new connection once in a while
		if n%500 == 0 {
			f.close()
		}
		if f.tcp == nil {
			f.tcp = dialTCP(f.t, f.r, phoneHost)
			go f.tcp.discard()
		}
		if f.tcp.sendRaw(f.r, strings.ReplaceAll(text, "/UDP", "/TCP")) != nil {
			f.close()
		}
	case n%10 == 1 && strings.HasPrefix(text, "REGISTER"):
		f.near.sendRaw(f.r, text)
	default:
		f.udp.sendRaw(f.r, text)
	}
}

// close ends the connection.
func (f *flood) close() {
	if f.tcp != nil {
		f.tcp.close()
		f.tcp = nil
	}
}

// memory is what the router's process holds at a time of a test.
type memory struct {
	at                    time.Duration
	rss, heap, goroutines int64 // rss and heap in bytes; rss is 0 where the system does not tell
}

func (r *router) memory(at time.Duration) memory {
	r.t.Helper()
	m := memory{at: at, heap: r.number("core.info", "heap"), goroutines: r.number("core.ps", "goroutines")}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if _, rest, ok := strings.Cut(string(status), "VmRSS:"); ok {
		fmt.Sscan(rest, &m.rss)
		m.rss <<= 10
	}
	return m
}

// least returns the least of each value between two times. Garbage comes and
// goes; what leaks stays in the least, too.
func least(samples []memory, from, to time.Duration) memory {
	l := memory{from, math.MaxInt64, math.MaxInt64, math.MaxInt64}
	for _, m := range samples {
		if m.at >= from && m.at < to {
			l.rss, l.heap, l.goroutines = min(l.rss, m.rss), min(l.heap, m.heap), min(l.goroutines, m.goroutines)
		}
	}
	return l
}

// steady compares the three tenths of a test that follow its warm-up, which is
// the first, to its last three. Caches that fill meanwhile have some room.
func steady(t *testing.T, samples []memory, d time.Duration) {
	t.Helper()
	tenth := d / 10
	for i := range time.Duration(10) {
		m := least(samples, i*tenth, (i+1)*tenth)
		t.Logf("from %s: RSS %.1f MB, heap %.1f MB, %d goroutines", m.at, float64(m.rss)/(1<<20), float64(m.heap)/(1<<20), m.goroutines)
	}
	first, last := least(samples, tenth, 4*tenth), least(samples, 7*tenth, 2*d)
	if last.rss > first.rss+16<<20 || last.heap > first.heap+8<<20 || last.goroutines > first.goroutines+20 {
		t.Errorf("the router grew from %+v to %+v", first, last)
	}
}

// received returns how many messages the router has read.
func (r *router) received() int64 {
	r.t.Helper()
	var m map[string]int64
	r.call(&m, "core.stats", "transport.received")
	return m["transport.received"]
}

// discard reads what comes, so that it does not pile up.
func (p *peer) discard() {
	for range p.in {
	}
}

// seeds are valid messages of many kinds.
func seeds(r *router, p *peer) (all []string) {
	self := r.addr.String()
	for _, q := range []*request{
		p.request("OPTIONS", "sip:"+self, foreign, "sip:"+self, "Accept: application/sdp", "Supported: path, gruu"),
		p.request("REGISTER", "sip:example.com", "sip:bob@example.com", "sip:bob@example.com", "Contact: <sip:bob@192.0.2.9:5060;transport=udp>;q=0.5;expires=60, \"B\" <sip:bob@192.0.2.10>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\";reg-id=1", "Path: <sip:192.0.2.3;lr>", "Supported: path", "Expires: 60"),
		p.request("REGISTER", "sip:example.com", "sip:bob@example.com", "sip:bob@example.com", "Contact: *", "Expires: 0"),
		p.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com", `Authorization: Digest username="alice", realm="example.com", nonce="abc", uri="sip:example.com", response="00000000000000000000000000000000", algorithm=MD5, cnonce="1", qop=auth, nc=00000001`),
		p.request("INVITE", "sip:bob@example.com", foreign, "sip:bob@example.com", "Record-Route: <sip:192.0.2.1;lr>", "Subject: hello", "Content-Type: application/sdp"),
		p.request("INVITE", "sip:bob@example.com;user=phone?subject=x", "sip:alice@example.com", "sip:bob@example.com", `Proxy-Authorization: Digest username="alice", realm="example.com", nonce="abc", uri="sip:bob@example.com", response="0"`),
		p.request("SUBSCRIBE", "sip:bob@example.com", foreign, "sip:bob@example.com", "Event: presence", "Expires: 600"),
		p.request("MESSAGE", "sip:bob@example.com", foreign, "sip:bob@example.com", "Route: <sip:"+self+";lr;mac=0123456789abcdef>", "Content-Type: text/plain"),
		p.request("CANCEL", "sip:bob@example.com", foreign, "sip:bob@example.com", "Reason: SIP;cause=200"),
		p.request("ACK", "sip:bob@example.com", foreign, "sip:bob@example.com"),
		p.request("BYE", "sip:bob@[2001:db8::1]:5060;lr", foreign, "sip:bob@example.com", "Route: <sip:"+self+";lr;r2=on>, <sip:"+self+";transport=tcp;lr;r2=on>"),
	} {
		if q.method == "INVITE" || q.method == "MESSAGE" {
			q.body = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
		}
		text := q.text(p)
		all = append(all, text, compact.Replace(text))
	}
	for _, code := range []int{100, 180, 200, 302, 401, 503} {
		all = append(all, fmt.Sprintf("SIP/2.0 %d X\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKsl0123456789abcdef\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKx;rport\r\n"+
			"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:x@%s>\r\nContent-Length: 0\r\n\r\n", code, self, p.addr, p.addr))
	}
	return all
}

var compact = strings.NewReplacer("Via:", "v:", "From:", "f:", "To:", "t:", "Call-ID:", "i:", "Contact:", "m:", "Content-Length:", "l:", "Supported:", "k :", "Subject:", "s:", ": ", ":\r\n ")

// mutate damages a message in one to four ways.
func mutate(rng *rand.Rand, text string, others []string) string {
	b := []byte(text)
	// Most messages get identifiers of their own, so that they are not taken
	// for retransmissions.
	if rng.IntN(4) > 0 {
		b = bytes.ReplaceAll(b, []byte("branch=z9hG4bK"), fmt.Appendf(nil, "branch=z9hG4bK%x", rng.Uint64()))
	}
	for range 1 + rng.IntN(4) {
		if len(b) == 0 {
			break
		}
		i := rng.IntN(len(b))
		j := i + rng.IntN(min(len(b)-i, 64)+1)
		switch rng.IntN(13) {
		case 0, 1:
			b[i] ^= 1 << rng.IntN(8)
		case 2:
			b = b[:i]
		case 3: // twice
			b = append(b[:j:j], append(bytes.Clone(b[i:j]), b[j:]...)...)
		case 4: // gone
			b = append(b[:i:i], b[j:]...)
		case 5: // lines change places
			lines := bytes.Split(b, []byte("\r\n"))
			x, y := rng.IntN(len(lines)), rng.IntN(len(lines))
			lines[x], lines[y] = lines[y], lines[x]
			b = bytes.Join(lines, []byte("\r\n"))
		case 6: // a huge number
			numbers := []string{"4294967296", "99999999999999999999", "-1", "2147483648", "65536", "0", "00000000000000000001"}
			for k := i; k < len(b); k++ {
				if b[k] >= '0' && b[k] <= '9' {
					b = append(b[:k:k], append([]byte(numbers[rng.IntN(len(numbers))]), b[k+1:]...)...)
					break
				}
			}
		case 7:
			b = append(b[:i:i], append(make([]byte, 1+rng.IntN(8)), b[i:]...)...)
		case 8: // structure in the wrong place
			bits := []string{"\r\n", "\r\n\r\n", "\n", "\r", ",", ";", "<", ">", "\"", "\\", "@", ":", "%", "%0", "%00", "=", "[", "]", "sip:", "\xff\xfe", "\xc3\x28", "(", ")", " "}
			b = append(b[:i:i], append([]byte(bits[rng.IntN(len(bits))]), b[i:]...)...)
		case 9: // very long
			b = append(b[:i:i], append(bytes.Repeat([]byte{b[i]}, 1+rng.IntN(2000)), b[i:]...)...)
		case 10: // a piece of another one
			o := others[rng.IntN(len(others))]
			k := rng.IntN(len(o))
			b = append(b[:i:i], append([]byte(o[k:min(len(o), k+200)]), b[j:]...)...)
		case 11: // many header fields
			line := []byte("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n")
			if k := bytes.Index(b, []byte("\r\n")); k >= 0 {
				b = append(b[:k+2:k+2], append(bytes.Repeat(line, 1+rng.IntN(150)), b[k+2:]...)...)
			}
		case 12: // two messages in one
			b = append(b, others[rng.IntN(len(others))]...)
		}
	}
	if len(b) > 65000 {
		b = b[:65000]
	}
	return string(b)
}
