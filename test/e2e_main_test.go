// Package test runs the real binary and looks at it from outside: as an
// operator who follows the README, as phones that call each other, and as an
// attacker who has nothing but the wire.
//
// -short leaves the long parts out; SIPR_LONG=1, or a duration as 10m, makes
// some of them longer (give -timeout to go test as well); SIPR_RACE=1 builds
// the router with the race detector.
// SIPp, sipsak and MariaDB are used where they are installed.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// binary is the sipr under test, which TestMain builds.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

// long returns for how long the tests that have a long form go on; 0 if that
// is not asked for.
func long(t *testing.T) time.Duration {
	t.Helper()
	v := os.Getenv("SIPR_LONG")
	switch v {
	case "":
		return 0
	case "1":
		return 10 * time.Minute
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 10*time.Second {
		t.Fatalf("SIPR_LONG=%s: 1 or a duration of at least 10s is expected", v)
	}
	return d
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sipr-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "sipr")
	args := []string{"build", "-o", binary}
	if os.Getenv("SIPR_RACE") != "" {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "sipr/cmd/sipr")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
