//go:build unix

package control

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sipr/core"
	"sipr/core/clock"
)

// fifoPeer talks to a FIFO whose replies go to its own folder.
type fifoPeer struct {
	t    *testing.T
	f    *FIFO
	dir  string
	in   *os.File
	runs chan []any // parameters of test.note
}

func openFIFODoor(t *testing.T, clk clock.Clock) *fifoPeer {
	t.Helper()
	p := &fifoPeer{t: t, dir: t.TempDir(), runs: make(chan []any, 100)}
	table := testTable(t)
	table.Add("test", core.Command{Name: "note", Run: func(_ context.Context, c *core.Call) error {
		p.runs <- c.Params
		return nil
	}})
	f, err := ListenFIFO(filepath.Join(t.TempDir(), "f"), 0, p.dir, table, quiet(), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(context.Background()) })
	p.f = f
	if p.in, err = os.OpenFile(f.Path(), os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.in.Close() })
	return p
}

func (p *fifoPeer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, s); err != nil {
		p.t.Fatal(err)
	}
}

// replyTo makes a reply FIFO and opens it, as a client does.
func (p *fifoPeer) replyTo(name string) *os.File {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		p.t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	unix.SetNonblock(fd, false)
	r := os.NewFile(uintptr(fd), path)
	p.t.Cleanup(func() { r.Close(); os.Remove(path) })
	return r
}

// readReply reads up to the end that the router makes by closing. Before the
// router has opened the FIFO, its end reads as empty.
func readReply(r *os.File) string {
	for {
		if b, _ := io.ReadAll(r); len(b) > 0 {
			return string(b)
		}
		runtime.Gosched()
	}
}

func TestFIFOProtocol(t *testing.T) {
	p := openFIFODoor(t, clock.NewReal())
	tests := []struct{ name, send, want string }{
		{"no parameters", ":test.echo:R\n\n", "200 OK\n"},
		{"parameters", ":test.echo:R\na\n1 2 \t\nx:y,z\n\n", "200 OK\na\n1 2\nx:y,z\n"},
		{"carriage returns", ":test.echo:R\ra\rb\r\r", "200 OK\na\nb\n"},
		{"network lines", ":test.echo:R\r\na\r\nb\r\n\r\n", "200 OK\na\nb\n"},
		{"blank parameter", ":test.echo:R\n \nb\n\n", "200 OK\n\nb\n"},
		{"escapes", ":test.echo:R\na\\nb\\t\\\\\\r\\0\\c\\o\n\n", "200 OK\na\\nb\\t\\\\\\r\\0:,\n"},
		{"bad escape", ":test.echo:R\nok\na\\x\n\n", "400 Invalid parameter value on line 3\n"},
		{"cut escape", ":test.echo:R\na\\\n\n", "400 Invalid parameter value on line 2\n"},
		{"struct", ":test.struct:R\n\n", "200 OK\ncontact:<sip\\oa@b>,up:2,now:20\\o12\\c today\n"},
		{"repeated", ":test.repeat:R\n\n", "200 OK\ndomain:b,flags:1,domain:a\n"},
		{"nested", ":test.nested:R\n\n", "200 OK\nDomains:Domain:Size:1024,Domain:location,AoRs:Stats:Max-Slots:0,Records:0\n"},
		{"fault", ":test.fault:R\n\n", "404 No such\\ndomain\n"},
		{"error", ":test.fail:R\n\n", "500 table domain: disk full\n"},
		{"panic", ":test.panic:R\n\n", "500 command test.panic panicked: boom\n"},
		{"unknown", ":nosuch:R\n\n", "500 Command 'nosuch' not found\n"},
		{"no name", "::R\n\n", "400 Command name missing\n"},
		{"empty lines before", "\n\n\r\n\n:test.echo:R\na\n\n", "200 OK\na\n"},
		{"garbage before", "test.echo:R\nx\n\n:test.echo\n\n\x00\xff\n\n:test.echo:R\na\n\n", "200 OK\na\n"},
		{"too long", ":test.echo:R\n" + strings.Repeat(strings.Repeat("x", 999)+"\n", 70) + "\n", "400 Request too long\n"},
		{"one long line", strings.Repeat("y", 100_000) + "\n\n:test.echo:R\na\n\n", "200 OK\na\n"},
		{"long reply", ":test.big:R\n\n", "200 OK\n" + strings.Repeat("x", 4<<20) + "\n"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := "reply" + string(rune('a'+i))
			r := p.replyTo(name)
			p.send(strings.ReplaceAll(tt.send, "R", name))
			if got := readReply(r); got != tt.want {
				t.Errorf("got  %.200q\nwant %.200q", got, tt.want)
			}
		})
	}
}

func TestFIFOScalars(t *testing.T) {
	call := &core.Call{}
	call.Add(nil)
	call.Add(2.5)
	call.Add(true)
	call.Add([]any{int64(1), "x,y"})
	call.Struct()
	call.Struct().Add("list", []any{int64(1), (&core.Struct{}).Add("a", "b"), int64(2)}).Add("z", false)
	want := "200 OK\n<null string>\n2.500000\n1\n1\nx,y\nz:0,list:1,a:b,2\n"
	if got := string(fifoReply(call, nil)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// What must not be answered: the router goes on, and writes nowhere.
func TestFIFORefusesReplyNames(t *testing.T) {
	p := openFIFODoor(t, clock.NewReal())
	outside := filepath.Join(t.TempDir(), "target")
	for name, prepare := range map[string]func(path string) error{
		"../target": nil,
		"a.b":       nil,
		`a\b`:       nil,
		"a/b":       nil,
		"none":      nil,
		"file":      func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"link": func(path string) error {
			if err := unix.Mkfifo(outside, 0o600); err != nil {
				return err
			}
			return os.Symlink(outside, path)
		},
		"twice": func(path string) error {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				return err
			}
			return os.Link(path, path+"2")
		},
	} {
		if prepare != nil {
			if err := prepare(filepath.Join(p.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		p.send(":test.struct:" + name + "\n\n")
	}
	// The test itself opens the FIFOs, so that a reply would go through.
	var ends []*os.File
	for _, path := range []string{outside, filepath.Join(p.dir, "twice")} {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ends = append(ends, f)
	}
	p.send(":test.struct:link\n\n:test.struct:twice\n\n:test.note:\n\n")
	<-p.runs
	if err := p.f.Close(context.Background()); err != nil { // waits for all replies
		t.Fatal(err)
	}
	for _, f := range ends {
		f.SetReadDeadline(time.Unix(1, 0))
		if n, _ := f.Read(make([]byte, 10)); n > 0 {
			t.Errorf("%s was written to", f.Name())
		}
	}
	if b, err := os.ReadFile(filepath.Join(p.dir, "file")); err != nil || len(b) > 0 {
		t.Errorf("file: %q, %v", b, err)
	}
}

func TestFIFOOrderWithoutReplies(t *testing.T) {
	p := openFIFODoor(t, clock.NewReal())
	for i := range 50 {
		p.send(":test.note:\n" + strconv.Itoa(i) + "\n\n")
	}
	for i := range 50 {
		if got := <-p.runs; got[0] != strconv.Itoa(i) {
			t.Errorf("run %d: %v", i, got)
		}
	}
}

func TestFIFOHangingPeers(t *testing.T) {
	clk := clock.NewFake()
	p := openFIFODoor(t, clk)
	deaf := p.replyTo("deaf") // opened, never read
	if err := unix.Mkfifo(filepath.Join(p.dir, "late"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.send(":test.big:deaf\n\n:test.struct:late\n\n")
	r := p.replyTo("good")
	p.send(":test.echo:good\nserved\n\n")
	if got := readReply(r); got != "200 OK\nserved\n" {
		t.Errorf("got %q", got)
	}
	for p.f.replies.Load() > 0 {
		clk.Advance(writeTimeout)
		runtime.Gosched()
	}
	if b, _ := io.ReadAll(deaf); len(b) == 0 || len(b) > 4<<20 {
		t.Errorf("deaf peer has %d bytes", len(b))
	}
}

func TestFIFOReplyOpenedLate(t *testing.T) {
	clk := clock.NewFake()
	p := openFIFODoor(t, clk)
	path := filepath.Join(p.dir, "late")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p.send(":test.echo:late\na\n\n:test.note:\n\n")
	<-p.runs
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := os.NewFile(uintptr(fd), path)
	defer r.Close()
	for p.f.replies.Load() > 0 {
		clk.Advance(replyPause)
		runtime.Gosched()
	}
	if b, _ := io.ReadAll(r); string(b) != "200 OK\na\n" {
		t.Errorf("got %q", b)
	}
}

func TestFIFODropsUnfinishedRequest(t *testing.T) {
	clk := clock.NewFake()
	p := openFIFODoor(t, clk)
	p.send(":test.note:\n1\n\n:test.fail:\nleft behind")
	<-p.runs
	clk.Advance(staleAfter + time.Second)
	p.send(":test.note:\n2\n\n")
	if got := <-p.runs; len(got) != 1 || got[0] != "2" {
		t.Errorf("got %v", got)
	}
}

func TestFIFOFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	open := func() (*FIFO, error) { return ListenFIFO(path, 0o620, "", NewTable(), nil, clock.NewReal()) }
	if err := unix.Mkfifo(path, 0o666); err != nil { // stale
		t.Fatal(err)
	}
	f, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeNamedPipe|0o620 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "already in use") {
		t.Errorf("second door: %v", err)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: %v", err)
	}
	os.WriteFile(path, nil, 0o600)
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "is not a FIFO") {
		t.Errorf("over a file: %v", err)
	}
}

func FuzzFIFORequest(f *testing.F) {
	f.Add([]byte(":a:b\nx\\n\n\n:c:\n\n"))
	f.Add([]byte("\r\n\r:\r\r"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var s fifoScanner
		for _, b := range in {
			if s.next(b) {
				req, err := parseFIFO(s.lines)
				if err == nil && (req.method == "" || strings.ContainsAny(req.reply, "./\\")) {
					t.Errorf("%q: %+v", s.lines, req)
				}
				s.reset()
			}
		}
	})
}
