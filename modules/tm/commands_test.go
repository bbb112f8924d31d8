package tm_test

import (
	"errors"
	"slices"
	"testing"

	"sipr/core"
	"sipr/core/coretest/sim"
)

// command runs a management command.
func (r *rig) command(name string, params ...any) (*core.Call, error) {
	r.t.Helper()
	return r.Engine.Commands().Run(r.t.Context(), name, params)
}

// members returns the members of a struct of a reply by name; the last counts.
func members(v any) map[string]any {
	m := map[string]any{}
	for _, x := range v.(*core.Struct).Members {
		m[x.Name] = x.Value
	}
	return m
}

func (r *rig) listed(params ...any) []map[string]any {
	r.t.Helper()
	c, err := r.command("tm.list", params...)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []map[string]any
	for _, v := range c.Reply {
		out = append(out, members(v))
	}
	return out
}

func TestList(t *testing.T) {
	r := start(t, plain)
	if got := r.listed(); got != nil {
		t.Fatal(got)
	}
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 180))
	r.take()
	r.advance(1000 * ms)
	list := r.listed()
	if len(list) != 1 {
		t.Fatal(list)
	}
	got := list[0]
	for name, want := range map[string]any{
		"method": "INVITE", "uri": toBob, "callid": "call-1", "cseq": int64(1), "from": "sip:alice@home.example", "from_tag": "a1",
		"to": "sip:bob@home.example", "state": "proceeding", "code": int64(180), "age_ms": int64(1000), "source": "udp:" + alice,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, not %v", name, got[name], want)
		}
	}
	if b := members(got["branch"]); b["destination"] != "udp:"+bob || b["code"] != int64(180) {
		t.Error(b)
	}
	r.Receive(alice, request("OPTIONS", "z9hG4bKo", toBob))
	r.take()
	all := r.listed(int64(100), int64(0))
	if len(all) != 2 || len(r.listed(int64(1))) != 1 || len(r.listed(int64(9), int64(2))) != 0 ||
		r.listed(int64(1), int64(1))[0]["index"] != all[1]["index"] {
		t.Error(all)
	}
	for _, bad := range [][]any{{int64(0)}, {int64(1001)}, {int64(1), int64(-1)}} {
		if _, err := r.command("tm.list", bad...); err == nil {
			t.Error(bad)
		}
	}
	r.Receive(bob, answer(r.last(bob, "OPTIONS"), 200))
	r.take()
	if list := r.listed(); len(list) != 1 {
		t.Errorf("what is answered is shown: %v", list)
	}
}

// TestListOfBusyTransactions shows what the script has in hand, too.
func TestListOfBusyTransactions(t *testing.T) {
	r := start(t, `function request_route() t_newtran() block() t_relay() end`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Receive(alice, invite("z9hG4bKi"))
	}()
	<-r.test.enter
	list := r.listed()
	if len(list) != 1 || list[0]["state"] != "busy" || list[0]["method"] != "INVITE" {
		t.Error(list)
	}
	if _, err := r.command("tm.cancel", "call-1", int64(1)); !isFault(err, 503) {
		t.Error(err)
	}
	r.test.leave <- struct{}{}
	<-done
}

func isFault(err error, code int) bool {
	f, ok := errors.AsType[*core.Fault](err)
	return ok && f.Code == code
}

func TestCancelCommand(t *testing.T) {
	r := start(t, plain)
	r.Receive(alice, invite("z9hG4bKi"))
	r.take()
	inv := r.last(bob, "INVITE")
	r.Receive(bob, answer(inv, 180))
	r.take()
	for _, bad := range []struct {
		code   int
		params []any
	}{{404, []any{"call-2", int64(1)}}, {404, []any{"call-1", int64(2)}}, {400, []any{"call-1"}}, {400, nil}} {
		if _, err := r.command("tm.cancel", bad.params...); !isFault(err, bad.code) {
			t.Errorf("%v: %v", bad.params, err)
		}
	}
	c, err := r.command("tm.cancel", "call-1", "1")
	if err != nil || members(c.Reply[0])["canceled"] != int64(1) {
		t.Fatal(c, err)
	}
	r.expect("bob CANCEL")
	if got := members(r.listed()[0]["branch"]); got["canceled"] != true {
		t.Error(got)
	}
	r.Receive(bob, answer(r.last(bob, "CANCEL"), 200))
	r.Receive(bob, answer(inv, 487))
	r.expect("bob ACK", "alice 487")
	r.Receive(alice, request("ACK", "z9hG4bKi", toBob))
	if _, err := r.command("tm.cancel", "call-1", int64(1)); !isFault(err, 404) {
		t.Error(err)
	}
	r.empty()
}

// TestTimerOfRunningRouter changes fr_timer between two requests.
func TestTimerOfRunningRouter(t *testing.T) {
	r := start(t, plain)
	if _, err := r.command("cfg.set", "tm", "fr_timer", int64(1000)); err != nil {
		t.Fatal(err)
	}
	r.Receive(alice, invite("z9hG4bKi"))
	r.advance(1100 * ms)
	r.take()
	if !slices.ContainsFunc(r.seen, func(p sim.Packet) bool { return p.To() == alice && p.Line() == "SIP/2.0 408 Request Timeout" }) {
		t.Errorf("no 408 after fr_timer: %v", r.seen)
	}
}
