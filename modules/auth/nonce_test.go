package auth

import (
	"net/netip"
	"testing"
	"time"

	"sipr/core/clock"
)

func TestNonceVerify(t *testing.T) {
	key := [32]byte{1}
	now := clock.NewFake().Now()
	here := netip.MustParseAddr("192.0.2.1")
	w := newWork()
	a := newNonces(key, []byte("aaaa"), time.Minute, 64)
	other := newNonces(key, []byte("bbbb"), time.Minute, 64)
	foreign := newNonces([32]byte{2}, []byte("aaaa"), time.Minute, 64)
	n := string(a.append(nil, w, []byte("r"), netip.Addr{}, now))
	bound := string(a.append(nil, w, []byte("r"), here, now))
	flipped := []byte(n)
	flipped[0] ^= 1

	tests := []struct {
		name, nonce, realm string
		by                 *nonces
		source             netip.Addr
		at                 time.Duration
		want               verdict
	}{
		{"fresh", n, "r", a, netip.Addr{}, 0, accepted},
		{"at its end", n, "r", a, netip.Addr{}, time.Minute, accepted},
		{"expired", n, "r", a, netip.Addr{}, time.Minute + 1, stale},
		{"on another node", n, "r", other, netip.Addr{}, 0, accepted},
		{"with another secret", n, "r", foreign, netip.Addr{}, 0, otherKey},
		{"for another realm", n, "x", a, netip.Addr{}, 0, otherKey},
		{"changed", string(flipped), "r", a, netip.Addr{}, 0, otherKey},
		{"from its address", bound, "r", a, here, 0, accepted},
		{"from another address", bound, "r", a, here.Next(), 0, otherKey},
		{"not bound", n, "r", a, here, 0, otherKey},
		{"not ours", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "r", a, netip.Addr{}, 0, badNonce},
		{"not base64", "!" + n[1:], "r", a, netip.Addr{}, 0, badNonce},
		{"line breaks", n[:len(n)-2] + "\r\n", "r", a, netip.Addr{}, 0, badNonce},
		{"too long", n + n, "r", a, netip.Addr{}, 0, badNonce},
		{"far in the future", n, "r", a, netip.Addr{}, -2 * time.Minute, stale},
	}
	for _, tc := range tests {
		if _, got := tc.by.verify([]byte(tc.nonce), w, []byte(tc.realm), tc.source, now.Add(tc.at)); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestNonceUse(t *testing.T) {
	ns := newNonces([32]byte{}, []byte("aaaa"), time.Minute, 64)
	id := nonceID{at: 100, epoch: ns.epoch, n: 5}
	steps := []struct {
		nc   uint32
		want verdict
	}{
		{3, accepted}, {3, replay}, {1, accepted}, {1, replay}, {66, accepted}, {2, replay}, {4, accepted}, {4, replay},
		{200, accepted}, {136, replay}, {137, accepted}, {^uint32(0), accepted}, {^uint32(0), replay}, {0, replay},
	}
	for i, s := range steps {
		if got := ns.use(id, s.nc); got != s.want {
			t.Errorf("step %d: nc %d: %v, want %v", i, s.nc, got, s.want)
		}
	}
	newer := nonceID{at: 101, epoch: ns.epoch, n: 5 + 64}
	if got := ns.use(newer, 1); got != accepted {
		t.Errorf("a newer nonce in the same slot: %v", got)
	}
	if got := ns.use(id, 300); got != stale {
		t.Errorf("a nonce whose slot is gone: %v", got)
	}
	once := nonceID{at: 102, epoch: ns.epoch, n: 6}
	if got := ns.useOnce(once); got != accepted {
		t.Error(got)
	}
	if got := ns.useOnce(once); got != replay {
		t.Errorf("second use: %v", got)
	}
	if got := ns.use(once, 7); got != replay {
		t.Errorf("second use with a count: %v", got)
	}
	foreign := nonceID{at: 200, epoch: 77, n: 9}
	if a, b := ns.use(foreign, 1), ns.use(foreign, 1); a != accepted || b != replay {
		t.Errorf("another node's nonce: %v, then %v", a, b)
	}
}
