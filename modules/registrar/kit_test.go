package registrar

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/sipmsg"
	"sipr/modules/users"
)

type fakeDomain struct{ err error }

func (*fakeDomain) Describe() core.Spec { return core.Spec{Name: "domain"} }
func (d *fakeDomain) Lookup(_ *core.Request, name []byte) (string, bool, error) {
	if string(name) == "example.com" || string(name) == "example.net" {
		return "d1", true, d.err
	}
	return "", false, d.err
}

type fakeGateway struct{}

func (fakeGateway) Describe() core.Spec            { return core.Spec{Name: "gateway"} }
func (fakeGateway) IsGateway(addr netip.Addr) bool { return addr == netip.MustParseAddr("203.0.113.9") }

// fakeUsers knows alice, her alias staff, and idle, who never registers.
type fakeUsers struct{ err error }

func (*fakeUsers) Describe() core.Spec { return core.Spec{Name: "users"} }
func (u *fakeUsers) Lookup(_ *core.Request, did string, user []byte) (*users.User, bool, error) {
	switch string(user) {
	case "alice", "staff":
		return &users.User{UID: "u1", DID: did, Name: "alice"}, true, u.err
	case "idle":
		return &users.User{UID: "u2", DID: did, Name: "idle"}, true, u.err
	}
	return nil, false, u.err
}
func (u *fakeUsers) Owner(r *core.Request, did string, user []byte) (string, bool, error) {
	return "", false, u.err
}

// phone is a user agent with one AoR.
type phone struct {
	t    *testing.T
	h    *coretest.Host
	m    *Module
	cseq int
	id   string
}

func start(t *testing.T, params map[string]any) *phone {
	t.Helper()
	h := coretest.NewHost(t)
	h.Load(&fakeDomain{}, nil)
	h.Load(fakeGateway{}, nil)
	h.Load(&fakeUsers{}, nil)
	m := h.Load(New(), params).(*Module)
	return &phone{t: t, h: h, m: m, id: "id1"}
}

func memoryOnly(t *testing.T) *phone { return start(t, map[string]any{"db_mode": 0}) }

// request makes a REGISTER of alice with header lines.
func (p *phone) request(lines string) *core.Request {
	p.cseq++
	return p.exact(p.id, p.cseq, lines)
}

func (p *phone) exact(id string, cseq int, lines string) *core.Request {
	if lines != "" {
		lines = "\n" + lines
	}
	if !strings.Contains(lines, "\nTo:") {
		lines += "\nTo: <sip:alice@example.com>"
	}
	return p.h.Request(fmt.Sprintf("REGISTER sip:example.com SIP/2.0\nFrom: <sip:alice@example.com>;tag=1\nCall-ID: %s\nCSeq: %d REGISTER%s", id, cseq, lines))
}

// do saves a request and returns the reply's status line and contacts, with
// "|" between.
func (p *phone) do(r *core.Request, flags ...any) (string, core.Result) {
	p.t.Helper()
	p.h.Sent()
	res := p.h.Call(p.m, r, "save", append([]any{"location"}, flags...)...)
	sent := p.h.Sent()
	if len(sent) == 0 {
		return "", res
	}
	if len(sent) > 1 {
		p.t.Fatalf("%d replies", len(sent))
	}
	return digest(sent[0].Text), res
}

func digest(text string) string {
	var out []string
	for i, line := range strings.Split(text, "\r\n") {
		line = strings.TrimPrefix(line, "SIP/2.0 ")
		for _, name := range []string{"Contact: ", "Min-Expires: ", "Unsupported: ", "Path: "} {
			if i == 0 || strings.HasPrefix(line, name) {
				out = append(out, strings.TrimPrefix(line, "Contact: "))
				break
			}
		}
	}
	return strings.Join(out, "|")
}

// register is do for a new request.
func (p *phone) register(lines string, want string) {
	p.t.Helper()
	if got, _ := p.do(p.request(lines)); got != want {
		p.t.Errorf("REGISTER %q\n got %s\nwant %s", lines, got, want)
	}
}

// bindings asks for the present contacts.
func (p *phone) bindings() string {
	p.t.Helper()
	got, _ := p.do(p.exact("fetch", 1, ""))
	return got
}

// lookup returns the destinations of a call, best first, or why there are none.
func (p *phone) lookup(uri string) (string, *core.Request) {
	p.t.Helper()
	r := p.h.Request("INVITE " + uri + " SIP/2.0\nFrom: <sip:b@example.com>;tag=1\nTo: <" + uri + ">")
	res := p.h.Call(p.m, r, "lookup", "location")
	if res.Err != nil {
		return "error", r
	}
	if res.Value.Num == 0 {
		return res.Why, r
	}
	out := string(r.Msg.RURIText())
	for _, t := range r.Targets {
		out += " " + string(t.URI)
	}
	return out, r
}

func mustURI(t *testing.T, s string) *sipmsg.URI {
	u, err := sipmsg.ParseURI([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return &u
}

// fakeWriter is a database that can be slow and can fail.
type fakeWriter struct {
	started chan int      // gets the size of each batch
	finish  chan struct{} // one for each write, nil for none
	fail    func(batch []*job) error
}

func (w *fakeWriter) write(ctx context.Context, batch []*job) error {
	if w.started != nil {
		w.started <- len(batch)
	}
	if w.finish != nil {
		select {
		case <-w.finish:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if w.fail != nil {
		return w.fail(batch)
	}
	return nil
}

// withWriter is a registrar whose database is w.
func withWriter(t *testing.T, w writer) *phone {
	p := memoryOnly(t)
	p.m.committer = newCommitter(p.m.mem, w, p.h.Fake)
	p.m.store = p.m.committer
	go p.m.committer.run()
	return p
}
