// Package coretest runs a module without sockets and script: a Host with a
// fake clock, requests made of text, and what was sent, kept as text. Tests of
// whole conversations use the real engine on a virtual network instead.
package coretest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// Host is a core.Host, core.Engine and core.Network for tests of one module.
type Host struct {
	T     testing.TB
	Fake  *clock.Fake
	URL   string // what DBURL returns for ""; a fresh SQLite file
	Dir   string // what relative paths are relative to
	Hooks struct {
		Request  []func(*core.Request) bool
		Response []func(*core.Response) bool
		Hold     []func(*core.Request)
		Final    []func(*core.FinalEvent)
		Myself   []func([]byte) bool
	}
	// Waits counts calls of Request.Wait.
	Waits int
	// Drain is what Draining returns.
	Drain bool

	mu       sync.Mutex
	modules  map[string]core.Module
	shared   map[string]io.Closer
	counters map[string]*core.Counter
	sent     []Sent
	socket   *core.Socket
	periodic []func(context.Context)
}

// Sent is one message that was given to a Sender.
type Sent struct {
	To   core.Flow
	Text string
}

// NewHost returns a host that ends with the test.
func NewHost(t testing.TB) *Host {
	dir := t.TempDir()
	h := &Host{
		T: t, Fake: clock.NewFake(), Dir: dir, URL: "sqlite:" + filepath.Join(dir, "sipr.db"),
		modules: map[string]core.Module{}, shared: map[string]io.Closer{}, counters: map[string]*core.Counter{},
	}
	h.socket = &core.Socket{Proto: core.UDP, Addr: netip.MustParseAddrPort("192.0.2.100:5060"),
		SentBy: []byte("192.0.2.100"), Host: []byte("192.0.2.100"), Port: 5060}
	t.Cleanup(func() {
		for _, c := range h.shared {
			c.Close()
		}
	})
	return h
}

// Load describes m, sets params, configures and starts it, and stops it at the
// end of the test. params maps names to string, int64 or bool; a []any sets a
// parameter several times.
func (h *Host) Load(m core.Module, params map[string]any) core.Module {
	h.T.Helper()
	if err := h.TryLoad(m, params); err != nil {
		h.T.Fatal(err)
	}
	return m
}

// TryLoad is Load for a start that may fail.
func (h *Host) TryLoad(m core.Module, params map[string]any) error {
	spec := m.Describe()
	for name, v := range params {
		values, ok := v.([]any)
		if !ok {
			values = []any{v}
		}
		found := false
		for _, p := range spec.Params {
			if p.Name != name {
				continue
			}
			found = true
			for _, v := range values {
				if n, ok := v.(int); ok {
					v = int64(n)
				}
				if err := p.Set(v); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		if !found {
			return fmt.Errorf("%s has no parameter %s", spec.Name, name)
		}
	}
	h.modules[spec.Name] = m
	if c, ok := m.(core.Configurer); ok {
		if err := c.Configure(h); err != nil {
			return err
		}
	}
	if s, ok := m.(core.Starter); ok {
		if err := s.Start(context.Background()); err != nil {
			return err
		}
	}
	if s, ok := m.(core.Stopper); ok {
		h.T.Cleanup(func() { s.Stop(context.Background()) })
	}
	return nil
}

// Call calls an export of m with literal arguments; texts that begin with "@"
// or "$" are evaluated where the export's argument is dynamic.
func (h *Host) Call(m core.Module, r *core.Request, name string, args ...any) core.Result {
	h.T.Helper()
	for _, e := range m.Describe().Exports {
		if e.Name == name {
			var a core.Args
			a.Reset()
			for i, v := range args {
				a.Push(value(h.T, r, e.Args[i], v))
			}
			return e.Fn(r, &a)
		}
	}
	h.T.Fatalf("no export %s", name)
	return core.Result{}
}

func value(t testing.TB, r *core.Request, arg core.Arg, v any) core.Value {
	switch v := v.(type) {
	case int:
		return core.IntValue(int64(v))
	case bool:
		return core.BoolValue(v)
	case string:
		if arg.Kind == core.ArgText && strings.HasPrefix(v, "@") {
			sel, err := core.CompileSelect(v)
			if err != nil {
				t.Fatal(err)
			}
			return sel(r)
		}
		if arg.Kind == core.ArgText && strings.HasPrefix(v, "$") {
			ref, err := core.ParseAttrRef(v)
			if err != nil {
				t.Fatal(err)
			}
			val, _ := r.Attrs.Get(&ref)
			return val
		}
		return core.TextValue(v)
	}
	t.Fatalf("argument %v", v)
	return core.Value{}
}

// Command runs a management command of m.
func (h *Host) Command(m core.Module, name string, params ...any) (*core.Call, error) {
	h.T.Helper()
	for _, c := range m.Describe().Commands {
		if c.Name == name {
			call := &core.Call{Params: params}
			return call, c.Run(context.Background(), call)
		}
	}
	h.T.Fatalf("no command %s", name)
	return nil, nil
}

// Request makes a request of text, whose lines may end with LF, received over
// UDP from 192.0.2.1:5060. Missing Max-Forwards, Call-ID, CSeq and Via header
// fields are added.
func (h *Host) Request(text string) *core.Request {
	h.T.Helper()
	head, body, _ := strings.Cut(strings.TrimSpace(text), "\n\n")
	method, _, _ := strings.Cut(head, " ")
	for _, d := range []struct{ name, value string }{
		{"Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKtest"}, {"Max-Forwards", "70"},
		{"Call-ID", "call-1@192.0.2.1"}, {"CSeq", "1 " + method},
	} {
		if !strings.Contains(head, "\n"+d.name+":") {
			head += "\n" + d.name + ": " + d.value
		}
	}
	raw := strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + strings.ReplaceAll(body, "\n", "\r\n")
	r := &core.Request{Engine: h, Msg: new(sipmsg.Message), Now: h.Fake.Now(), Out: h.NewSender(), Route: core.RequestRoute}
	if err := r.Msg.Parse([]byte(raw)); err != nil {
		h.T.Fatal(err)
	}
	if p := r.Msg.Check(); p != nil {
		h.T.Fatal(p)
	}
	r.Flow = core.Flow{Socket: h.socket, Remote: netip.MustParseAddrPort("192.0.2.1:5060")}
	return r
}

// Sent returns and forgets the messages that were sent.
func (h *Host) Sent() []Sent {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sent
	h.sent = nil
	return s
}

// Tick runs every function that was registered with Every once.
func (h *Host) Tick() {
	for _, f := range h.periodic {
		f(context.Background())
	}
}

// The rest implements core.Host.

func (h *Host) Clock() clock.Clock      { return h.Fake }
func (h *Host) Log() *slog.Logger       { return slog.New(slog.NewTextHandler(testWriter{h.T}, nil)) }
func (h *Host) Network() core.Network   { return h }
func (h *Host) Path(name string) string { return absolute(h.Dir, name) }
func (h *Host) DBURL(url string) string {
	if url == "" {
		return h.URL
	}
	return url
}
func (h *Host) Secret(purpose string) [32]byte { return sha256.Sum256([]byte("test" + purpose)) }
func (h *Host) Shared(key string, open func() (io.Closer, error)) (io.Closer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.shared[key]; ok {
		return c, nil
	}
	c, err := open()
	if err == nil {
		h.shared[key] = c
	}
	return c, err
}
func (h *Host) Module(name string) (core.Module, error) {
	if m, ok := h.modules[name]; ok {
		return m, nil
	}
	return nil, fmt.Errorf("module %s is not loaded", name)
}
func (h *Host) Loaded(name string) bool { return h.modules[name] != nil }
func (h *Host) Every(_ time.Duration, f func(context.Context)) {
	h.periodic = append(h.periodic, f)
}
func (h *Host) Counter(name string) *core.Counter {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.counters[name] == nil {
		h.counters[name] = new(core.Counter)
	}
	return h.counters[name]
}
func (h *Host) OnRequest(f func(*core.Request) bool) { h.Hooks.Request = append(h.Hooks.Request, f) }
func (h *Host) OnResponse(f func(*core.Response) bool) {
	h.Hooks.Response = append(h.Hooks.Response, f)
}
func (h *Host) OnHold(f func(*core.Request))     { h.Hooks.Hold = append(h.Hooks.Hold, f) }
func (h *Host) OnFinal(f func(*core.FinalEvent)) { h.Hooks.Final = append(h.Hooks.Final, f) }
func (h *Host) AddMyself(f func([]byte) bool)    { h.Hooks.Myself = append(h.Hooks.Myself, f) }
func (h *Host) Draining() bool                   { return h.Drain }

// Wait implements core.Engine: it runs f at once.
func (h *Host) Wait(_ *core.Request, _ string, f func(context.Context) error) error {
	h.mu.Lock()
	h.Waits++
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return f(ctx)
}

// RunRoute implements core.Engine: there is no script.
func (h *Host) RunRoute(*core.Request, core.RouteKind, string) error {
	return errors.New("no script in this test")
}

// IsMyself implements core.Engine.
func (h *Host) IsMyself(host []byte, _ uint16) bool {
	if string(host) == "192.0.2.100" {
		return true
	}
	for _, f := range h.Hooks.Myself {
		if f(host) {
			return true
		}
	}
	return false
}

// ReplyTag implements core.Engine.
func (h *Host) ReplyTag(dst []byte, _ *core.Request) []byte { return append(dst, "totag"...) }

// Final implements core.Engine.
func (h *Host) Final(e *core.FinalEvent) {
	for _, f := range h.Hooks.Final {
		f(e)
	}
}

// Retain and Release implement core.Engine; the garbage collector does it.
func (h *Host) Retain(*core.Request) {}

// Release implements core.Engine.
func (h *Host) Release(*core.Request) {}

// Forward implements core.Engine.
func (h *Host) Forward(r *core.Request, t *core.Target) error {
	hop, err := r.HopFor(t)
	if err != nil {
		return err
	}
	if !hop.Flow.Valid() {
		if hop.Flow, err = h.Resolve(r, &hop.Next, nil); err != nil {
			return err
		}
	}
	return r.Out.Send(hop.Flow, r.AppendBranch(r.Out.Buffer(), hop, t, []byte("z9hG4bKstateless")))
}

// Resolve implements core.Engine for IP addresses.
func (h *Host) Resolve(_ *core.Request, u *sipmsg.URI, _ *core.Socket) (core.Flow, error) {
	ip, ok := sipmsg.ParseIP(u.Host)
	if !ok {
		return core.Flow{}, errors.New("no DNS in this test")
	}
	port := u.Port
	if port == 0 {
		port = 5060
	}
	return core.Flow{Socket: h.socket, Remote: netip.AddrPortFrom(ip, port)}, nil
}

// ResolveAll implements core.Engine for IP addresses.
func (h *Host) ResolveAll(r *core.Request, u *sipmsg.URI, prefer *core.Socket, buf []core.Flow) ([]core.Flow, error) {
	f, err := h.Resolve(r, u, prefer)
	if err != nil {
		return buf, err
	}
	return append(buf, f), nil
}

// Unreachable implements core.Engine.
func (h *Host) Unreachable(core.Flow) {}

// Sockets implements core.Network.
func (h *Host) Sockets() []*core.Socket { return []*core.Socket{h.socket} }

// Route implements core.Network.
func (h *Host) Route(p core.Proto, to netip.AddrPort, _ *core.Socket) (core.Flow, error) {
	if p != core.UDP {
		return core.Flow{}, errors.New("no such socket")
	}
	return core.Flow{Socket: h.socket, Remote: to}, nil
}

// Alive implements core.Network.
func (h *Host) Alive(core.Flow) bool { return true }

// NewSender implements core.Network.
func (h *Host) NewSender() core.Sender { return sender{h} }

type sender struct{ h *Host }

func (s sender) Buffer() []byte { return make([]byte, 0, sipmsg.MaxSize) }
func (s sender) Flush()         {}
func (s sender) Send(to core.Flow, msg []byte) error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.sent = append(s.h.sent, Sent{to, string(msg)})
	return nil
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
