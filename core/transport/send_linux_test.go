//go:build linux && (amd64 || arm64)

package transport

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"sipr/core"
)

// Whatever is grouped, each address gets its datagrams whole and in order.
func TestSegmentsArriveWholeAndInOrder(t *testing.T) {
	for _, segment := range []bool{true, false} {
		t.Run(fmt.Sprintf("segment %v", segment), func(t *testing.T) {
			tr := serve(t, Config{Listen: udpOn(loop4, 0), Segment: segment}, handler{handle: echo})
			if on := tr.udp[0].readers[0].io.limit.Load() > 0; on && !segment {
				t.Error("it is on")
			}
			rng := rand.New(rand.NewPCG(3, 4))
			var peers [12]*net.UDPConn
			var flows [12]core.Flow
			for i := range peers {
				peers[i] = dialUDP(t, tr)
				flows[i] = core.Flow{Socket: tr.Sockets()[0], Remote: peers[i].LocalAddr().(*net.UDPAddr).AddrPort()}
			}
			w := tr.NewSender()
			want := make([][][]byte, len(peers))
			for range 40 {
				used := 1 + rng.IntN(len(peers))
				sizes := []int{100, 100, 100, 99, 700, maxSegment, maxSegment + 1, 9000}
				for range 1 + rng.IntN(batchSize) {
					i := rng.IntN(used)
					b := bytes.Repeat([]byte{byte('a' + len(want[i])%26)}, sizes[rng.IntN(1+rng.IntN(len(sizes)))])
					want[i] = append(want[i], b)
					if err := w.Send(flows[i], b); err != nil {
						t.Fatal(err)
					}
				}
				w.Flush()
				for i := range peers { // no socket overflows
					for n, b := range want[i] {
						if got := datagramFrom(t, peers[i]); !bytes.Equal(got, b) {
							t.Fatalf("peer %d, datagram %d: %d bytes of %q, want %d of %q", i, n, len(got), got[0], len(b), b[0])
						}
					}
					want[i] = want[i][:0]
				}
			}
			if n := tr.Stats.SendErrors.Load(); n != 0 {
				t.Errorf("%d send errors", n)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	a, b := netip.AddrPortFrom(loop4, 1), netip.AddrPortFrom(loop4, 2)
	type d struct {
		to  netip.AddrPort
		len int
	}
	for _, tt := range []struct {
		name  string
		limit int
		queue []d
		want  string
	}{
		{"one", 1000, []d{{a, 5}}, "[0]"},
		{"equal", 1000, []d{{a, 5}, {a, 5}, {a, 5}}, "[0 1 2]"},
		{"a shorter one is the last", 1000, []d{{a, 5}, {a, 4}, {a, 4}, {a, 5}}, "[0 1] [2] [3]"},
		{"a longer one begins anew", 1000, []d{{a, 5}, {a, 6}, {a, 6}}, "[0] [1 2]"},
		{"two addresses", 1000, []d{{a, 5}, {b, 5}, {a, 5}, {b, 5}}, "[0 2] [1 3]"},
		{"none overtakes", 1000, []d{{a, 5}, {a, 6}, {a, 5}, {a, 5}}, "[0] [1 2] [3]"},
		{"too long", 4, []d{{a, 5}, {a, 5}, {a, 4}, {a, 4}}, "[0] [1] [2 3]"},
		{"off", 0, []d{{a, 5}, {a, 5}}, "[0] [1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var queue []datagram
			off := 0
			for _, d := range tt.queue {
				queue = append(queue, datagram{to: d.to, off: off, end: off + d.len})
				off += d.len
			}
			s := newSendState().(*sendState)
			got := ""
			for k := range s.group(queue, tt.limit) {
				g := &s.groups[k]
				var in []int
				for i, j := g.first, 0; j < g.n; i, j = s.next[i], j+1 {
					in = append(in, i)
				}
				got += fmt.Sprint(in, " ")
			}
			if got != tt.want+" " {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// What the kernel does not take together goes one by one. Only where that
// works was it the length that it did not like.
func TestRefusedGroupGoesOneByOne(t *testing.T) {
	tr := serve(t, Config{Listen: udpOn(loop4, 0), Segment: true}, handler{handle: echo})
	r := tr.udp[0].readers[0]
	before := r.io.limit.Load()
	if before == 0 {
		t.Skip("this kernel does not segment")
	}
	w := tr.NewSender()
	nowhere := core.Flow{Socket: tr.Sockets()[0], Remote: netip.AddrPortFrom(loop4, 0)}
	for range 3 {
		w.Send(nowhere, []byte("hello"))
	}
	w.Flush()
	if n := tr.Stats.SendErrors.Load(); n != 3 {
		t.Errorf("%d send errors", n)
	}
	if r.io.limit.Load() != before {
		t.Error("an address without a port lowered the limit")
	}
	for _, tt := range []struct {
		errno syscall.Errno
		want  int32
	}{{syscall.ENOBUFS, before}, {syscall.EINVAL, 799}, {syscall.EIO, 0}} {
		r.io.refused(800, tt.errno)
		if got := r.io.limit.Load(); got != tt.want {
			t.Errorf("%v: limit %d, want %d", tt.errno, got, tt.want)
		}
	}
}
