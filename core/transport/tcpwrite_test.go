package transport

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/sipmsg"
)

// peer is a listener that the transport connects to.
func peer(t *testing.T) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).AddrPort()
}

func accept(t *testing.T, ln *net.TCPListener) *net.TCPConn {
	t.Helper()
	ln.SetDeadline(time.Now().Add(patience))
	c, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func ignore(Worker, []byte, core.Flow) {}

func TestConnect(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: echo})
	ln, to := peer(t)
	f := core.Flow{Socket: tr.Sockets()[0], Remote: to}
	// Many senders at once share one connection.
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			w := tr.NewSender()
			for range 10 {
				if err := w.Send(f, message(7, 20)); err != nil {
					t.Error(err)
				}
				w.Flush()
			}
		})
	}
	all.Wait()
	c := accept(t, ln)
	for range 200 {
		expect(t, c, message(7, 20))
	}
	if list := tr.Conns(10); len(list) != 1 {
		t.Errorf("connections %+v", list)
	}
	write(t, c, message(8, 0)) // and it is read from
	expect(t, c, message(8, 0))

	c.Close()
	until(t, "it is closed", func() bool { return len(tr.Conns(10)) == 0 })
	w := tr.NewSender()
	if err := w.Send(f, message(9, 0)); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	expect(t, accept(t, ln), message(9, 0))
}

func TestConnectToAClosedPort(t *testing.T) {
	lost := make(chan int, 100)
	flows := make(chan core.Flow, 100)
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: ignore, lost: func(msg []byte, to core.Flow) {
		if string(msg) != string(message(number(msg), 10)) {
			t.Errorf("lost %q", msg)
		}
		flows <- to
		lost <- number(msg)
	}})
	ln, to := peer(t)
	ln.Close()
	w := tr.NewSender()
	for i := range 20 {
		if err := w.Send(core.Flow{Socket: tr.Sockets()[0], Remote: to}, message(i, 10)); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	var got []int
	for range 20 {
		got = append(got, receive(t, lost, "undeliverable message"))
		if f := receive(t, flows, "flow"); f.Remote != to || f.Socket != tr.Sockets()[0] {
			t.Errorf("flow %+v", f)
		}
	}
	slices.Sort(got)
	for i, n := range got {
		if i != n {
			t.Fatalf("lost %v", got)
		}
	}
	if len(tr.Conns(10)) > 0 {
		t.Error("the connection is still listed")
	}
}

func TestConnectBound(t *testing.T) {
	tr := serve(t, Config{Listen: tcpOn(loop4), MaxConns: 1}, handler{handle: ignore})
	_, one := peer(t)
	_, two := peer(t)
	w := tr.NewSender()
	if err := w.Send(core.Flow{Socket: tr.Sockets()[0], Remote: one}, message(1, 0)); err != nil {
		t.Error(err)
	}
	if err := w.Send(core.Flow{Socket: tr.Sockets()[0], Remote: two}, message(1, 0)); err != errTooManyConns {
		t.Errorf("got %v", err)
	}
	w.Flush()
}

// stall sends to a peer that does not read until the queue is full and stays
// so (the kernel's buffers grow for a while), and returns the number of
// messages that were taken.
func stall(t *testing.T, w core.Sender, f core.Flow, size int) (taken int) {
	t.Helper()
	full := time.Time{}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		switch err := w.Send(f, message(taken, size)); {
		case err == nil:
			taken++
			full = time.Time{}
			w.Flush()
		case err != errQueueFull:
			t.Fatal(err)
		case full.IsZero():
			full = time.Now()
		case time.Since(full) > 50*time.Millisecond:
			return taken
		default:
			runtime.Gosched()
		}
	}
	t.Fatal("the queue has no bound")
	return 0
}

func TestPeerThatNeverReads(t *testing.T) {
	lost := make(chan int, 100000)
	tr := serve(t, Config{Listen: tcpOn(loop4), WriteQueue: 100 << 10, WriteTime: 200 * time.Millisecond},
		handler{handle: echo, lost: func(msg []byte, _ core.Flow) { lost <- number(msg) }})
	ln, to := peer(t)
	other := dialTCP(t, tr)
	w := tr.NewSender()
	f := core.Flow{Socket: tr.Sockets()[0], Remote: to}
	before := runtime.NumGoroutine()
	n := stall(t, w, f, 8000)
	for range 100 {
		if err := w.Send(f, message(n, 8000)); err != nil && err != errQueueFull && err != errConnLost {
			t.Fatal(err)
		} else if err == nil {
			n++
		}
		w.Flush()
		write(t, other, message(1, 10))
		expect(t, other, message(1, 10))
	}
	if m := runtime.NumGoroutine(); m > before+5 {
		t.Errorf("%d goroutines, %d before", m, before)
	}
	accept(t, ln)
	if receive(t, lost, "messages that time out") == 0 {
		t.Error("the first message was written long ago")
	}
	if tr.Stats.QueueFull.Load() == 0 {
		t.Error("nothing counted")
	}
}

// What was not written when a connection breaks is reported, whole messages
// only and each once.
func TestBrokenConnectionReportsTheRest(t *testing.T) {
	lost := make(chan int, 100000)
	tr := serve(t, Config{Listen: tcpOn(loop4), WriteQueue: 1 << 20}, handler{handle: ignore, lost: func(msg []byte, _ core.Flow) {
		if string(msg) != string(message(number(msg), 9000)) {
			t.Errorf("lost %.100q (%d bytes)", msg, len(msg))
		}
		lost <- number(msg)
	}})
	ln, to := peer(t)
	n := stall(t, tr.NewSender(), core.Flow{Socket: tr.Sockets()[0], Remote: to}, 9000)
	c := accept(t, ln)
	if _, err := io.ReadFull(c, make([]byte, len(message(0, 9000)))); err != nil { // the first one is there
		t.Fatal(err)
	}
	c.SetLinger(0)
	c.Close()
	first := receive(t, lost, "undeliverable message")
	for i := first + 1; i < n; i++ {
		if m := receive(t, lost, "undeliverable message"); m != i {
			t.Fatalf("lost %d, want %d", m, i)
		}
	}
	if first == 0 || first > n-50 {
		t.Errorf("lost from %d to %d", first, n)
	}
	closeIt(t, tr)
	if len(lost) > 0 {
		t.Errorf("lost %d too", <-lost)
	}
}

// The deadline of a write that had to wait does not outlive it.
func TestSlowPeerRecovers(t *testing.T) {
	const limit = 300 * time.Millisecond
	tr := serve(t, Config{Listen: tcpOn(loop4), WriteTime: limit}, handler{handle: echo,
		lost: func(msg []byte, _ core.Flow) { t.Error("undeliverable") }})
	ln, to := peer(t)
	w := tr.NewSender()
	f := core.Flow{Socket: tr.Sockets()[0], Remote: to}
	if err := w.Send(f, message(0, 0)); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	c := accept(t, ln)
	sent := 0
	for stalled := false; !stalled; sent++ {
		if err := w.Send(f, message(sent, 60000)); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		for _, k := range tr.Conns(10) {
			stalled = stalled || k.Queued > 0 && sent > 0
		}
	}
	expect(t, c, message(0, 0))
	for i := range sent {
		expect(t, c, message(i, 60000))
	}
	for begin := time.Now(); time.Since(begin) < limit*3/2; {
		write(t, c, message(1, 0))
		expect(t, c, message(1, 0))
	}
}

func TestQueueRest(t *testing.T) {
	var q outQueue
	for _, s := range []string{"one", "three", "five"} {
		q.push([]byte(s))
	}
	for n, want := range map[int]string{0: "one three five ", 2: "one three five ", 3: "three five ", 7: "three five ", 8: "five ", 12: ""} {
		got := ""
		q.rest(n, func(m []byte) { got += string(m) + " " })
		if got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	q.push(make([]byte, sipmsg.MaxSize))
	if q.clear(); cap(q.b) > keptQueue || len(q.ends) > 0 {
		t.Errorf("keeps %d bytes, %d ends", cap(q.b), len(q.ends))
	}
}
