package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestKilledRegistrations kills the router in the middle of many REGISTERs,
// again and again: a contact whose 200 was received is there after the
// restart.
func TestKilledRegistrations(t *testing.T) {
	rounds, each, window := 20, 2000, 64
	if testing.Short() {
		rounds = 3
	}
	r := start(t, setup{more: trust})
	total := 0
	for round := range rounds {
		confirmed := registerUntilKilled(t, r, round, each, window)
		total += len(confirmed)
		r.start()
		have := contacts(r)
		lost := 0
		for c := range confirmed {
			if !have[c] {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("round %d: %d of %d confirmed contacts are lost", round, lost, len(confirmed))
		}
		for c := range have {
			if !strings.HasPrefix(c, "sip:r") {
				t.Errorf("round %d: a damaged contact: %q", round, c)
			}
		}
	}
	t.Logf("%d rounds, %d confirmed contacts", rounds, total)
}

// registerUntilKilled sends each REGISTERs, window of them at a time, and kills
// the router when a random number of them is confirmed. It returns the
// contacts that were.
func registerUntilKilled(t *testing.T, r *router, round, each, window int) map[string]bool {
	t.Helper()
	p := listenUDP(t, trustedHost)
	defer p.close()
	confirmed := map[string]bool{}
	pending := map[string]string{} // contact by branch
	next, limit := 0, 100+rand.IntN(each-100)
	for {
		for len(pending) < window && next < each {
			user := fmt.Sprintf("r%d-%d", round, next)
			next++
			c := "sip:" + user + "@192.0.2.7"
			q := p.request("REGISTER", "sip:example.com", "sip:"+user+"@example.com", "sip:"+user+"@example.com", "Contact: <"+c+">", "Expires: 86400")
			pending[q.branch] = c
			p.send(r, q.text(p))
		}
		m := p.poll(5*time.Second, func(m *message) bool { return m.code >= 200 })
		if m == nil {
			t.Fatalf("round %d: %d of %d REGISTERs have no answer", round, len(pending), next)
		}
		c, ok := pending[m.branch()]
		if !ok {
			continue
		}
		delete(pending, m.branch())
		if m.code != 200 {
			t.Fatalf("round %d: %s", round, m.line)
		}
		confirmed[c] = true
		if len(confirmed) >= limit {
			break
		}
	}
	r.kill()
	// What was confirmed before the kill may still be in the socket.
	for {
		m := p.poll(20*time.Millisecond, func(m *message) bool { return m.code == 200 })
		if m == nil {
			return confirmed
		}
		if c, ok := pending[m.branch()]; ok {
			confirmed[c] = true
		}
	}
}

// contacts returns the URIs of all contacts that the router knows.
func contacts(r *router) map[string]bool {
	r.t.Helper()
	all := map[string]bool{}
	for offset := 0; ; offset += 1000 {
		var page []struct {
			Contact struct{ URI string }
		}
		r.callList(&page, "registrar.dump", 1000, offset)
		for _, a := range page {
			all[a.Contact.URI] = true
		}
		if len(page) < 1000 {
			return all
		}
	}
}
