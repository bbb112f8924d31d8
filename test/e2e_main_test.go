// Package test runs the real binary and looks at it from outside: as an
// operator who follows the README, as phones that call each other, and as an
// attacker who has nothing but the wire.
//
// -short leaves the long parts out; SIPR_LONG=1 makes some of them longer;
// SIPR_RACE=1 builds the router with the race detector.
// SIPp, sipsak and MariaDB are used where they are installed.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the sipr under test, which TestMain builds.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

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
