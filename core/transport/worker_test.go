package transport

import (
	"bytes"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"sipr/core"
)

// waiter is a handler whose messages of 1000 and above wait until release is
// closed and answer then.
type waiter struct {
	waiting, resumed chan int
	release, gate    chan struct{}
	running, most    atomic.Int32
}

func newWaiter() *waiter {
	return &waiter{waiting: make(chan int, 1000), resumed: make(chan int, 1000), release: make(chan struct{}), gate: make(chan struct{})}
}

func (h *waiter) handle(w Worker, msg []byte, from core.Flow) {
	n := number(msg)
	if n < 1000 {
		echo(w, msg, from)
		return
	}
	b := w.Keep()
	w.Yield()
	h.waiting <- n
	<-h.release
	w.Resume()
	h.most.Store(max(h.most.Load(), h.running.Add(1)))
	h.resumed <- n
	<-h.gate
	echo(w, msg, from)
	w.Flush()
	h.running.Add(-1)
	if b != nil {
		b.Free()
	}
}

func TestYieldHandsTheSocketOn(t *testing.T) {
	const waiting = 200
	h := newWaiter()
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: h.handle})
	c, quick := dialUDP(t, tr), dialUDP(t, tr)
	for i := range waiting {
		write(t, c, message(1000+i, i))
	}
	for range waiting {
		receive(t, h.waiting, "a handler that waits")
	}
	// The others are answered meanwhile and do not touch the kept bytes.
	for i := range 1000 {
		want := message(i%1000, 300)
		write(t, quick, want)
		if got := datagramFrom(t, quick); !bytes.Equal(got, want) {
			t.Fatalf("got %q", got)
		}
	}
	close(h.release)
	procs := runtime.GOMAXPROCS(0)
	for range procs {
		receive(t, h.resumed, "a handler that goes on")
	}
	write(t, quick, message(1, 0)) // the reader needs no slot
	datagramFrom(t, quick)
	if n := len(h.resumed); n > 0 {
		t.Errorf("%d handlers too many go on", n)
	}
	close(h.gate)
	seen := map[int]bool{}
	for range waiting {
		got := datagramFrom(t, c)
		n := number(got)
		if seen[n] || !bytes.Equal(got, message(n, n-1000)) {
			t.Fatalf("got %q", got)
		}
		seen[n] = true
	}
	if m := int(h.most.Load()); m > procs {
		t.Errorf("%d ran at once on %d processors", m, procs)
	}
	until(t, "all slots are free", func() bool { return len(tr.slots) == 0 })
}

func TestYieldTwice(t *testing.T) {
	more, stop := make(chan struct{}), make(chan struct{})
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: func(w Worker, msg []byte, from core.Flow) {
		if number(msg) == 0 {
			echo(w, msg, from)
			return
		}
		b := w.Keep()
		for range 3 {
			w.Yield()
			select {
			case <-more:
			case <-stop:
			}
			w.Resume()
		}
		echo(w, msg, from)
		b.Free()
	}})
	c := dialUDP(t, tr)
	defer close(stop)
	const waiting = 20 // more than there are slots: a second wait must free its own
	for range waiting {
		write(t, c, message(1, 10))
	}
	for range 3 * waiting {
		select {
		case more <- struct{}{}:
		case <-time.After(patience):
			t.Fatal("nobody waits")
		}
	}
	for range waiting {
		if got := datagramFrom(t, c); number(got) != 1 {
			t.Errorf("got %q", got)
		}
	}
	until(t, "all slots are free", func() bool { return len(tr.slots) == 0 })
}

func TestYieldOnAConnection(t *testing.T) {
	h := newWaiter()
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: h.handle})
	c := dialTCP(t, tr)
	var burst []byte
	for i := range 50 {
		burst = append(append(burst, message(1000+i, i)...), message(i, i)...)
	}
	write(t, c, burst)
	for i := range 50 {
		expect(t, c, message(i, i))
		receive(t, h.waiting, "a handler that waits")
	}
	close(h.release)
	close(h.gate)
	seen := map[int]bool{}
	buf := make([]byte, 64<<10)
	for filled := 0; len(seen) < 50; {
		n, err := c.Read(buf[filled:])
		if err != nil {
			t.Fatal(err)
		}
		filled += n
		for {
			k := number(buf[:filled])
			want := message(k, k-1000+max(0, 1000-k))
			if k < 1000 || filled < len(want) {
				break
			}
			if seen[k] || !bytes.Equal(buf[:len(want)], want) {
				t.Fatalf("got %q", buf[:filled])
			}
			seen[k] = true
			filled = copy(buf, buf[len(want):filled])
		}
	}
}

// steady is how many allocations the runtime may do on its own account while
// thousands of messages pass.
const steady = 50

func TestUDPAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	tr := serve(t, Config{Listen: udpOn(loop4, 0)}, handler{handle: echo})
	c := dialUDP(t, tr)
	msg, buf := message(1, 400), make([]byte, 2048)
	run := func(rounds int) {
		for range rounds {
			for range 20 {
				c.Write(msg)
			}
			for range 20 {
				if _, err := c.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	run(50)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(1000)
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > steady {
		t.Errorf("%d allocations for 20000 datagrams", n)
	}
}

func TestTCPAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	tr := serve(t, Config{Listen: tcpOn(loop4)}, handler{handle: echo})
	c := dialTCP(t, tr)
	msg, buf := message(1, 400), make([]byte, 2048)
	run := func(rounds int) {
		for range rounds {
			c.Write(msg)
			for got := 0; got < len(msg); {
				n, err := c.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				got += n
			}
		}
	}
	run(100)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(5000)
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > steady {
		t.Errorf("%d allocations for 5000 messages", n)
	}
}
