package clock

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestFakeRunsCallbacksInOrder(t *testing.T) {
	c := NewFake()
	start := c.Now()
	var got []time.Duration
	note := func() { got = append(got, c.Now().Sub(start)) }
	c.AfterFunc(3*time.Second, note)
	c.AfterFunc(time.Second, func() { note(); c.AfterFunc(time.Second, note) })
	stop := c.AfterFunc(1500*time.Millisecond, note)
	if !stop() || stop() {
		t.Error("stop must report true exactly once")
	}
	c.Advance(10 * time.Second)
	want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if c.Now().Sub(start) != 10*time.Second {
		t.Errorf("clock stands at %v", c.Now().Sub(start))
	}
}

// owner lets a function own timers.
type owner func(now Time)

func (o owner) Expire(_ *Timer, now Time) { o(now) }

// TestWheelFiresOnTime sets, moves and stops timers at random and checks that
// each fires in its own tick and only if it was left set.
func TestWheelFiresOnTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	now := Time(1_767_225_600_000_000_000)
	w := NewWheel(now)
	type entry struct {
		Timer
		at    Time
		live  bool
		fired int
	}
	entries := make([]*entry, 3000)
	for i := range entries {
		e := &entry{}
		e.Owner = owner(func(now Time) {
			if !e.live {
				t.Fatalf("a stopped timer fired")
			}
			late := now.Sub(e.at)
			if late < 0 || late > Tick {
				t.Fatalf("fired %v after its time", late)
			}
			e.fired++
			e.live = false
		})
		entries[i] = e
	}
	span := func() time.Duration { // short ones, and some beyond each level's reach
		return time.Duration(rng.Int64N(int64(Tick) << (2 * rng.IntN(10))))
	}
	var set, fired int
	for step := 0; step < 200_000; step++ {
		e := entries[rng.IntN(len(entries))]
		switch rng.IntN(4) {
		case 0, 1:
			e.at = now.Add(Tick + span())
			e.live = true
			w.Set(&e.Timer, e.at)
			set++
		case 2:
			if w.Stop(&e.Timer) != e.live {
				t.Fatal("Stop reports the wrong state")
			}
			e.live = false
		}
		if step%3 == 0 {
			now = now.Add(Tick)
			w.Advance(now)
		}
	}
	live := 0
	for _, e := range entries {
		fired += e.fired
		if e.live {
			live++
		}
	}
	if live != w.Len() {
		t.Errorf("%d timers live, the wheel says %d", live, w.Len())
	}
	if fired == 0 {
		t.Error("nothing fired")
	}
}

func TestWheelDoesNotAllocate(t *testing.T) {
	now := NewFake().Now()
	w := NewWheel(now)
	tm := &Timer{Owner: owner(func(Time) {})}
	if n := testing.AllocsPerRun(1000, func() {
		w.Set(tm, now.Add(time.Second))
		now = now.Add(2 * time.Second)
		w.Advance(now)
	}); n != 0 {
		t.Errorf("%v allocations for setting and firing a timer", n)
	}
}
