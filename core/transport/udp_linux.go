//go:build linux && (amd64 || arm64)

package transport

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// recvmmsg and sendmmsg are called directly, since golang.org/x/net allocates
// an address for every datagram it reads. This is the one place that needs
// unsafe: the kernel's structures hold pointers to the batch's buffers, all of
// which live as long as the mmsg that points to them.

const reusePortSupported = true

type mmsghdr struct {
	hdr syscall.Msghdr
	n   uint32
	_   uint32
}

// mmsg is what a reader needs for its system calls.
type mmsg struct {
	raw   syscall.RawConn
	hdrs  [batchSize]mmsghdr
	iovs  [batchSize]syscall.Iovec
	names [batchSize]syscall.RawSockaddrInet6
	got   int
	errno syscall.Errno
	read  func(fd uintptr) bool
	segments
}

func (m *mmsg) init(r *udpReader) (err error) {
	if m.raw, err = r.conn.SyscallConn(); err != nil {
		return err
	}
	if r.sock.t.cfg.Segment {
		m.segments.probe(m.raw)
	}
	m.read = func(fd uintptr) bool {
		for {
			n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&m.hdrs[0])), batchSize, syscall.MSG_DONTWAIT, 0, 0)
			if errno == syscall.EINTR {
				continue
			}
			m.got, m.errno = int(n), errno
			return errno != syscall.EAGAIN
		}
	}
	return nil
}

// receive reads a batch; it blocks until there is at least one datagram.
func (m *mmsg) receive(to *batch) error {
	for i := range m.hdrs {
		h := &m.hdrs[i]
		b := to.bufs[i].B
		m.iovs[i].Base = &b[0]
		m.iovs[i].SetLen(len(b))
		h.hdr.Iov = &m.iovs[i]
		h.hdr.Iovlen = 1
		h.hdr.Name = (*byte)(unsafe.Pointer(&m.names[i]))
		h.hdr.Namelen = syscall.SizeofSockaddrInet6
	}
	if err := m.raw.Read(m.read); err != nil {
		return err
	}
	if m.errno != 0 {
		return m.errno
	}
	for i := 0; i < m.got; i++ {
		to.len[i] = int(m.hdrs[i].n)
		to.from[i] = address(&m.names[i])
	}
	to.n = m.got
	return nil
}

func address(sa *syscall.RawSockaddrInet6) netip.AddrPort {
	p := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port := uint16(p[0])<<8 | uint16(p[1])
	if sa.Family == syscall.AF_INET {
		sa4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port)
}

func setAddress(sa *syscall.RawSockaddrInet6, a netip.AddrPort, v6 bool) uint32 {
	p := (*[2]byte)(unsafe.Pointer(&sa.Port))
	p[0], p[1] = byte(a.Port()>>8), byte(a.Port())
	if v6 {
		sa.Family = syscall.AF_INET6
		sa.Flowinfo = 0 // an IPv4 address lay there, if the memory was used for one
		sa.Addr = a.Addr().As16()
		return syscall.SizeofSockaddrInet6
	}
	sa4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
	sa4.Family = syscall.AF_INET
	sa4.Addr = a.Addr().As4()
	return syscall.SizeofSockaddrInet4
}

func reusePort(_, _ string, c syscall.RawConn) error {
	var serr error
	err := c.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err != nil {
		return err
	}
	return serr
}

// setReceiveBuffer asks for a large receive buffer, past the system's limit if
// the process may.
func setReceiveBuffer(c *net.UDPConn, n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, n)
		}
	})
}
