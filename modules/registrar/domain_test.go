package registrar

import (
	"errors"
	"fmt"
	"testing"

	"sipr/core/coretest"
	"sipr/core/database"
	"sipr/modules/domain"
	"sipr/modules/users"
)

// names are those of one virtual domain, as phones may write them.
var names = []string{"iptel.org", "SIP.iptel.org", "213.192.59.75", "[2001:DB8::1]"}

// virtual is a registrar with the modules domain and users.
func virtual(t *testing.T, domainMode int) (*phone, *domain.Module, *database.DB) {
	t.Helper()
	h := coretest.NewHost(t)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, "CREATE TABLE domain (did TEXT, domain TEXT, flags INTEGER)")
	exec(t, db, "INSERT INTO domain VALUES ('iptel', 'iptel.org', 5), ('iptel', 'sip.iptel.org', 1), ('iptel', '213.192.59.75', 1), ('iptel', '2001:db8::1', 1), ('acme', 'acme.com', 1)")
	d := h.Load(domain.New(), map[string]any{"db_mode": domainMode}).(*domain.Module)
	h.Load(users.New(), nil)
	exec(t, db, "INSERT INTO uri (uid, did, username, flags) VALUES ('u1', 'iptel', 'joe', 29), ('u1', 'iptel', '300', 25), ('u1', 'acme', 'boss', 25), ('u2', 'acme', 'joe', 29)")
	return &phone{t: t, h: h, m: h.Load(New(), nil).(*Module), id: "id1"}, d, db
}

func exec(t *testing.T, db *database.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// TestNamesOfOneDomain registers over each name of a virtual domain and calls
// over each.
func TestNamesOfOneDomain(t *testing.T) {
	for _, mode := range []int{0, 1} {
		p, d, db := virtual(t, mode)
		expect := func(uri, want string) {
			t.Helper()
			if got, _ := p.lookup(uri); got != want {
				t.Errorf("S2-002 domain db_mode %d: %s: %s, want %s", mode, uri, got, want)
			}
		}
		for i, to := range names {
			contact := fmt.Sprintf("sip:joe@192.0.2.%d", i+1)
			p.register("To: <sip:joe@"+to+">\nContact: <"+contact+">", "200 OK|<"+contact+">;expires=3600;q=1")
			for _, host := range names {
				expect("sip:joe@"+host, contact)
				expect("sip:300@"+host, contact)
			}
			expect("sip:boss@acme.com", contact) // an alias in another domain
			expect("sip:joe@acme.com", "offline")
			expect("sip:joe@other.com", "unknown")
			// Over another name it is the same binding that goes.
			p.register("To: <sip:joe@"+names[(i+1)%len(names)]+">\nContact: <"+contact+">;expires=0", "200 OK")
			expect("sip:joe@"+to, "offline")
		}
		p.register("To: <sip:joe@iptel.org>\nContact: <sip:joe@192.0.2.9>", "200 OK|<sip:joe@192.0.2.9>;expires=3600;q=1")
		exec(t, db, "INSERT INTO domain VALUES ('iptel', 'new.example', 1)")
		if err := d.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := p.lookup("sip:joe@new.example"); got != "sip:joe@192.0.2.9" {
			t.Errorf("S2-003 domain db_mode %d: by a new name: %s", mode, got)
		}
	}
}

// TestDomainsFail sees to it that phones and callers are not told that somebody
// does not exist because a database does not answer.
func TestDomainsFail(t *testing.T) {
	p := memoryOnly(t)
	p.do(p.request("Contact: " + a1))
	p.m.domains.(*fakeDomain).err = errors.New("down")
	for _, to := range []string{"sip:alice@example.com", "sip:alice@foreign.org"} {
		if got, res := p.do(p.request("To: <" + to + ">\nContact: " + a2)); got != "500 Server Internal Error" || res.Err == nil {
			t.Errorf("save %s: %s %+v", to, got, res)
		}
		got, r := p.lookup(to)
		if got != "error" || len(r.Targets) != 0 {
			t.Errorf("lookup %s: %s", to, got)
		}
		for name, args := range map[string][]any{"registered": {to}, "unregister": {to}} {
			if res := p.h.Call(p.m, r, name, args...); res.Err == nil {
				t.Errorf("%s %s: %+v", name, to, res)
			}
		}
		if _, err := p.h.Command(p.m, "rm", to); err == nil || err.Error() != "down" {
			t.Errorf("rm %s: %v", to, err)
		}
	}
	p.m.domains.(*fakeDomain).err = nil
	if got := p.bindings(); got != "200 OK|"+a1+";expires=3600;q=1" {
		t.Errorf("bindings afterwards: %s", got)
	}
}
