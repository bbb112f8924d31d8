package domain

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"sipr/core/coretest"
	"sipr/core/database"
)

// fill makes tables of our own with n domains of ten attributes each: texts
// that are all different and numbers.
func fill(t testing.TB, n int) *coretest.Host {
	t.Helper()
	h := coretest.NewHost(t)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := database.Migrate(t.Context(), db, Migrations()); err != nil {
		t.Fatal(err)
	}
	numbers := fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)", n-1)
	for _, stmt := range []string{
		"INSERT INTO domain (did, domain, flags) " + numbers + " SELECT 'did-' || i, 'customer-' || i || '.example.com', 33 FROM n",
		"INSERT INTO domain_attrs (did, name, type, value, flags) " + numbers +
			", k(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM k WHERE j < 9)" +
			" SELECT 'did-' || i, 'attribute_' || j, CASE WHEN j < 7 THEN 2 ELSE 0 END, CASE WHEN j < 7 THEN 'value ' || j || ' of ' || i ELSE 1000 * j + i % 100 END, 33 FROM n, k",
	} {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// heap returns how many bytes are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestScale loads 1,000 domains with 10,000 attributes, and with SIPR_LONG
// set a hundred times as many, looks at time and memory, and reloads while
// lookups run.
func TestScale(t *testing.T) {
	n, limit := 1000, 2*time.Second
	if os.Getenv("SIPR_LONG") != "" {
		n, limit = 100_000, 3*time.Second
	}
	h := fill(t, n)
	before := heap()
	start := time.Now()
	m := h.Load(New(), map[string]any{"load_domain_attrs": 1}).(*Module)
	took, used := time.Since(start), heap()-before
	t.Logf("%d domains and %d attributes: %s, %d bytes an attribute, %.1f MB", n, 10*n, took, used/int64(10*n), float64(used)/1e6)
	if took > limit {
		t.Errorf("loading takes %s", took)
	}
	if used > int64(n)*1500 {
		t.Errorf("%d bytes are used", used)
	}

	// Lookups go on while the tables are loaded anew.
	var slowest atomic.Int64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		name := []byte("Customer-77.example.com")
		for {
			select {
			case <-done:
				return
			default:
			}
			begin := time.Now()
			for range 1000 {
				if did, _ := m.LookupDID(name); did != "did-77" {
					t.Error("a wrong answer during a reload")
					return
				}
			}
			slowest.Store(max(slowest.Load(), int64(time.Since(begin))))
		}
	}()
	start = time.Now()
	if err := m.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	took = time.Since(start)
	close(done)
	<-ended
	t.Logf("reload beside lookups: %s; the slowest 1000 lookups took %s", took, time.Duration(slowest.Load()))
	runtime.KeepAlive(m)
}
