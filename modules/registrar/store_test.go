package registrar

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/database"
)

// restart starts another registrar on the same host and table.
func (p *phone) restart() *phone {
	m := New().(*Module)
	for _, prm := range m.Describe().Params {
		if prm.Name == "nat" || prm.Name == "use_path" {
			prm.Set(true)
		}
	}
	p.h.Load(m, nil)
	return &phone{t: p.t, h: p.h, m: m, id: p.id, cseq: p.cseq}
}

func TestRestart(t *testing.T) {
	p := start(t, map[string]any{"nat": 1, "use_path": 1, "node": "n1"})
	r := p.request("Contact: " + a1 + `;q=0.25;+sip.instance="<urn:uuid:1>";reg-id=3;methods="INVITE,BYE"` + "\nUser-Agent: phone " + strings.Repeat("ü", 60))
	r.Flow.Remote = netip.MustParseAddrPort("198.51.100.7:40000")
	p.do(r)
	r = p.request("Contact: " + a2 + ";expires=60")
	tcp := *r.Flow.Socket
	tcp.Proto = core.TCP
	r.Flow = core.Flow{Socket: &tcp, Remote: netip.MustParseAddrPort("198.51.100.8:40000"), Conn: 9}
	p.do(r)
	p.register("Supported: path\nPath: <sip:edge@192.0.2.50;lr>\nContact: <sip:c@192.0.2.3>;expires=90", "200 OK|"+
		a1+`;expires=3600;q=0.25;+sip.instance="<urn:uuid:1>";reg-id=3|`+a2+";expires=60;q=1|<sip:c@192.0.2.3>;expires=90;q=1|Path: <sip:edge@192.0.2.50;lr>")
	before := p.m.mem.read([]byte("d1\x00alice"))
	p.m.Stop(context.Background())

	p.h.Fake.Advance(60 * time.Second)
	q := p.restart()
	if got := q.bindings(); got != "200 OK|"+a1+`;expires=3540;q=0.25;+sip.instance="<urn:uuid:1>";reg-id=3|<sip:c@192.0.2.3>;expires=30;q=1` {
		t.Error(got)
	}
	after := q.m.mem.read([]byte("d1\x00alice"))
	if len(after) != 2 || !after[0].unchanged(&before[0]) || !after[1].unchanged(&before[2]) {
		t.Errorf("%+v\n%+v", before, after)
	}
	if got, _ := q.do(q.exact("id1", 1, "Contact: "+a1)); !strings.HasPrefix(got, "200 OK") {
		t.Error("a retransmission across the restart:", got)
	}
	if got, _ := q.do(q.exact("id1", 0, "Contact: "+a1)); got != "500 CSeq Out Of Order" {
		t.Error("the order of requests was forgotten:", got)
	}
	_, inv := q.lookup("sip:alice@example.com")
	if string(inv.Main.Path) != "<sip:edge@192.0.2.50;lr>" || inv.Targets[0].Flow.Remote.String() != "198.51.100.7:40000" {
		t.Errorf("%+v %+v", inv.Main, inv.Targets)
	}
}

func TestPurge(t *testing.T) {
	p := start(t, nil)
	p.do(p.request("Contact: " + a1 + ";expires=60, " + a2))
	rows := func() (n int) {
		p.m.rows.db.Get(&n, "SELECT COUNT(*) FROM location")
		return n
	}
	p.h.Fake.Advance(time.Minute)
	p.m.purge(context.Background())
	if n := rows(); n != 2 {
		t.Errorf("%d rows: one was deleted at once", n)
	}
	p.h.Fake.Advance(purgeDelay)
	p.m.purge(context.Background())
	if n := rows(); n != 1 {
		t.Errorf("%d rows", n)
	}
	p.do(p.request("Contact: *\nExpires: 0"))
	if n := rows(); n != 0 {
		t.Errorf("%d rows after the last contact has gone", n)
	}
}

func TestLoadManyAndSkipTheUnreadable(t *testing.T) {
	p := start(t, nil)
	p.m.Stop(context.Background())
	db := p.m.rows.db
	const n = 20000
	_, err := db.Exec(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i < ?)
		INSERT INTO location (did, username, contact, user_agent, ruid, call_id, cseq, expires)
		SELECT 'd1', 'u' || i, 'sip:u' || i || '@192.0.2.1:5060', 'phone', 'r' || i, 'call' || i, i, ? FROM c`, n, p.h.Fake.Now().Unix()+100)
	if err != nil {
		t.Fatal(err)
	}
	insert := func(ruid, contact string, modified int) {
		if _, err := db.Exec("INSERT INTO location (did, username, contact, ruid, call_id, cseq, expires, modified) VALUES ('d1', 'u1', ?, ?, 'x', 1, ?, ?)",
			contact, ruid, p.h.Fake.Now().Unix()+100, modified); err != nil {
			t.Fatal(err)
		}
	}
	insert("x1", "nonsense", 0)
	insert("x2", "sip:a@"+strings.Repeat("h", 600), 0)
	insert("x3", "sip:u1@192.0.2.1:5060", 5)
	q := p.restart()
	if got := q.m.mem.contacts.Load(); got != n {
		t.Errorf("%d contacts", got)
	}
	if got := q.m.lost.Load(); got != 2 {
		t.Errorf("%d unreadable rows", got)
	}
	if list := q.m.mem.read([]byte("d1\x00u1")); len(list) != 1 || string(list[0].get(fRUID)) != "x3" {
		t.Errorf("of two rows for one contact the older counts: %+v", list)
	}
}

func TestStatements(t *testing.T) {
	for dialect, want := range map[database.Dialect]string{
		database.SQLite: "ON CONFLICT (ruid) DO UPDATE SET did = excluded.did",
		database.MySQL:  "ON DUPLICATE KEY UPDATE did = VALUES(did)",
	} {
		s := (&table{db: &database.DB{Dialect: dialect}, name: "location"}).upsert()
		if !strings.Contains(s, want) || strings.Count(s, "?") != 18 {
			t.Error(s)
		}
	}
}
