package acc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/database"
	"sipr/core/sipmsg"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"),
		goleak.IgnoreTopFunction("database/sql.(*DB).connectionCleaner"))
}

// rig is a module under test.
type rig struct {
	*coretest.Host
	t  testing.TB
	m  *Module
	db *database.DB
}

func start(t testing.TB, h *coretest.Host, params map[string]any) *rig {
	t.Helper()
	m := New().(*Module)
	m.prefix = "id"
	h.Load(m, params)
	r := &rig{Host: h, t: t, m: m}
	if m.useDB {
		r.db = m.store.db
	}
	return r
}

func (r *rig) request(method, callID, fromTag, toTag string) *core.Request {
	to := "<sip:bob@example.org>"
	if toTag != "" {
		to += ";tag=" + toTag
	}
	return r.Request(method + " sip:bob@192.0.2.7 SIP/2.0\nFrom: <sip:alice@example.com>;tag=" + fromTag +
		"\nTo: " + to + "\nCall-ID: " + callID)
}

// final tells the module of a final response from downstream to req.
func (r *rig) final(req *core.Request, code int, reason string) {
	r.t.Helper()
	reply := new(sipmsg.Message)
	text := req.Msg.AppendReply(nil, &sipmsg.Reply{Code: code, Reason: reason, ToTag: []byte("b")})
	if err := reply.Parse(text); err != nil {
		r.t.Fatal(err)
	}
	r.Final(&core.FinalEvent{Request: req, Code: code, Reason: []byte(reason), Reply: reply, Now: r.Fake.Now()})
}

// sync waits until the writer has taken every record.
func (r *rig) sync() {
	c := make(chan struct{})
	r.m.writer.sync <- c
	<-c
}

// rows returns the rows of a query, their columns divided by spaces.
func (r *rig) rows(query string) []string {
	r.t.Helper()
	r.sync()
	rows, err := r.db.Queryx(query)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		cols, err := rows.SliceScan()
		if err != nil {
			r.t.Fatal(err)
		}
		var words []string
		for _, c := range cols {
			if at, ok := c.(time.Time); ok {
				c = at.UTC().Format("15:04:05.000")
			}
			words = append(words, fmt.Sprint(c))
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func (r *rig) want(query string, want ...string) {
	r.t.Helper()
	if d := cmp.Diff(want, r.rows(query)); d != "" {
		r.t.Errorf("%s: %s", query, d)
	}
}

const (
	events = "SELECT event, method, code, call_id FROM acc ORDER BY id"
	ends   = "SELECT call_id, end_reason, ended_by, duration_ms FROM cdr ORDER BY id"
)

func TestCall(t *testing.T) {
	r := start(t, coretest.NewHost(t), nil)
	req := r.request("INVITE", "c1", "a", "")
	req.Attrs.Set(&r.m.attrs.fromUID, core.TextValue("u-alice"))
	req.Attrs.Set(&r.m.attrs.fromDID, core.TextValue("d-com"))
	req.Attrs.Set(&r.m.attrs.toDID, core.TextValue("d-org"))
	r.Fake.Advance(1500 * time.Millisecond)
	r.final(req, 200, "OK")
	r.final(req, 200, "OK") // the 2xx again
	r.want(events, "answered INVITE 200 c1")
	r.want(ends)

	r.final(r.request("INVITE", "c1", "a", "b"), 200, "OK") // in the dialog
	r.Fake.Advance(time.Minute)
	r.final(r.request("BYE", "c1", "a", "b"), 401, "Unauthorized")
	r.final(r.request("BYE", "c1", "a", "b"), 403, "Forbidden")
	r.want(ends)
	r.final(r.request("BYE", "c1", "b", "a"), 200, "OK")
	r.want(events, "answered INVITE 200 c1", "bye BYE 200 c1")
	r.want("SELECT ruid, start_time, answer_time, end_time, duration_ms, end_reason, ended_by, code, from_tag, to_tag, from_uri, to_uri, from_uid, from_did, to_uid, to_did, src_ip FROM cdr",
		"id-1 00:00:00.000 00:00:01.500 00:01:01.500 60000 bye callee 200 a b sip:alice@example.com sip:bob@example.org u-alice d-com  d-org 192.0.2.1")
	r.want("SELECT ruid, setup_ms, request_uri FROM acc WHERE event = 'answered'", "id-1 1500 sip:bob@192.0.2.7")
	if n := r.m.calls.len(); n != 0 || r.Counter("calls").Load() != 0 {
		t.Errorf("%d calls are open", n)
	}
}

func TestModes(t *testing.T) {
	finals := []struct {
		method string
		code   int
	}{{"INVITE", 200}, {"INVITE", 486}, {"INVITE", 404}, {"INVITE", 401}, {"MESSAGE", 200}, {"MESSAGE", 404}, {"OPTIONS", 200}}
	tests := []struct {
		name   string
		params map[string]any
		choose string
		want   string
	}{
		{"default", nil, "", "answered 200"},
		{"off", map[string]any{"accounting": "off"}, "", ""},
		{"failed_transactions", map[string]any{"failed_transactions": true}, "", "answered 200, missed 486, failed 404"},
		{"methods", map[string]any{"log_methods": "MESSAGE, REFER"}, "", "answered 200, request 200"},
		{"methods failed", map[string]any{"log_methods": "MESSAGE", "accounting": "failed"}, "", "answered 200, missed 486, failed 404, request 200, request 404"},
		{"chosen off", nil, "off", ""},
		{"chosen missed", nil, "missed", "answered 200, missed 486"},
		{"chosen all", nil, "all", "answered 200, missed 486, failed 404, request 200, request 404, request 200"},
		{"chosen calls", map[string]any{"accounting": "all"}, "calls", "answered 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, coretest.NewHost(t), tt.params)
			for _, f := range finals {
				req := r.request(f.method, f.method, "a", "")
				if tt.choose != "" {
					if res := r.Call(r.m, req, "do_accounting", tt.choose); res.Err != nil {
						t.Fatal(res.Err)
					}
				}
				r.final(req, f.code, "x")
			}
			if got := strings.Join(r.rows("SELECT event, code FROM acc ORDER BY id"), ", "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			r.final(r.request("BYE", "INVITE", "a", "b"), 200, "OK")
			if n, off := len(r.rows("SELECT id FROM cdr")), tt.want == ""; off != (n == 0) {
				t.Errorf("%d call records", n)
			}
			if n, off := len(r.rows("SELECT id FROM acc WHERE event = 'bye'")), tt.want == ""; off != (n == 0) {
				t.Errorf("%d ends", n)
			}
		})
	}
}

func TestLostBye(t *testing.T) {
	r := start(t, coretest.NewHost(t), map[string]any{"max_call_time": 3600, "max_calls": 2})
	r.final(r.request("INVITE", "c1", "a", ""), 200, "OK")
	r.Fake.Advance(30 * time.Minute)
	r.final(r.request("INVITE", "c2", "a", ""), 200, "OK")
	r.final(r.request("INVITE", "c3", "a", ""), 200, "OK") // no room
	r.Fake.Advance(31 * time.Minute)
	r.Tick()
	r.want(ends, "c1 lost  3660000")
	r.want("SELECT call_id FROM acc", "c1", "c2", "c3")
	if n := r.Counter("calls_full").Load(); n != 1 {
		t.Errorf("calls_full is %d", n)
	}
	r.final(r.request("BYE", "c9", "a", "b"), 200, "OK") // of a call from before
	r.final(r.request("BYE", "c2", "a", "b"), 481, "Gone")
	r.want("SELECT event FROM acc WHERE method = 'BYE'", "bye", "bye")
	r.want("SELECT call_id, end_reason, ended_by FROM cdr WHERE end_reason <> 'lost'", "c2 gone caller")
}

func TestRestart(t *testing.T) {
	h := coretest.NewHost(t)
	r := start(t, h, nil)
	r.final(r.request("INVITE", "c1", "a", ""), 200, "OK")
	r.final(r.request("INVITE", "c2", "a", ""), 200, "OK")
	r.final(r.request("BYE", "c2", "a", "b"), 200, "OK")
	if err := r.m.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.Hooks.Final = nil
	h.Fake.Advance(time.Minute)
	second := New().(*Module)
	second.prefix = "second"
	h.Load(second, nil)
	r = &rig{Host: h, t: t, m: second, db: second.store.db}
	if n := second.calls.len(); n != 1 {
		t.Fatalf("%d open calls were read back", n)
	}
	r.final(r.request("BYE", "c1", "b", "a"), 200, "OK")
	r.want("SELECT ruid, call_id, end_reason, ended_by, duration_ms FROM cdr ORDER BY id", "id-2 c2 bye caller 0", "id-1 c1 bye callee 60000")
}

func TestDatabaseFails(t *testing.T) {
	for _, spool := range []string{"", "spool"} {
		t.Run("spool="+spool, func(t *testing.T) {
			r := start(t, coretest.NewHost(t), map[string]any{"spool_file": spool, "queue_size": 3})
			r.final(r.request("INVITE", "c1", "a", ""), 200, "OK")
			r.sync()
			r.db.MustExec("ALTER TABLE acc RENAME TO away")
			for _, id := range []string{"c2", "c3", "c4", "c5"} {
				r.final(r.request("INVITE", id, "a", ""), 200, "OK")
				r.sync()
			}
			call, err := r.Command(r.m, "stats")
			if err != nil {
				t.Fatal(err)
			}
			if s := stat(call, "database"); s != "failing" {
				t.Errorf("database is %v", s)
			}
			want, lost := []string{"c1", "c2", "c3", "c4", "c5"}, int64(0)
			if spool == "" {
				want, lost = want[:4], 1
			}
			if n := stat(call, "lost"); n != lost {
				t.Errorf("lost %v, want %d", n, lost)
			}
			r.db.MustExec("ALTER TABLE away RENAME TO acc")
			r.retry()
			r.want("SELECT call_id FROM acc ORDER BY id", want...)
			call, _ = r.Command(r.m, "stats")
			if s := stat(call, "database"); s != "ok" {
				t.Errorf("database is %v", s)
			}
		})
	}
}

// retry lets the time pass after which the database is tried again.
func (r *rig) retry() {
	r.Fake.Advance(2 * time.Minute)
	for len(r.m.writer.retry) > 0 { // the writer takes it before or after a sync
		r.sync()
	}
	r.sync()
}

func TestSpoolOutlivesStop(t *testing.T) {
	h := coretest.NewHost(t)
	r := start(t, h, map[string]any{"spool_file": "spool"})
	r.db.Close()
	r.final(r.request("INVITE", "c1", "a", ""), 200, "OK")
	r.final(r.request("BYE", "c1", "a", "b"), 200, "OK")
	if err := r.m.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(h.Dir, "spool"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"type":"event","ruid":"to`) // cut short by a crash
	f.Close()

	h2 := coretest.NewHost(t)
	r2 := start(t, h2, map[string]any{"spool_file": filepath.Join(h.Dir, "spool")})
	r2.want(events, "answered INVITE 200 c1", "bye BYE 200 c1")
	r2.want(ends, "c1 bye caller 0")
	if n := r2.Counter("lost").Load(); n != 1 {
		t.Errorf("lost %d", n)
	}
	if !r2.m.writer.spool.empty() {
		t.Error("the spool file is not empty")
	}
}

func TestIdempotent(t *testing.T) {
	r := start(t, coretest.NewHost(t), nil)
	rows := []*row{{Type: typeEvent, RUID: "x", Event: "answered", Time: "2026-01-01T00:00:00.000Z"}, {Type: typeCall, RUID: "x"}}
	for range 2 {
		if err := r.m.store.insert(context.Background(), rows); err != nil {
			t.Fatal(err)
		}
	}
	r.want("SELECT COUNT(*) FROM acc", "1")
	r.want("SELECT COUNT(*) FROM cdr", "1")
}

func TestQueueOverflow(t *testing.T) {
	r := start(t, coretest.NewHost(t), map[string]any{"queue_size": 2})
	writer := r.m.writer
	r.m.writer = newWriter(r.m) // nobody takes from its queue
	for _, id := range []string{"c1", "c2", "c3", "c4"} {
		r.final(r.request("INVITE", id, "a", ""), 200, "OK")
	}
	if n := r.Counter("lost").Load(); n != 2 {
		t.Errorf("lost %d", n)
	}
	r.Tick()
	if r.m.reported != 2 {
		t.Errorf("reported %d", r.m.reported)
	}
	r.m.writer = writer
}

func TestJSON(t *testing.T) {
	h := coretest.NewHost(t)
	r := start(t, h, map[string]any{"use_db": false, "json_file": "acc.json"})
	req := r.request("INVITE", "c1", "a", "")
	r.Call(r.m, req, "acc_request", "<before> \xff")
	r.final(req, 200, "OK")
	name := filepath.Join(h.Dir, "acc.json")
	r.sync()
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Command(r.m, "reopen"); err != nil {
		t.Fatal(err)
	}
	r.Fake.Advance(time.Second)
	r.final(r.request("BYE", "c1", "a", "b"), 200, "OK")
	r.final(r.request("INVITE", "c2", "a", ""), 200, "OK")
	if err := r.m.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	const tail = `"from_uri":"sip:alice@example.com","to_uri":"sip:bob@example.org","request_uri":"sip:bob@192.0.2.7","from_uid":"","from_did":"","to_uid":"","to_did":"","src_ip":"192.0.2.1"`
	want := map[string][]string{
		name + ".1": {
			`{"type":"event","ruid":"id-1","event":"script","time":"2026-01-01T00:00:00.000Z","setup_ms":0,"method":"INVITE","code":0,"reason":"","call_id":"c1","from_tag":"a","to_tag":"",` + tail + `,"comment":"<before> ?"}`,
			`{"type":"event","ruid":"id-2","event":"answered","time":"2026-01-01T00:00:00.000Z","setup_ms":0,"method":"INVITE","code":200,"reason":"OK","call_id":"c1","from_tag":"a","to_tag":"b",` + tail + `}`,
		},
		name: {
			`{"type":"call","ruid":"id-2","start_time":"2026-01-01T00:00:00.000Z","answer_time":"2026-01-01T00:00:00.000Z","end_time":"2026-01-01T00:00:01.000Z","duration_ms":1000,"end_reason":"bye","ended_by":"caller","method":"INVITE","code":200,"reason":"OK","call_id":"c1","from_tag":"a","to_tag":"b",` + tail + `}`,
			`{"type":"event","ruid":"id-3","event":"bye","time":"2026-01-01T00:00:01.000Z","setup_ms":0,"method":"BYE","code":200,"reason":"OK","call_id":"c1","from_tag":"a","to_tag":"b",` + tail + `}`,
			`{"type":"event","ruid":"id-4","event":"answered","time":"2026-01-01T00:00:01.000Z","setup_ms":0,"method":"INVITE","code":200,"reason":"OK","call_id":"c2","from_tag":"a","to_tag":"b",` + tail + `}`,
			`{"type":"call","ruid":"id-4","start_time":"2026-01-01T00:00:01.000Z","answer_time":"2026-01-01T00:00:01.000Z","end_time":"2026-01-01T00:00:01.000Z","duration_ms":0,"end_reason":"stopped","method":"INVITE","code":200,"reason":"OK","call_id":"c2","from_tag":"a","to_tag":"b",` + tail + `}`,
		},
	}
	for file, lines := range want {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(lines, strings.Split(strings.TrimSpace(string(data)), "\n")); d != "" {
			t.Errorf("%s: %s", file, d)
		}
	}
}

func TestBadSettings(t *testing.T) {
	for name, tt := range map[string]struct {
		params map[string]any
		want   string
	}{
		"nowhere":    {map[string]any{"use_db": false}, "json_file"},
		"spool":      {map[string]any{"use_db": false, "json_file": "-", "spool_file": "s"}, "use_db is false"},
		"accounting": {map[string]any{"accounting": "some"}, "one of"},
		"methods":    {map[string]any{"log_methods": "MESSAGE,message"}, `"message"`},
		"queue":      {map[string]any{"queue_size": 0}, "out of range"},
		"file":       {map[string]any{"json_file": "no/such/dir/x"}, "json_file"},
		"table":      {map[string]any{"acc_table": "missing"}, "acc_table"},
	} {
		t.Run(name, func(t *testing.T) {
			err := coretest.NewHost(t).TryLoad(New(), tt.params)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestLongText checks that what does not fit a column is cut, not refused.
func TestLongText(t *testing.T) {
	var r record
	r.set(fFromTag, []byte(strings.Repeat("ä", 100)))
	if got := string(r.get(fFromTag)); got != strings.Repeat("ä", 64) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestObserverAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("allocations cannot be counted")
	}
	r := start(t, coretest.NewHost(t), map[string]any{"use_db": false, "json_file": "x", "accounting": "failed"})
	writer := r.m.writer
	r.m.writer = newWriter(r.m)
	e := &core.FinalEvent{Request: r.request("INVITE", "c", "a", ""), Code: 404, Reason: []byte("Not Found"), Now: r.Fake.Now()}
	n := testing.AllocsPerRun(100, func() {
		r.m.onFinal(e)
		r.m.free(<-r.m.writer.queue)
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
	r.m.writer = writer
}

func stat(c *core.Call, name string) any {
	for _, m := range c.Reply[0].(*core.Struct).Members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}
