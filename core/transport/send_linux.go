//go:build linux && (amd64 || arm64)

package transport

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Datagrams of one length to one address leave as one: the kernel takes them
// down its stack together and cuts them apart at the end (UDP_SEGMENT, Linux
// 4.18). That pays where many messages go to one peer, another proxy or a
// trunk; to many phones it makes no difference.

const (
	// maxSegments is the kernel's limit for one send.
	maxSegments = 64
	// maxSegment is the longest datagram that is sent so: one that an Ethernet
	// carries whole, since the kernel does not cut it into fragments too.
	maxSegment = 1452
	// maxTogether bounds the sum, which is an IP packet to the kernel.
	maxTogether = 65000
	// lookBack is how many open groups are compared with a datagram: what
	// grouping costs is bounded, also where every datagram goes elsewhere.
	lookBack = 8
)

// segments is what a socket knows of sending several datagrams as one.
type segments struct {
	// limit is the longest datagram that the kernel still took so, 0 for none:
	// it goes down when a path turns out to carry less.
	limit atomic.Int32
}

// probe asks the kernel. One that does not know the option would take the
// datagrams for one long one.
func (s *segments) probe(raw syscall.RawConn) {
	raw.Control(func(fd uintptr) {
		if _, err := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT); err == nil {
			s.limit.Store(maxSegment)
		}
	})
}

// refused lowers the limit after the kernel did not take datagrams of a length.
func (s *segments) refused(length int, errno syscall.Errno) {
	if errno == syscall.EIO { // the interface cannot do checksums for it
		length = 1
	}
	if errno == syscall.EIO || errno == syscall.EINVAL || errno == syscall.EMSGSIZE {
		s.limit.Store(int32(length - 1))
	}
}

// segmentControl is the control message that says where to cut.
type segmentControl struct {
	hdr  syscall.Cmsghdr
	size uint16
	_    [6]byte
}

// group is a number of datagrams that leave as one.
type group struct {
	first int // in the queue; all others have its length, but the last may be shorter
	last  int
	n     int
	bytes int
	short bool // the last one is shorter: nothing may follow
}

// sendState is the memory of one sendmmsg call.
type sendState struct {
	hdrs     [batchSize]mmsghdr
	iovs     [batchSize]syscall.Iovec
	names    [batchSize]syscall.RawSockaddrInet6
	controls [batchSize]segmentControl
	groups   [batchSize]group
	next     [batchSize]int // the datagram that follows in the same group
	from     int
	to       int
	sent     int
	errno    syscall.Errno
	write    func(fd uintptr) bool
}

func newSendState() any {
	s := &sendState{}
	for i := range s.controls {
		c := &s.controls[i]
		c.hdr.Level, c.hdr.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.hdr.SetLen(syscall.CmsgLen(2))
	}
	s.write = func(fd uintptr) bool {
		for {
			n, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.hdrs[s.from])), uintptr(s.to-s.from), syscall.MSG_DONTWAIT, 0, 0)
			if errno == syscall.EINTR {
				continue
			}
			s.sent, s.errno = int(n), errno
			return errno != syscall.EAGAIN
		}
	}
	return s
}

// group puts the datagrams of a queue into groups and returns their number.
// Those to one address keep their order.
func (s *sendState) group(queue []datagram, limit int) int {
	n := 0
	for i := range queue {
		q := &queue[i]
		length := q.end - q.off
		joined := false
		for k := n - 1; k >= 0 && k >= n-lookBack; k-- {
			g := &s.groups[k]
			f := &queue[g.first]
			if f.to != q.to {
				continue
			}
			size := f.end - f.off
			if !g.short && length <= size && size <= limit && g.n < maxSegments && g.bytes+length <= maxTogether {
				s.next[g.last] = i
				g.last, g.n, g.bytes, g.short = i, g.n+1, g.bytes+length, length < size
				joined = true
			}
			break // an earlier group to the same address would overtake this one
		}
		if !joined {
			s.groups[n] = group{first: i, last: i, n: 1, bytes: length}
			n++
		}
	}
	return n
}

// send sends datagrams of one arena. One that the kernel refuses is counted
// and left out.
func (r *udpReader) send(arena []byte, queue []datagram) {
	s := sendStates.Get().(*sendState)
	s.from, s.to = 0, s.group(queue, int(r.io.limit.Load()))
	s.fill(arena, queue, r.sock.socket.Addr.Addr().Is6())
	for s.from < s.to {
		if err := r.io.raw.Write(s.write); err != nil {
			for ; s.from < s.to; s.from++ {
				r.sock.t.Stats.SendErrors.Add(int64(s.groups[s.from].n))
			}
			break
		}
		if s.errno != 0 {
			r.sendEach(s, arena, queue)
			s.from++
			continue
		}
		for range s.sent {
			r.sock.t.Stats.Sent.Add(int64(s.groups[s.from].n))
			s.from++
		}
	}
	runtime.KeepAlive(arena)
	for i := range queue {
		s.iovs[i].Base = nil
	}
	sendStates.Put(s)
}

// fill writes the kernel's structures for the groups.
func (s *sendState) fill(arena []byte, queue []datagram, v6 bool) {
	iov := 0
	for k := range s.to {
		g, h := &s.groups[k], &s.hdrs[k].hdr
		h.Iov, h.Iovlen = &s.iovs[iov], uint64(g.n)
		for i, j := g.first, 0; j < g.n; i, j = s.next[i], j+1 {
			s.iovs[iov].Base = &arena[queue[i].off]
			s.iovs[iov].SetLen(queue[i].end - queue[i].off)
			iov++
		}
		first := &queue[g.first]
		h.Name = (*byte)(unsafe.Pointer(&s.names[k]))
		h.Namelen = setAddress(&s.names[k], first.to, v6)
		h.Control, h.Controllen = nil, 0
		if g.n > 1 {
			c := &s.controls[k]
			c.size = uint16(first.end - first.off)
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(syscall.CmsgSpace(2))
		}
	}
}

// sendEach sends the datagrams of a group that the kernel refused, each for
// itself.
func (r *udpReader) sendEach(s *sendState, arena []byte, queue []datagram) {
	g, stats := &s.groups[s.from], &r.sock.t.Stats
	if g.n == 1 {
		stats.SendErrors.Add(1)
		return
	}
	sent := 0
	for i, j := g.first, 0; j < g.n; i, j = s.next[i], j+1 {
		if _, err := r.conn.WriteToUDPAddrPort(arena[queue[i].off:queue[i].end], queue[i].to); err == nil {
			sent++
		}
	}
	stats.Sent.Add(int64(sent))
	stats.SendErrors.Add(int64(g.n - sent))
	if sent == g.n { // it was not the address
		first := &queue[g.first]
		r.io.refused(first.end-first.off, s.errno)
	}
}
