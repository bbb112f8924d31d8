package tm_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sipr/core/clock"
	"sipr/core/coretest/sim"
)

// Many calls at once, on many goroutines, while the timers run and transactions
// are used again after a fraction of a second: for the race detector.
func TestManyAtOnce(t *testing.T) {
	r := start(t, `function request_route()
  if ruri.user == "nap" then nap() end
  if ruri.user == "fork" then append_branch("sip:c@192.0.2.3") end
  t_on_failure("f")
  t_on_reply("r")
  t_relay()
end
function r() if t_check_status("183") then drop() end nap() end
function f() nap() if t_check_status("5xx") then ruri.host = "192.0.2.3" t_relay() elseif t_check_status("404") then t_reply(480) end end`,
		`modparam("tm", "retr_timer1", 10)`, `modparam("tm", "retr_timer2", 40)`, `modparam("tm", "fr_timer", 200)`, `modparam("tm", "fr_inv_timer", 300)`)
	work := make(chan sim.Packet, 1<<16)
	var peers sync.WaitGroup
	for i := range 4 {
		rnd := rand.New(rand.NewPCG(7, uint64(i)))
		peers.Go(func() {
			for p := range work {
				react(r, rnd, p)
			}
		})
	}
	const calls = 900
	for i := range calls {
		method := "INVITE"
		if i%3 == 0 {
			method = "OPTIONS"
		}
		user := []string{"bob", "nap", "fork"}[i/3%3]
		r.Receive(alice, request(method, fmt.Sprint("z9hG4bK-", i), "sip:"+user+"@192.0.2.2"))
		r.Clock.Advance(clock.Tick)
		for _, p := range r.Sent() {
			work <- p
		}
	}
	for range 40 {
		r.Clock.Advance(100 * ms)
		for _, p := range r.Sent() {
			work <- p
		}
	}
	close(work)
	peers.Wait()
	r.tm.Settled()
	r.advance(3 * time.Second)
	r.drained()
	if n := len(r.test.finals); n < calls {
		t.Fatalf("%d final responses to %d requests", n, calls)
	}
}

// react is what peers do with a packet.
func react(r *rig, rnd *rand.Rand, p sim.Packet) {
	switch kind := short(p.Line()); {
	case kind == "INVITE" || kind == "OPTIONS":
		codes := []int{180, 183, []int{200, 404, 486, 503, 603}[rnd.IntN(5)], 180}
		if rnd.IntN(8) == 0 {
			return
		}
		for _, c := range codes[rnd.IntN(3):] {
			r.Receive(p.To(), answer(p, c))
		}
		if vias := headers(p.Text, "Via"); rnd.IntN(3) == 0 {
			_, branch, _ := strings.Cut(vias[1], "branch=")
			r.Receive(alice, request("CANCEL", branch, toBob))
		}
	case kind == "CANCEL":
		r.Receive(p.To(), answer(p, 200))
		p.Text = strings.ReplaceAll(p.Text, "1 CANCEL", "1 INVITE")
		r.Receive(p.To(), answer(p, 487))
	case kind >= "200" && kind <= "699" && p.To() == alice && rnd.IntN(4) > 0:
		_, branch, _ := strings.Cut(header(p.Text, "Via"), "branch=")
		r.Receive(alice, request("ACK", branch, toBob, "To: "+header(p.Text, "To")))
	}
}
