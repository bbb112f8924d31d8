//go:build !linux

package transport

import (
	"errors"
	"net"
	"net/netip"
)

var errLocked = errors.New("address is locked")

// lockAddress does nothing: without SO_REUSEPORT a second bind fails by itself.
func lockAddress(netip.AddrPort) (*net.UnixListener, error) { return nil, nil }
