package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pty returns both ends of a pseudo-terminal.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	st, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return st.Lflag&unix.ECHO != 0
}

// typist types one line at each prompt, once nothing is shown any more.
type typist struct {
	t     *testing.T
	term  *os.File
	lines []string
	shown bytes.Buffer
	keys  *os.File
}

func (w *typist) Write(b []byte) (int, error) {
	w.shown.Write(b)
	if bytes.HasSuffix(b, []byte(": ")) && len(w.lines) > 0 {
		if echoes(w.t, w.term) {
			w.t.Error("the terminal shows what is typed at the prompt")
		}
		w.keys.WriteString(w.lines[0] + "\n")
		w.lines = w.lines[1:]
	}
	return len(b), nil
}

func TestTypedPassword(t *testing.T) {
	for _, c := range []struct {
		name, first, again, want, err string
	}{
		{"same", "geheim", "geheim", "geheim", ""},
		{"different", "geheim", "gehiem", "", "differ"},
		{"empty", "", "", "", "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			master, slave := pty(t)
			if !isTerminal(slave) {
				t.Fatal("a terminal was not recognised")
			}
			w := &typist{t: t, term: slave, keys: master, lines: []string{c.first, c.again}}
			got, err := typed(slave, w)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v", got, err)
			}
			if !echoes(t, slave) {
				t.Error("the terminal stays silent afterwards")
			}
			if s := w.shown.String(); s != "Password: \nAgain: \n" {
				t.Errorf("shown: %q", s)
			}
		})
	}
}
