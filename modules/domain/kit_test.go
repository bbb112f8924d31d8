package domain

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
)

// rig is a host, the tables' database, and the module.
type rig struct {
	*coretest.Host
	t  testing.TB
	db *database.DB
	m  *Module
}

// serTables are SER's own, which have no id.
const serTables = `
CREATE TABLE domain (did VARCHAR(64), domain VARCHAR(128), flags INT DEFAULT 0);
CREATE TABLE domain_attrs (did VARCHAR(64), name VARCHAR(32), type INT DEFAULT 0, value VARCHAR(255), flags INT DEFAULT 0)`

// example is the data of S2-071 and a few rows that must not be used.
const example = `
INSERT INTO domain (did, domain, flags) VALUES ('iptel', 'iptel.org', 33), ('iptel', 'sip.iptel.org', 33),
 ('iptel', 'Proxy.iptel.org', 37), ('iptel', '213.192.59.75', 33), ('iptel', 'dis.iptel.org', 35),
 ('iptel', 'web.iptel.org', 32), ('iptel', 'gone.iptel.org', 161), ('acme', 'acme.com', 1);
INSERT INTO domain_attrs (did, name, type, value, flags) VALUES ('iptel', 'fr_timer', 0, '5', 33),
 ('iptel', 'realm', 2, 'iptel.org', 33), ('iptel', 'gw', 2, 'a,b:c', 33), ('iptel', 'gw', 2, 'two', 33),
 ('iptel', 'hidden', 2, 'x', 32), ('iptel', 'dis', 2, 'x', 35), ('iptel', 'del', 2, 'x', 161)`

// setUp fills a database and starts the module on it.
func setUp(t testing.TB, sql string, params map[string]any) *rig {
	t.Helper()
	r := prepare(t, sql)
	r.Load(r.m, params)
	return r
}

// prepare is setUp without the start.
func prepare(t testing.TB, sql string) *rig {
	t.Helper()
	h := coretest.NewHost(t)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Host: h, t: t, db: db, m: New().(*Module)}
	r.exec(sql)
	return r
}

func (r *rig) exec(sql string) {
	r.t.Helper()
	for _, stmt := range strings.Split(sql, ";\n") {
		if strings.TrimSpace(stmt) == "" {
			continue
		}
		if _, err := r.db.ExecContext(context.Background(), stmt); err != nil {
			r.t.Fatalf("%v in %s", err, stmt)
		}
	}
}

func (r *rig) options(from, to string) *core.Request {
	return r.Request(fmt.Sprintf("OPTIONS sip:x@%s SIP/2.0\nFrom: <sip:joe@%s>;tag=1\nTo: <sip:x@%s>", to, from, to))
}

func (r *rig) request() *core.Request { return r.options("far.example", "away.example") }

// local calls is_local and insists on an answer.
func (r *rig) local(name string) bool {
	r.t.Helper()
	return r.answer(r.Call(r.m, r.request(), "is_local", name))
}

func (r *rig) answer(res core.Result) bool {
	r.t.Helper()
	if res.Err != nil {
		r.t.Fatal(res.Err)
	}
	return res.Value.Num == 1
}

// attr reads an attribute as text; "-" if there is none.
func (r *rig) attr(q *core.Request, name string) string {
	r.t.Helper()
	ref, err := core.ParseAttrRef(name)
	if err != nil {
		r.t.Fatal(err)
	}
	v, ok := q.Attrs.Get(&ref)
	if !ok {
		return "-"
	}
	return v.String()
}

// kamcmd renders a reply as kamcmd prints it.
func kamcmd(c *core.Call) string {
	var b strings.Builder
	for _, v := range c.Reply {
		b.WriteString("{\n")
		for _, m := range v.(*core.Struct).Members {
			fmt.Fprintf(&b, "\t%s: %v\n", m.Name, m.Value)
		}
		b.WriteString("}\n")
	}
	return b.String()
}
