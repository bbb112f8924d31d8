package coretest

import (
	"bufio"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// MariaDB starts a server of the test's own and returns the URL of an empty
// database on it. The server listens on a unix socket in a private folder and
// ends with the test, so tests that want to share it are subtests of one. It
// takes a quarter of a second and asks for no password, whatever the URL says.
// The test is skipped where MariaDB is not installed.
func MariaDB(t testing.TB) (url string) {
	t.Helper()
	bin, err := exec.LookPath("mariadbd")
	if err != nil {
		bin = "/usr/sbin/mariadbd" // which is not in everyone's PATH
	}
	if _, err := os.Stat(bin); err != nil {
		t.Skip("mariadbd is not installed")
	}
	// Not t.TempDir: the name of a unix socket may have 107 bytes at most.
	dir, err := os.MkdirTemp("", "mariadb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data, sock, initial := filepath.Join(dir, "data"), filepath.Join(dir, "sock"), filepath.Join(dir, "init.sql")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(initial, []byte("CREATE DATABASE sipr CHARACTER SET utf8mb4;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without grant tables an empty folder will do, and no installation has to
	// run first. The rest saves memory and writes.
	args := []string{"--no-defaults", "--datadir=" + data, "--socket=" + sock, "--init-file=" + initial,
		"--pid-file=" + filepath.Join(dir, "pid"), "--skip-networking", "--skip-grant-tables", "--tmpdir=" + dir,
		"--performance-schema=0", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=1M",
		"--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"}
	if u, err := user.Current(); err == nil && u.Uid == "0" {
		args = append(args, "--user=root") // it will not run as root unasked
	}
	startMariaDB(t, exec.Command(bin, args...))
	return "mysql://sipr:secret@unix(" + sock + ")/sipr"
}

// startMariaDB returns when the server says that it is ready.
func startMariaDB(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	var log strings.Builder // read after done only
	go func() {
		defer close(done)
		open := ready
		for s := bufio.NewScanner(stderr); s.Scan(); {
			log.WriteString(s.Text() + "\n")
			if open != nil && strings.Contains(s.Text(), "ready for connections") {
				close(open)
				open = nil
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		cmd.Wait()
	})
	select {
	case <-ready:
	case <-done:
		t.Fatalf("mariadbd ended:\n%s", log.String())
	}
}
