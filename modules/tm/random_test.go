package tm_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sipr/core/clock"
	"sipr/core/coretest/sim"
)

// A network that loses, doubles and reorders, between callers and callees that
// follow RFC 3261. Whatever happens, each call ends with one final response (or
// with several 2xx) and nothing is left in the router.
func TestRandomCalls(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newWorld(t, seed).run() })
	}
}

type world struct {
	*rig
	rnd     *rand.Rand
	now     time.Duration
	pending []flying
	calls   []*caller
	byCall  map[string]*caller
	callees map[string]*callee // by address and Via
}

type flying struct {
	at       time.Duration
	from, to string
	text     string
}

// caller is one INVITE client transaction.
type caller struct {
	n        int
	invite   string
	next     time.Duration // Timer A
	interval time.Duration
	heard    bool
	canceled time.Duration // when it will cancel, 0 never
	finals   map[string]bool
}

// callee is one INVITE server transaction.
type callee struct {
	inv      sim.Packet
	final    int
	at       time.Duration // when it will answer
	next     time.Duration
	interval time.Duration
	until    time.Duration
	acked    bool
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{rig: start(t, `function request_route()
  if method == "ACK" then t_relay() return end
  if ruri.user == "fork" then append_branch("sip:c@192.0.2.3") append_branch("sip:d@192.0.2.4") end
  if ruri.user == "nap" then nap() end
  t_on_failure("f")
  t_on_reply("r")
  record_route()
  t_relay()
end
function r() nap() end
function f()
  nap()
  if t_check_status("486|5xx") then ruri.host = "192.0.2.3" t_relay() end
end`, `modparam("tm", "fr_inv_timer", 20000)`), rnd: rand.New(rand.NewPCG(seed, 1)), byCall: map[string]*caller{}, callees: map[string]*callee{}}
}

// send lets a message fly, or not, or twice, for 0 to 200 ms.
func (w *world) send(from, to, text string) {
	for range 1 + w.rnd.IntN(10)/9 {
		if w.rnd.IntN(100) >= 20 {
			w.pending = append(w.pending, flying{w.now + time.Duration(w.rnd.IntN(200))*ms, from, to, text})
		}
	}
}

func (w *world) run() {
	for i := range 150 {
		user := []string{"bob", "fork", "nap"}[w.rnd.IntN(3)]
		c := &caller{n: i, interval: 500 * ms, finals: map[string]bool{}, next: time.Duration(w.rnd.IntN(20000)) * ms}
		c.invite = strings.ReplaceAll(request("INVITE", fmt.Sprint("z9hG4bK", i), "sip:"+user+"@192.0.2.2"), "call-1", fmt.Sprint("call-", i))
		if w.rnd.IntN(3) == 0 {
			c.canceled = c.next + time.Duration(w.rnd.IntN(8000))*ms
		}
		w.calls = append(w.calls, c)
		w.byCall[fmt.Sprint("call-", i)] = c
	}
	for w.now < 160*time.Second {
		w.now += clock.Tick
		w.Clock.Advance(clock.Tick)
		w.tm.Settled()
		w.deliver()
		w.callers()
		w.answers()
		for _, p := range w.Sent() {
			w.send("", p.To(), p.Text)
		}
	}
	for _, c := range w.calls {
		if len(c.finals) == 0 {
			w.t.Errorf("call %d has no final response", c.n)
		}
		if len(c.finals) > 1 {
			for f := range c.finals {
				if !strings.HasPrefix(f, "200") {
					w.t.Errorf("call %d has final responses %v", c.n, c.finals)
					break
				}
			}
		}
	}
	w.drained()
}

func (w *world) deliver() {
	keep := w.pending[:0]
	var due []flying
	for _, f := range w.pending {
		if f.at <= w.now {
			due = append(due, f)
		} else {
			keep = append(keep, f)
		}
	}
	w.pending = keep
	for _, f := range due {
		switch {
		case f.to == "":
			w.Receive(f.from, f.text)
		case f.to == alice:
			w.atCaller(f.text)
		default:
			w.atCallee(f.to, f.text)
		}
	}
}

func (w *world) callers() {
	for _, c := range w.calls {
		if !c.heard && len(c.finals) == 0 && c.next <= w.now && c.interval <= 16*time.Second {
			w.send(alice, "", c.invite)
			c.next, c.interval = w.now+c.interval, 2*c.interval
		}
		if c.canceled != 0 && c.heard && len(c.finals) == 0 && w.now >= c.canceled {
			w.send(alice, "", strings.ReplaceAll(strings.Replace(c.invite, "INVITE sip", "CANCEL sip", 1), "1 INVITE", "1 CANCEL"))
			c.canceled += time.Second
			if w.rnd.IntN(3) == 0 {
				c.canceled = 0
			}
		}
	}
}

func (w *world) atCaller(text string) {
	c := w.byCall[header(text, "Call-ID")]
	if header(text, "CSeq") != "1 INVITE" || !strings.HasPrefix(text, "SIP/2.0") {
		return
	}
	code := short(text)
	if code < "200" {
		c.heard = true
		return
	}
	c.heard = true
	c.finals[code+" "+header(text, "To")] = true
	ack := strings.ReplaceAll(strings.Replace(c.invite, "INVITE sip", "ACK sip", 1), "1 INVITE", "1 ACK")
	ack = strings.Replace(ack, "To: <sip:bob@home.example>", "To: "+header(text, "To"), 1)
	if code < "300" {
		ack = strings.Replace(ack, ";branch=z9hG4bK", ";branch=z9hG4bKack", 1)
	}
	w.send(alice, "", ack)
}

func (w *world) atCallee(addr, text string) {
	key := addr + header(text, "Via")
	c := w.callees[key]
	switch {
	case strings.HasPrefix(text, "INVITE"):
		if c == nil {
			p := sim.Packet{Text: text}
			p.Flow.Remote = w.addr(addr)
			c = &callee{inv: p, final: []int{200, 200, 486, 404, 503, 603, 0}[w.rnd.IntN(7)], at: w.now + time.Duration(w.rnd.IntN(6000))*ms, interval: 500 * ms}
			if w.rnd.IntN(10) == 0 {
				c.final = -1 // dead
			}
			w.callees[key] = c
		}
		if c.final >= 0 && c.until == 0 {
			w.send(addr, "", answer(c.inv, 180))
		}
	case strings.HasPrefix(text, "CANCEL") && c != nil && c.final >= 0:
		p := c.inv
		p.Text = text
		w.send(addr, "", answer(p, 200))
		if c.until == 0 {
			c.final, c.at = 487, w.now
		}
	case strings.HasPrefix(text, "ACK"):
		if c != nil {
			c.acked = true
		}
		for k, o := range w.callees { // an ACK to a 2xx has a branch of its own
			if strings.HasPrefix(k, addr) && o.final == 200 && header(o.inv.Text, "Call-ID") == header(text, "Call-ID") {
				o.acked = true
			}
		}
	}
}

func (w *world) answers() {
	for _, c := range w.callees {
		if c.final <= 0 || w.now < c.at || c.acked {
			continue
		}
		if c.until == 0 {
			c.until, c.next = w.now+32*time.Second, w.now
		}
		if w.now >= c.next && w.now < c.until {
			w.send(c.inv.To(), "", answer(c.inv, c.final))
			c.next, c.interval = w.now+c.interval, min(2*c.interval, 4*time.Second)
		}
	}
}
