package registrar

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"sipr/core"
)

func TestNothingIsSeenBeforeTheCommit(t *testing.T) {
	w := &fakeWriter{started: make(chan int, 10), finish: make(chan struct{})}
	p := withWriter(t, w)
	done := make(chan core.Result)
	r := p.request("Contact: " + a1)
	go func() { done <- p.h.Call(p.m, r, "save", "location") }()
	<-w.started
	if sent := p.h.Sent(); len(sent) != 0 || p.m.mem.contacts.Load() != 0 {
		t.Fatal("visible before the commit")
	}
	w.finish <- struct{}{}
	if res := <-done; res.Value.Num != 1 {
		t.Errorf("%+v", res)
	}
	if sent := p.h.Sent(); len(sent) != 1 || p.m.mem.contacts.Load() != 1 {
		t.Error("not visible after the commit")
	}
}

func TestGroupCommitAndOrderWithinAnAoR(t *testing.T) {
	w := &fakeWriter{started: make(chan int, 100), finish: make(chan struct{}, 100)}
	p := withWriter(t, w)
	var all sync.WaitGroup
	save := func(r *core.Request) {
		all.Add(1)
		go func() {
			defer all.Done()
			p.h.Call(p.m, r, "save", "location")
		}()
	}
	save(p.exact("a", 1, "Contact: "+a1))
	<-w.started
	const more = 20
	for i := range more {
		save(p.exact("b", 1, fmt.Sprintf("To: <sip:u%d@example.com>\nContact: %s", i, a1)))
	}
	save(p.exact("a", 2, "Contact: "+a1+";expires=0")) // waits for its predecessor
	for len(p.m.committer.jobs) < more {
		runtime.Gosched()
	}
	for range 10 {
		w.finish <- struct{}{}
	}
	all.Wait()
	if n := <-w.started; n != more {
		t.Errorf("the second batch has %d changes, want %d", n, more)
	}
	if n := p.m.mem.contacts.Load(); n != more {
		t.Errorf("%d contacts", n)
	}
}

func TestTheCulpritOfABatchFailsAlone(t *testing.T) {
	broken := errors.New("value out of range")
	w := &fakeWriter{fail: func(batch []*job) error {
		for _, j := range batch {
			if strings.HasSuffix(j.key, "bad") {
				return broken
			}
		}
		return nil
	}}
	p := memoryOnly(t)
	s := newCommitter(p.m.mem, w, p.h.Fake)
	batch := []*job{}
	for _, name := range []string{"u1", "bad", "u2"} {
		key := appendAoR(nil, "d1", name)
		rec, _, err := s.acquire(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, &job{key: string(key), rec: rec, next: make([]binding, 1), done: make(chan error, 1)})
	}
	s.commit(batch)
	for i, want := range []error{nil, broken, nil} {
		if err := <-batch[i].done; !errors.Is(err, want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if s.contacts.Load() != 2 {
		t.Errorf("%d contacts", s.contacts.Load())
	}
}

func TestADeadDatabaseIsNotTriedForEachChange(t *testing.T) {
	writes := 0
	w := &fakeWriter{fail: func([]*job) error { writes++; return errors.New("down") }}
	s := newCommitter(newMemory(), w, memoryOnly(t).h.Fake)
	var batch []*job
	for i := range 100 {
		key := appendAoR(nil, "d1", fmt.Sprint(i))
		rec, _, _ := s.acquire(context.Background(), key)
		batch = append(batch, &job{key: string(key), rec: rec, next: make([]binding, 1), done: make(chan error, 1)})
	}
	s.commit(batch)
	for _, j := range batch {
		if <-j.done == nil {
			t.Error("a change was not refused")
		}
	}
	if writes != 1+maxFailures || s.contacts.Load() != 0 {
		t.Errorf("%d writes, %d contacts", writes, s.contacts.Load())
	}
	for i := range s.shards {
		if len(s.shards[i].m) != 0 {
			t.Error("a record stays")
		}
	}
}

func TestTheDeadlineOfAWait(t *testing.T) {
	w := &fakeWriter{started: make(chan int, 1), finish: make(chan struct{})}
	p := withWriter(t, w)
	s := p.m.committer
	key := appendAoR(nil, "d1", "alice")
	g := &registration{m: p.m, now: p.h.Fake.Now(), callID: []byte("c"), cseq: 1, contacts: []contact{{uri: *mustURI(t, "sip:a@192.0.2.1"), expires: 60}}}
	short, cancel := context.WithCancel(context.Background())
	first := make(chan error)
	go func() { first <- s.change(short, key, g) }()
	<-w.started
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, _, err := s.acquire(short, key); !errors.Is(err, context.Canceled) {
		t.Error("a second change did not wait for the first:", err)
	}
	w.finish <- struct{}{} // the write goes on without its request
	rec, list, err := s.acquire(context.Background(), key)
	if err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	s.release(key, rec)
}

func TestFailedDatabase(t *testing.T) {
	p := start(t, nil)
	p.register("Contact: "+a1, "200 OK|"+a1+";expires=3600;q=1")
	if _, err := p.m.rows.db.Exec("ALTER TABLE location RENAME TO gone"); err != nil {
		t.Fatal(err)
	}
	got, res := p.do(p.request("Contact: " + a2))
	if got != "500 Server Internal Error" || res.Err == nil {
		t.Errorf("%s %+v", got, res)
	}
	if got := p.bindings(); got != "200 OK|"+a1+";expires=3600;q=1" {
		t.Error(got)
	}
	if _, err := p.m.rows.db.Exec("ALTER TABLE gone RENAME TO location"); err != nil {
		t.Fatal(err)
	}
	p.register("Contact: "+a2, "200 OK|"+a1+";expires=3600;q=1|"+a2+";expires=3600;q=1")
}

func TestConcurrentRegistrations(t *testing.T) {
	p := start(t, map[string]any{"max_contacts": 50})
	const each = 10
	var all sync.WaitGroup
	for i := range 8 {
		for j := range each {
			r := p.exact(fmt.Sprintf("call%d-%d", i, j), 1, fmt.Sprintf("To: <sip:u%d@example.com>\nContact: <sip:c%d@192.0.2.%d>", i%4, j, i+1))
			all.Add(1)
			go func() {
				defer all.Done()
				if res := p.h.Call(p.m, r, "save", "location"); res.Value.Num != 1 {
					t.Errorf("%+v", res)
				}
			}()
		}
	}
	all.Wait()
	if n := p.m.mem.contacts.Load(); n != 8*each {
		t.Errorf("%d contacts", n)
	}
	var rows int
	if err := p.m.rows.db.Get(&rows, "SELECT COUNT(*) FROM location"); err != nil || rows != 8*each {
		t.Errorf("%d rows, %v", rows, err)
	}
}

func TestStopWritesWhatWaits(t *testing.T) {
	w := &fakeWriter{started: make(chan int, 1), finish: make(chan struct{})}
	p := withWriter(t, w)
	done := make(chan core.Result)
	r := p.request("Contact: " + a1)
	go func() { done <- p.h.Call(p.m, r, "save", "location") }()
	<-w.started
	stopped := make(chan error)
	go func() { stopped <- p.m.Stop(context.Background()) }()
	w.finish <- struct{}{}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if res := <-done; res.Value.Num != 1 {
		t.Errorf("%+v", res)
	}
	if res := p.h.Call(p.m, p.request("Contact: "+a2), "save", "location"); res.Err == nil {
		t.Errorf("after the stop: %+v", res)
	}
}
