package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestKilledRegistrations kills the router in the middle of many REGISTERs,
// again and again: a contact whose 200 was received is there after the
// restart, and after all later ones. The long form has more rounds.
func TestKilledRegistrations(t *testing.T) {
	const each = 10_000
	rounds := 5
	switch {
	case testing.Short():
		rounds = 2
	case long(t) > 0:
		rounds = 20
	}
	r := start(t, setup{more: trust})
	begin, sent, lost := time.Now(), 0, 0
	confirmed := map[string]bool{}
	for round := range rounds {
		b := newBurst(r, round, each)
		got := b.untilKilled()
		sent += b.sent
		for _, c := range got {
			confirmed[c] = true
		}
		killed := time.Now()
		r.start()
		have := contacts(r)
		missing := 0
		for c := range confirmed {
			if !have[c] {
				missing++
				delete(confirmed, c)
			}
		}
		lost += missing
		t.Logf("round %d: killed with %d of %d unanswered; %d there and %d lost %s later",
			round, b.sent-len(got), b.sent, len(have), missing, time.Since(killed).Round(time.Millisecond))
		if missing > 0 {
			t.Errorf("round %d: %d confirmed contacts are lost", round, missing)
		}
		for c := range have {
			if !strings.HasPrefix(c, "sip:r") {
				t.Errorf("round %d: a damaged contact: %q", round, c)
			}
		}
	}
	t.Logf("%d rounds, %d REGISTERs, %d confirmed, %d lost, in %s", rounds, sent, len(confirmed)+lost, lost, time.Since(begin).Round(time.Millisecond))
}

// burst is many REGISTERs of as many users that do not wait for each other.
type burst struct {
	r        *router
	p        *peer
	texts    []string
	contacts []string
	index    map[string]int // by branch
	answered []atomic.Bool
	sent     int // different ones; read it when the burst is over
}

func newBurst(r *router, round, n int) *burst {
	r.t.Helper()
	b := &burst{r: r, p: listenUDP(r.t, trustedHost), index: map[string]int{}, answered: make([]atomic.Bool, n)}
	for i := range n {
		user := fmt.Sprintf("r%d-%d", round, i)
		aor, contact := "sip:"+user+"@example.com", "sip:"+user+"@192.0.2.7"
		q := b.p.request("REGISTER", "sip:example.com", aor, aor, "Contact: <"+contact+">", "Expires: 86400")
		b.index[q.branch] = i
		b.contacts = append(b.contacts, contact)
		b.texts = append(b.texts, q.text(b.p))
	}
	return b
}

// untilKilled sends the burst, kills the router when a random number of them
// is confirmed, and returns the contacts that were.
func (b *burst) untilKilled() (confirmed []string) {
	b.r.t.Helper()
	defer b.p.close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		b.send(stop)
	}()
	limit := 1 + rand.IntN(len(b.texts)-1)
	for d, killed := 10*time.Second, false; ; {
		m := b.p.poll(d, func(m *message) bool { return m.code >= 200 })
		switch {
		case m == nil && killed:
			return confirmed
		case m == nil:
			b.r.t.Fatalf("only %d of %d REGISTERs have an answer", len(confirmed), len(b.texts))
		case m.code != 200:
			b.r.t.Fatalf("%s", m.line)
		}
		if i, ok := b.index[m.branch()]; ok && !b.answered[i].Swap(true) {
			confirmed = append(confirmed, b.contacts[i])
		}
		if len(confirmed) >= limit && !killed {
			b.r.kill()
			close(stop)
			<-stopped
			// What was confirmed before the kill may still be in the socket.
			d, killed = 50*time.Millisecond, true
		}
	}
}

// send sends what has no answer, again and again, since much is lost where
// nobody waits.
func (b *burst) send(stop chan struct{}) {
	for first := true; ; first = false {
		for i, text := range b.texts {
			select {
			case <-stop:
				return
			default:
			}
			if !b.answered[i].Load() && b.p.sendRaw(b.r, text) == nil && first {
				b.sent++
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(500 * time.Millisecond):
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
			if a.Contact.URI == "" && len(page) == 1 && offset > 0 {
				continue // the page after the last, where that is full, holds an empty answer
			}
			all[a.Contact.URI] = true
		}
		if len(page) < 1000 {
			return all
		}
	}
}
