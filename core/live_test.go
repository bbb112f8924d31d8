package core_test

import (
	"sync"
	"testing"
	"time"

	"sipr/core"
)

func TestLiveParams(t *testing.T) {
	n, on, d := core.LiveOf(3), core.LiveOf(true), core.LiveOf(time.Second)
	params := []core.Param{
		core.LiveIntParam(&n, "n", "", core.Between(1, 10)),
		core.LiveBoolParam(&on, "on", ""),
		core.LiveDurationParam(&d, time.Millisecond, "d", "", core.Between(0, time.Minute)),
	}
	for i, want := range []string{"3", "true", "1s"} {
		if p := params[i]; !p.Live || p.Default != want || p.Get() != want {
			t.Errorf("%s: live %v, default %s, value %s", p.Name, p.Live, p.Default, p.Get())
		}
	}
	for _, bad := range []struct {
		i int
		v any
	}{{0, int64(11)}, {0, "x"}, {1, "maybe"}, {2, int64(60001)}, {2, int64(1) << 62}} {
		if err := params[bad.i].Set(bad.v); err == nil {
			t.Errorf("%s takes %v", params[bad.i].Name, bad.v)
		}
	}
	if n.Load() != 3 || !on.Load() || d.Load() != time.Second {
		t.Error("a value that was refused has been set")
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 100 {
				if i%2 == 0 {
					params[0].Set(int64(4 + i))
					params[2].Set("2s")
				} else if v := n.Load(); v < 3 || v > 6 || d.Load() < time.Second {
					t.Errorf("read %d", v)
				}
			}
		})
	}
	wg.Wait()
	if params[2].Get() != "2s" {
		t.Errorf("%s", params[2].Get())
	}
}

func TestCounterReset(t *testing.T) {
	var c, level core.Counter
	c.Add(3)
	level.Level().Add(3)
	c.Reset()
	level.Reset()
	if c.Load() != 0 || level.Load() != 3 {
		t.Errorf("%d, %d", c.Load(), level.Load())
	}
}

func TestCommandFullName(t *testing.T) {
	for name, want := range map[string]string{"dump": "domain.dump", "ul.dump": "ul.dump"} {
		if got := (&core.Command{Name: name}).FullName("domain"); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
