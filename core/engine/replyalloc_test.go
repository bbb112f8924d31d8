package engine

import (
	"net/netip"
	"strings"
	"testing"

	"sipr/core"
)

// listNet is a nullNet whose list of sockets is made once.
type listNet struct {
	*nullNet
	list []*core.Socket
}

func (n *listNet) Sockets() []*core.Socket { return n.list }

// A response that is forwarded statelessly costs no memory, whatever
// reply_route does to it.
func TestResponsesDoNotAllocate(t *testing.T) {
	for _, tt := range []struct{ name, route, want string }{
		{"no reply_route", "", "SIP/2.0 200 OK"},
		{"looks", "function reply_route() if status == 183 and is_method('INVITE') then drop() end end", "SIP/2.0 200 OK"},
		{"edits", "function reply_route() remove_hf('Server') append_hf('X-Seen: yes') end", "\r\nX-Seen: yes\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := rig(t, "", "function request_route() forward() end\n"+tt.route)
			if err != nil {
				t.Fatal(err)
			}
			n := &nullNet{buf: make([]byte, 0, 1<<16), socket: &core.Socket{Proto: core.UDP, Addr: netip.MustParseAddrPort("192.0.2.100:5060"),
				SentBy: []byte("192.0.2.100"), Host: []byte("192.0.2.100"), Port: 5060}}
			e.network = &listNet{n, n.Sockets()}
			if err := e.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer e.Stop(t.Context())
			flow := core.Flow{Socket: n.socket, Remote: netip.MustParseAddrPort("192.0.2.9:5060")}
			e.Handle(n, complete("INVITE sip:b@192.0.2.9 SIP/2.0"), flow, e.clock.Now())
			_, rest, _ := strings.Cut(string(n.sent[0]), "\r\n")
			response := []byte("SIP/2.0 200 OK\r\nServer: x\r\n" + rest)
			now := e.clock.Now()
			e.Handle(n, response, flow, now)
			if got := string(n.sent[len(n.sent)-1]); !strings.Contains(got, tt.want) {
				t.Fatal(got)
			}
			if a := testing.AllocsPerRun(500, func() {
				n.reset()
				e.Handle(n, response, flow, now)
			}); a >= 1 {
				t.Errorf("%v allocations", a)
			}
		})
	}
}
