package engine_test

import (
	"strings"
	"testing"
	"time"
)

const (
	stateful  = "function request_route() t_on_reply('own') t_relay() end function own() append_hf('X-Order: own ' .. (msg.header['X-Seen'] or 'none')) end\n"
	stateless = "function request_route() forward() end\n"
)

func TestReplyRoute(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		codes        []int
		want         string // parts that alice's last response has, joined by |; empty: nothing came
	}{
		{"before the transaction's own", stateful + "function reply_route() append_hf('X-Seen: ' .. status .. ' ' .. reason .. ' ' .. method) end", []int{180},
			"SIP/2.0 180|X-Order: own 180 Test INVITE\r\n|X-Seen: 180 Test INVITE\r\n"},
		{"a final one that waits for others", stateful + "function reply_route() append_hf('X-Seen: best') end", []int{404}, "SIP/2.0 404|X-Seen: best\r\n"},
		{"selects", stateless + "function reply_route() set_hf('X-All', from.uri.user .. cseq.method .. src.ip .. to.tag .. '@call_id') if is_method('INVITE') and has_totag() then append_hf('X-Is: yes') end end",
			[]int{200}, "X-All: aliceINVITE192.0.2.2b@call_id\r\n|X-Is: yes\r\n"},
		{"stateless", stateless + "function reply_route() append_hf('X-Seen: yes') remove_hf('X-None') end", []int{200}, "SIP/2.0 200|X-Seen: yes\r\n"},
		{"body", stateless + "function reply_route() set_body('hello', 'text/plain') end", []int{200}, "Content-Length: 5\r\n|\r\n\r\nhello"},
		{"drop provisional", stateful + "function reply_route() if status == 183 then drop() end end", []int{183}, ""},
		{"drop final", stateful + "function reply_route() drop() end", []int{183, 486}, "SIP/2.0 486"},
		{"drop final 200", stateful + "function reply_route() append_hf('X-Seen: yes') drop() end", []int{200}, "SIP/2.0 200|X-Seen: yes\r\n"},
		{"drop stateless", stateless + "function reply_route() drop() end", []int{200}, ""},
		{"drop stateless provisional", stateless + "function reply_route() drop() end", []int{180}, ""},
		{"error", stateful + "function reply_route() error('mine') end", []int{180}, "SIP/2.0 180"},
		{"exit", stateful + "function reply_route() exit() end", []int{180}, "SIP/2.0 180"},
		{"too large", stateless + "function reply_route() local s = ('x'):rep(60000) append_hf('X-A: ' .. s) append_hf('X-B: ' .. s) end", []int{200}, "SIP/2.0 200"},
		{"not to be sent", stateless + "function reply_route() remove_hf('To') end", []int{200}, "SIP/2.0 200|\r\nTo: "},
		{"called for a request", "function request_route() reply_route() forward() end function reply_route() if status then append_hf('X-Seen: yes') end end", []int{200}, "X-Seen: yes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRouter(t, tt.script)
			p, got := r.open("a"), ""
			for _, code := range tt.codes {
				got = r.reply(p, code)
			}
			if tt.want == "" && got != "" {
				t.Errorf("got %s", got)
			}
			for _, part := range strings.Split(tt.want, "|") {
				if !strings.Contains(got, part) {
					t.Errorf("got %s\nwant %q\nlog %s", got, part, r.log)
				}
			}
		})
	}
}

// A provisional response that the script drops still says that somebody is
// there: the INVITE is not sent again, and CANCEL may follow it.
func TestDroppedProvisionalStopsRetransmissions(t *testing.T) {
	r := newRouter(t, stateful+"function reply_route() if status < 200 then drop() end end")
	p := r.open("a")
	if got := r.reply(p, 180); got != "" {
		t.Fatal(got)
	}
	for range 400 {
		r.Clock.Advance(100 * time.Millisecond)
	}
	if sent := r.Sent(); len(sent) > 0 {
		t.Fatalf("%d messages, the first %s", len(sent), sent[0].Text)
	}
	if got := r.reply(p, 200); !strings.HasPrefix(got, "SIP/2.0 200") {
		t.Fatal(got)
	}
}

func TestReplyRouteIsLogged(t *testing.T) {
	r := newRouter(t, stateful+"function reply_route()\n if status == 180 then error('mine') end log('info', 'seen ' .. status) drop() end")
	p := r.open("a")
	r.reply(p, 180)
	r.reply(p, 486)
	for _, want := range []string{"route.lua:3: mine", "seen 486", "needs its final response"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("no %q in %s", want, r.log)
		}
	}
}

// What could not leave has no sender: reply_route sees what others sent.
func TestReplyRouteSeesWhatArrives(t *testing.T) {
	r := newRouter(t, stateful+"function reply_route() log('info', 'seen ' .. status) end")
	r.Undeliverable(r.open("a"))
	if strings.Contains(r.log.String(), "seen") {
		t.Error(r.log)
	}
}

func TestReplyRouteIsReplacedAtOnce(t *testing.T) {
	r := newRouter(t, stateful)
	p := r.open("a")
	r.reload(stateful + "function reply_route() append_hf('X-Seen: new') end")
	if got := r.reply(p, 180); !strings.Contains(got, "X-Seen: new") {
		t.Error(got)
	}
}
