package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestManagement looks through every door.
func TestManagement(t *testing.T) {
	dir := t.TempDir()
	r := start(t, setup{more: `modparam("core", "fifo", "sipr.fifo")
modparam("core", "fifo_reply_dir", "` + dir + `")
`})
	r.sipr("domain", "add", "sip.example.com", "--did", "example.com", "--alias")
	r.sipr("domain", "attr", "set", "example.com", "greeting", "hello")
	r.sipr("ctl", "domain.reload")

	t.Run("text", func(t *testing.T) {
		out := r.sipr("ctl", "domain.dump")
		for _, want := range []string{"did: example.com", "domain: example.com", "domain: sip.example.com", "greeting", "hello"} {
			if !strings.Contains(out, want) {
				t.Errorf("there is no %q in\n%s", want, out)
			}
		}
	})
	t.Run("json", func(t *testing.T) {
		var d struct {
			Domains []struct {
				DID   string
				Names []struct{ Domain string }
				Attrs []struct {
					Name  string
					Value any
				}
			}
		}
		if err := json.Unmarshal([]byte(r.sipr("ctl", "-o", "json", "domain.dump")), &d); err != nil {
			t.Fatal(err)
		}
		if len(d.Domains) != 1 || d.Domains[0].DID != "example.com" || len(d.Domains[0].Names) != 2 || len(d.Domains[0].Attrs) != 1 || d.Domains[0].Attrs[0].Value != "hello" {
			t.Errorf("%+v", d)
		}
	})
	t.Run("fifo", func(t *testing.T) {
		info, err := os.Stat(r.path("sipr.fifo"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != os.ModeNamedPipe|0o600 {
			t.Errorf("the FIFO has mode %s", info.Mode())
		}
		got := fifo(t, r, dir, "domain.dump")
		if !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "sip.example.com") || !strings.Contains(got, "greeting=hello") {
			t.Errorf("domain.dump:\n%s", got)
		}
		if got := fifo(t, r, dir, "domain.reload"); !strings.HasPrefix(got, "200 ") {
			t.Errorf("domain.reload:\n%s", got)
		}
		if got := fifo(t, r, dir, "no.such"); strings.HasPrefix(got, "200 ") || got == "" {
			t.Errorf("no.such:\n%s", got)
		}
	})
	t.Run("errors", func(t *testing.T) {
		if _, errs, code := r.try("ctl", "no.such"); code != 1 || errs == "" {
			t.Errorf("no.such: exit code %d: %s", code, errs)
		}
		if _, errs, code := r.try("ctl", "-s", r.path("nowhere"), "domain.dump"); code != 3 || errs == "" {
			t.Errorf("no socket: exit code %d: %s", code, errs)
		}
		if _, errs, code := r.try("nonsense"); code != 2 || errs == "" {
			t.Errorf("nonsense: exit code %d: %s", code, errs)
		}
	})
	t.Run("second router", func(t *testing.T) {
		_, errs, code := r.try("run")
		if code == 0 || !strings.Contains(errs, r.addr.String()) {
			t.Errorf("exit code %d: %s", code, errs)
		}
		r.sipr("ctl", "core.uptime") // the first one still has its socket
		ping(t, r)
	})
}

// fifo calls a command as SER's serctl does and returns its reply.
func fifo(t *testing.T, r *router, dir, method string) string {
	t.Helper()
	name := unique("reply")
	if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
		t.Fatal(err)
	}
	reply, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	f, err := os.OpenFile(r.path("sipr.fifo"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(":" + method + ":" + name + "\n\n"); err != nil {
		t.Fatal(err)
	}
	// Opened for both directions, the pipe has no end: the reply is complete
	// when nothing more comes for a while.
	var out strings.Builder
	buf := make([]byte, 4096)
	for wait := patience; ; wait = 200 * time.Millisecond {
		reply.SetReadDeadline(time.Now().Add(wait))
		n, err := reply.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			return out.String()
		}
	}
}
