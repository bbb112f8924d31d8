package tm_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"sipr/core/clock"
	"sipr/core/coretest/sim"
)

// A network that loses, doubles, delays and reorders, between callers and
// callees that follow RFC 3261. Whatever happens, each INVITE ends with one
// final response (or with several 2xx), each other request with one or with
// silence, and nothing is left in the router. The seed makes a run repeatable.
func TestRandomCalls(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, 20)
			w.live(30*time.Second, 150*ms)
		})
	}
}

// TestRandomDay is 24 hours of it; without SIPR_LONG=1, some minutes.
func TestRandomDay(t *testing.T) {
	length, every := 2*time.Minute, 500*ms
	if os.Getenv("SIPR_LONG") != "" {
		length, every = 24*time.Hour, time.Second
	}
	w := newWorld(t, 24, 5)
	w.live(length, every)
	t.Logf("%d calls and %d other requests in %v: %v", w.calls, w.others, length, w.ends)
}

// patience is when everything about a request is over for its caller: up to
// twelve branches may ring for 20 s, one after the other.
const (
	patience   = 300 * time.Second
	calleeLife = 125 * time.Second
)

type world struct {
	*rig
	rnd           *rand.Rand
	loss          int // percent
	now           time.Duration
	agenda        agenda
	n             int
	callers       map[string]*caller // by Call-ID
	callees       map[string]*callee // by address and Via
	calls, others int
	ends          map[string]int
	most          int // transactions at once
}

// caller is one client transaction.
type caller struct {
	w        *world
	id       string
	invite   bool
	request  string
	interval time.Duration
	heard    bool
	given    bool // up: nobody has answered
	finals   map[string]bool
}

// callee is one server transaction.
type callee struct {
	w        *world
	inv      sim.Packet
	final    int // 0: rings for ever; -1: dead
	answered bool
	until    time.Duration
	interval time.Duration
	acked    bool
}

func newWorld(t *testing.T, seed uint64, loss int) *world {
	w := &world{rig: start(t, `function request_route()
  if method == "ACK" then t_relay() return end
  if ruri.user == "fork" then append_branch("sip:c@192.0.2.3") append_branch("sip:d@192.0.2.4") end
  if ruri.user == "serial" then append_branch("sip:c@192.0.2.3", "0.5") append_branch("sip:d@192.0.2.4", "0.5") append_branch("sip:e@two.example", "0.1") end
  if ruri.user == "two" then ruri.host = "two.example" end
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
end`, `modparam("tm", "fr_timer", 10000)`, `modparam("tm", "fr_inv_timer", 20000)`, `modparam("tm", "fr_inv_timer_next", 10000)`, serial, `modparam("tm", "recurse", 1)`),
		rnd: rand.New(rand.NewPCG(seed, 1)), loss: loss, callers: map[string]*caller{}, callees: map[string]*callee{}, ends: map[string]int{}}
	w.named("two.example", "192.0.2.2", "192.0.2.3", "192.0.2.4")
	return w
}

// agenda is what will happen, the soonest first.
type agenda []appointment

type appointment struct {
	at time.Duration
	n  int // those of one moment keep their order
	f  func()
}

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].n < a[j].n
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	n := len(*a) - 1
	x := (*a)[n]
	(*a)[n] = appointment{}
	*a = (*a)[:n]
	return x
}

func (w *world) after(d time.Duration, f func()) {
	w.n++
	heap.Push(&w.agenda, appointment{w.now + d, w.n, f})
}

// upTo is a random time.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rnd.Int64N(int64(d))) }

// fly lets a message arrive, or not, or twice, after 0 to 200 ms and sometimes
// much more.
func (w *world) fly(arrive func()) {
	for range 1 + w.rnd.IntN(10)/9 {
		if w.rnd.IntN(100) < w.loss {
			continue
		}
		d := w.upTo(200 * ms)
		if w.rnd.IntN(30) == 0 {
			d += w.upTo(3 * time.Second)
		}
		w.after(d, arrive)
	}
}

// live has somebody send a request once in a while, for some time, and then
// waits for the end of all.
func (w *world) live(length, every time.Duration) {
	var next func()
	next = func() {
		w.begin()
		if w.now < length {
			w.after(w.upTo(2*every), next)
		}
	}
	next()
	for w.now < length+patience+calleeLife+5*time.Second {
		w.now += clock.Tick
		w.Clock.Advance(clock.Tick)
		w.tm.Settled()
		for len(w.agenda) > 0 && w.agenda[0].at <= w.now {
			heap.Pop(&w.agenda).(appointment).f()
		}
		for _, p := range w.Sent() {
			w.fly(func() { w.arrive(p) })
		}
		active, _, _, _ := w.tm.Levels()
		w.most = max(w.most, active)
	}
	if limit := int(4 * patience / every); w.most > limit {
		w.t.Errorf("%d transactions at once", w.most)
	}
	if len(w.callers) > 0 || len(w.callees) > 0 {
		w.t.Errorf("left: %d callers, %d callees", len(w.callers), len(w.callees))
	}
	w.drained()
}

func (w *world) arrive(p sim.Packet) {
	if p.To() == alice {
		w.atCaller(p.Text)
	} else {
		w.atCallee(p)
	}
}

// begin has alice send a request.
func (w *world) begin() {
	c := &caller{w: w, id: fmt.Sprint("call-", w.calls+w.others), interval: 500 * ms, finals: map[string]bool{}}
	user := []string{"bob", "fork", "nap", "serial", "two"}[w.rnd.IntN(5)]
	method := "MESSAGE"
	if c.invite = w.rnd.IntN(4) > 0; c.invite {
		method = "INVITE"
		w.calls++
	} else {
		w.others++
	}
	c.request = strings.ReplaceAll(request(method, "z9hG4bK"+c.id, "sip:"+user+"@192.0.2.2"), "Call-ID: call-1", "Call-ID: "+c.id)
	w.callers[c.id] = c
	c.send()
	if c.invite && w.rnd.IntN(3) == 0 {
		w.after(w.upTo(8*time.Second), c.cancel)
	}
	w.after(32*time.Second, func() { c.given = !c.heard && len(c.finals) == 0 })
	w.after(patience, c.end)
}

// send is the first sending, and Timers A and E.
func (c *caller) send() {
	if c.given || len(c.finals) > 0 || c.heard && c.invite {
		return
	}
	c.w.fly(func() { c.w.Receive(alice, c.request) })
	c.w.after(c.interval, c.send)
	if c.interval *= 2; !c.invite {
		c.interval = min(c.interval, 4*time.Second)
	}
	if c.interval > 40*time.Second {
		c.given = true
	}
}

func (c *caller) cancel() {
	if len(c.finals) > 0 || c.given {
		return
	}
	if c.heard {
		text := strings.ReplaceAll(strings.Replace(c.request, "INVITE sip", "CANCEL sip", 1), "1 INVITE", "1 CANCEL")
		c.w.fly(func() { c.w.Receive(alice, text) })
	}
	if c.w.rnd.IntN(3) > 0 {
		c.w.after(time.Second, c.cancel)
	}
}

// end looks at what a caller has heard.
func (c *caller) end() {
	w := c.w
	delete(w.callers, c.id)
	kind := "none"
	for f := range c.finals {
		kind = f[:3]
		if f[:3] == "408" && !c.invite {
			w.t.Errorf("%s: 408 to a request other than INVITE", c.id)
		}
		if len(c.finals) > 1 && (f[:3] != "200" || !c.invite) {
			w.t.Errorf("%s has final responses %v", c.id, c.finals)
			break
		}
	}
	if c.invite && len(c.finals) == 0 && !c.given {
		w.t.Errorf("%s has no final response", c.id)
	}
	if !c.invite {
		kind = "other " + kind
	}
	w.ends[kind]++
}

func (w *world) atCaller(text string) {
	c := w.callers[header(text, "Call-ID")]
	if c == nil || strings.HasSuffix(header(text, "CSeq"), "CANCEL") || !strings.HasPrefix(text, "SIP/2.0") {
		return
	}
	code := short(text)
	if c.heard = true; code < "200" {
		return
	}
	c.finals[code+" "+header(text, "To")] = true
	if !c.invite {
		return
	}
	ack := strings.ReplaceAll(strings.Replace(c.request, "INVITE sip", "ACK sip", 1), "1 INVITE", "1 ACK")
	ack = strings.Replace(ack, "To: <sip:bob@home.example>", "To: "+header(text, "To"), 1)
	if code < "300" {
		_, rest, _ := strings.Cut(ack, "\n")
		ack = "ACK " + strings.Trim(header(text, "Contact"), "<>") + " SIP/2.0\n" + strings.Replace(rest, ";branch=z9hG4bK", ";branch=z9hG4bKack", 1)
	}
	w.fly(func() { w.Receive(alice, ack) })
}

func (w *world) atCallee(p sim.Packet) {
	key := p.To() + header(p.Text, "Via")
	c := w.callees[key]
	switch method := short(p.Line()); method {
	case "INVITE", "MESSAGE":
		if c == nil {
			c = w.newCallee(key, p)
		}
		switch {
		case method == "MESSAGE" && c.final > 0:
			c.say(c.final)
		case c.final >= 0 && !c.answered && method == "INVITE":
			c.say(180)
		}
	case "CANCEL":
		if c != nil && c.final >= 0 {
			w.fly(func() { w.Receive(p.To(), answer(p, 200)) })
			if !c.answered {
				c.final = 487
				c.answer()
			}
		}
	case "ACK":
		if c != nil {
			c.acked = true
			return
		}
		for k, o := range w.callees { // an ACK to a 2xx has a branch of its own
			if strings.HasPrefix(k, p.To()) && o.final == 200 && header(o.inv.Text, "Call-ID") == header(p.Text, "Call-ID") {
				o.acked = true
			}
		}
	}
}

func (w *world) newCallee(key string, p sim.Packet) *callee {
	c := &callee{w: w, inv: p, final: []int{200, 200, 486, 404, 503, 603, 302, 0}[w.rnd.IntN(8)], interval: 500 * ms}
	if w.rnd.IntN(10) == 0 {
		c.final = -1
	}
	w.callees[key] = c
	if c.final > 0 && short(p.Line()) == "INVITE" {
		w.after(w.upTo(6*time.Second), func() {
			if !c.answered {
				c.answer()
			}
		})
	}
	w.after(calleeLife, func() { delete(w.callees, key) })
	return c
}

func (c *callee) say(code int) {
	more := []string{"Contact: <sip:x@" + c.inv.Flow.Remote.Addr().String() + ">"}
	if code == 302 {
		more[0] = fmt.Sprintf("Contact: <sip:f%d@192.0.2.4>, <tel:+431>", c.w.rnd.IntN(3))
	}
	text := answer(c.inv, code, more...)
	c.w.fly(func() { c.w.Receive(c.inv.To(), text) })
}

// answer sends the final response to an INVITE until it is acknowledged.
func (c *callee) answer() {
	if !c.answered {
		c.answered, c.until = true, c.w.now+32*time.Second
	}
	if c.acked || c.w.now >= c.until {
		return
	}
	c.say(c.final)
	c.w.after(c.interval, c.answer)
	c.interval = min(2*c.interval, 4*time.Second)
}
