package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

var errLocked = errors.New("address is locked")

// lockAddress holds an abstract unix socket named after a UDP address. With
// SO_REUSEPORT a second router would bind the same address without an error
// and take half of the datagrams.
func lockAddress(a netip.AddrPort) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("@sipr/udp/%s", a), Net: "unix"})
	if isAddrInUse(err) {
		return nil, errLocked
	}
	return l, err
}
