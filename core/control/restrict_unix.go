//go:build unix

package control

import (
	"os"

	"golang.org/x/sys/unix"
)

// restrict gives a socket its mode before it is bound, so that the file
// appears with it. Linux does; elsewhere it has no effect and the mode is set
// after the bind.
func restrict(fd uintptr, mode os.FileMode) { _ = unix.Fchmod(int(fd), uint32(mode.Perm())) }
