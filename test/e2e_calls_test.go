package test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"sipr/core/coretest"
	"sipr/core/database"
)

// TestRecords looks at the rows that calls leave.
func TestRecords(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		r := install(t, setup{})
		records(t, r, "sqlite:"+r.path("sipr.db"))
	})
	t.Run("mariadb", func(t *testing.T) {
		url := coretest.MariaDB(t)
		r := install(t, setup{db: url})
		r.sipr("db", "init")
		records(t, r, url)
	})
}

func records(t *testing.T, r *router, url string) {
	r.start()
	r.provision()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	db, err := database.OpenURL(ctx, url, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	alice, bob := phone(t, r, "alice"), phone(t, r, "bob")
	type call struct {
		Duration int64  `db:"duration_ms"`
		Reason   string `db:"end_reason"`
		By       string `db:"ended_by"`
		From     string `db:"from_uid"`
		To       string `db:"to_uid"`
		FromDID  string `db:"from_did"`
		ToDID    string `db:"to_did"`
		Code     int    `db:"code"`
	}
	const columns = "SELECT duration_ms, end_reason, ended_by, from_uid, to_uid, from_did, to_did, code FROM cdr WHERE call_id = ?"
	for _, who := range []string{"caller", "callee"} {
		a, b := talk(r, alice, bob)
		time.Sleep(120 * time.Millisecond) // the length of the call
		if who == "caller" {
			a.bye(bob)
		} else {
			b.bye(alice)
		}
		var calls []call
		eventually(t, "a row of cdr", func() bool {
			calls = nil
			if err := db.SelectContext(ctx, &calls, db.Rebind(columns), a.q.callID); err != nil {
				t.Fatal(err)
			}
			return len(calls) > 0
		})
		c := calls[0]
		if len(calls) != 1 || c.Duration < 100 || c.Duration > 5000 || c.Reason == "" || c.By != who || c.Code != 200 {
			t.Errorf("BYE from %s: %+v", who, calls)
		}
		if c.FromDID != "example.com" || c.ToDID != "example.com" {
			t.Errorf("domains of the call: %+v", c)
		}
		if c.From != "alice@example.com" || c.To != "bob@example.com" {
			t.Errorf("users of the call: %+v", c)
		}
		var events []string
		if err := db.SelectContext(ctx, &events, db.Rebind("SELECT event FROM acc WHERE call_id = ? ORDER BY id"), a.q.callID); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(events, "answered") {
			t.Errorf("events of the call: %q", events)
		}
	}
}

// TestGateways has a number that a gateway refuses and a second one takes.
func TestGateways(t *testing.T) {
	one, two := listenUDP(t, victimHost), listenUDP(t, "127.0.32.111")
	one.user, two.user = "one", "two"
	r := start(t, setup{more: trust + fmt.Sprintf(`modparam("gateway", "rule", "prefix=+ strip=1 prepend=00 target=sip:%s priority=1")
modparam("gateway", "rule", "prefix=+ target=sip:%s priority=2")
`, one.addr, two.addr)})
	alice := phone(t, r, "alice")
	const number = "sip:+4930123@example.com"
	stranger := alice.request("INVITE", number, foreign, number)
	if m := alice.do(r, stranger); m.code != 404 {
		t.Errorf("a stranger calls a number: %s", m.line)
	}
	one.nothing(r, "a call of a stranger", anything)

	invite := alice.request("INVITE", number, "sip:alice@example.com", number)
	m := alice.do(r, invite)
	if m.code != 407 {
		t.Fatalf("%s", m.line)
	}
	invite = invite.authorize(m, "alice", "alice")
	alice.send(r, invite.text(alice))
	got := one.expect("INVITE")
	if want := "sip:004930123@" + one.addr; got.ruri() != want {
		t.Errorf("the first gateway gets %s, %s is expected", got.ruri(), want)
	}
	one.sendRaw(r, got.reply(one, 503, "Service Unavailable"))
	one.expect("ACK")
	got = two.expect("INVITE")
	if want := "sip:+4930123@" + two.addr; got.ruri() != want {
		t.Errorf("the second gateway gets %s, %s is expected", got.ruri(), want)
	}
	if got.h("Proxy-Authorization") != "" {
		t.Errorf("credentials went to a gateway:\n%s", got.raw)
	}
	two.sendRaw(r, got.reply(two, 180, "Ringing"))
	alice.response(invite, 180)
	a, _ := answer(r, alice, two, invite, got)
	a.bye(two)

	// Both refuse: the caller hears of it, but 503 would speak of the router.
	invite = alice.request("INVITE", number, "sip:alice@example.com", number)
	m = alice.do(r, invite)
	invite = invite.authorize(m, "alice", "alice")
	alice.send(r, invite.text(alice))
	for _, gw := range []*peer{one, two} {
		got := gw.expect("INVITE")
		gw.sendRaw(r, got.reply(gw, 503, "Service Unavailable"))
		gw.expect("ACK")
	}
	m = alice.response(invite, 0)
	alice.acknowledge(r, invite, m)
	if m.code != 500 {
		t.Errorf("both gateways refuse: %s", m.line)
	}

	// Nobody takes a gateway for a telephone, to have its calls for free.
	for _, gw := range []*peer{one, two} {
		q := alice.request("REGISTER", "sip:example.com", "sip:alice@example.com", "sip:alice@example.com", "Contact: <sip:+900@"+gw.addr+">")
		if _, m := alice.doAs(r, q, "alice", "alice"); m.code != 403 {
			t.Errorf("a contact at a gateway: %s", m.line)
		}
	}
}
