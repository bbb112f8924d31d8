package domain

import (
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipr/core"
)

func TestS2_071_Dump(t *testing.T) {
	r := setUp(t, serTables+";\n"+example+";\nINSERT INTO domain_attrs VALUES ('iptel', 'disabled', 2, 'x', 1)",
		map[string]any{"load_domain_attrs": 1})
	c, err := r.Command(r.m, "dump")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
	did: acme
	domain: acme.com
	flags: 1
	attr: did=acme
}
{
	did: iptel
	domain: iptel.org
	flags: 33
	domain: sip.iptel.org
	flags: 33
	domain: proxy.iptel.org
	flags: 37
	domain: 213.192.59.75
	flags: 33
	attr: disabled=x
	attr: gw=two
	attr: gw=a,b:c
	attr: realm=iptel.org
	attr: fr_timer=5
	attr: did=iptel
}
`
	if d := cmp.Diff(want, kamcmd(c)); d != "" {
		t.Errorf("S2-071 (-want +got):\n%s", d)
	}
	got, err := json.Marshal(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	const wantJSON = `{"domains":[{"did":"acme","names":[{"domain":"acme.com","flags":1}],"attrs":[]},` +
		`{"did":"iptel","names":[{"domain":"iptel.org","flags":33},{"domain":"sip.iptel.org","flags":33},` +
		`{"domain":"proxy.iptel.org","flags":37},{"domain":"213.192.59.75","flags":33}],` +
		`"attrs":[{"name":"disabled","type":2,"value":"x"},{"name":"gw","type":2,"value":"two"},` +
		`{"name":"gw","type":2,"value":"a,b:c"},{"name":"realm","type":2,"value":"iptel.org"},` +
		`{"name":"fr_timer","type":0,"value":5}]}]}`
	if d := cmp.Diff(wantJSON, string(got)); d != "" {
		t.Errorf("S2-071 JSON (-want +got):\n%s", d)
	}
}

func TestS2_071_EmptyDump(t *testing.T) {
	r := setUp(t, serTables, nil)
	c, err := r.Command(r.m, "dump")
	if err != nil || len(c.Reply) != 0 {
		t.Fatalf("%v, %v", c.Reply, err)
	}
	if got, _ := json.Marshal(c.Data); string(got) != `{"domains":[]}` {
		t.Errorf("S2-071: %s", got)
	}
}

func TestS2_003_S2_070_S2_072_S2_082_Reload(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, nil)
	r.exec("INSERT INTO domain VALUES ('iptel', 'new.example', 1)")
	if r.local("new.example") {
		t.Error("S2-072: a row is seen before the reload")
	}
	c, err := r.Command(r.m, "reload")
	if err != nil || len(c.Reply) != 0 || c.Data != nil {
		t.Errorf("S2-070: %v, %v", c.Reply, err)
	}
	if did, _ := r.m.LookupDID([]byte("new.example")); did != "iptel" {
		t.Error("S2-003: a new name is not seen after the reload")
	}
	for what, breakIt := range map[string]string{
		"a column is gone": "ALTER TABLE domain RENAME COLUMN did TO x", "the table is gone": "DROP TABLE domain",
	} {
		r := setUp(t, serTables+";\n"+example, nil)
		r.exec(breakIt)
		_, err := r.Command(r.m, "reload")
		if d := cmp.Diff(&core.Fault{Code: 400, Reason: "Domain Table Reload Failed"}, fault(err)); d != "" {
			t.Errorf("S2-070 %s:\n%s", what, d)
		}
		if did, _ := r.m.LookupDID([]byte("iptel.org")); did != "iptel" {
			t.Errorf("S2-082 %s: the old data is gone", what)
		}
	}
	withAttrs := setUp(t, serTables+";\n"+example, map[string]any{"load_domain_attrs": 1})
	withAttrs.exec("DELETE FROM domain;\nDROP TABLE domain_attrs")
	if _, err := withAttrs.Command(withAttrs.m, "reload"); err == nil || !withAttrs.local("iptel.org") {
		t.Error("S2-082: half of the data was reloaded")
	}
}

func TestS2_070_S2_071_CommandsWithoutCache(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"db_mode": 0})
	_, err := r.Command(r.m, "reload")
	if d := cmp.Diff(&core.Fault{Code: 200, Reason: "Server Domain Cache Disabled"}, fault(err)); d != "" {
		t.Errorf("S2-070:\n%s", d)
	}
	_, err = r.Command(r.m, "dump")
	if d := cmp.Diff(&core.Fault{Code: 400, Reason: "Server Domain Cache Disabled"}, fault(err)); d != "" {
		t.Errorf("S2-071:\n%s", d)
	}
	if err := r.m.Reload(t.Context()); err != nil {
		t.Errorf("a reload of the router: %v", err)
	}
}

func fault(err error) *core.Fault {
	var f *core.Fault
	errors.As(err, &f)
	return f
}

// TestS2_081_ReloadsDisturbNoLookup reloads a thousand times while eight
// workers look names up, each many times a reload.
func TestS2_081_ReloadsDisturbNoLookup(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 100
	}
	r := setUp(t, serTables+";\n"+example, map[string]any{"load_domain_attrs": 1})
	r.m.log = slog.New(slog.DiscardHandler)
	var wg sync.WaitGroup
	var rounds [8]chan struct{}
	for i := range rounds {
		rounds[i] = make(chan struct{}, 1)
		q := r.request()
		wg.Go(func() {
			realm, did := &core.AttrRef{Class: core.DomainClass, Name: "realm"}, &core.AttrRef{Class: core.DomainClass, Name: "did"}
			var a core.Args
			for range rounds[i] {
				for range 200 {
					a.Reset()
					a.Push(core.TextValue("$fd"))
					a.Push(core.TextValue("Sip.iptel.org"))
					ok := r.m.lookupDomain(q, &a).Value.Num == 1
					v, _ := q.Attrs.Get(realm)
					d, _ := q.Attrs.Get(did)
					if !ok || v.Str != "iptel.org" || d.Str != "iptel" || r.m.IsDomainLocal([]byte("other.com")) {
						t.Error("a wrong answer during a reload")
					}
					q.Attrs.Set(realm, core.TextValue("mine")) // which nobody else may see
				}
			}
		})
	}
	for range reloads {
		for _, c := range rounds {
			select {
			case c <- struct{}{}:
			default: // it is busy still
			}
		}
		if err := r.m.Reload(t.Context()); err != nil {
			t.Error(err)
			break
		}
	}
	for _, c := range rounds {
		close(c)
	}
	wg.Wait()
}
