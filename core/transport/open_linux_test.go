package transport

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"sipr/core"
)

// Close does not wait for a peer that leaves connection requests unanswered.
func TestCloseEndsDialing(t *testing.T) {
	ln, to := peer(t)
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// A full queue of connections makes the kernel drop further requests.
	raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
	if err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		d := net.Dialer{Timeout: 100 * time.Millisecond}
		c, err := d.DialContext(context.Background(), "tcp", to.String())
		if full = err != nil; !full {
			defer c.Close()
		}
	}
	tr := serve(t, Config{Listen: tcpOn(loop4), ConnectTime: time.Hour}, handler{handle: ignore})
	w := tr.NewSender()
	if err := w.Send(core.Flow{Socket: tr.Sockets()[0], Remote: to}, message(1, 1)); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	if list := tr.Conns(10); len(list) != 1 || list[0].Queued == 0 {
		t.Errorf("connections %+v", list)
	}
	closeIt(t, tr)
}
