//go:build !race

package auth

import (
	"fmt"
	"testing"

	"sipr/core"
	"sipr/core/coretest"
	"sipr/core/sipmsg"
	"sipr/modules/users"
)

// The race detector makes sync.Pool forget at random, so this cannot be
// counted under it.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for name, start := range map[string]func() *rig{
		"auth alone":            func() *rig { return newRig(t, nil) },
		"with domain and users": func() *rig { return whole(t, 1) },
		"with users":            func() *rig { return withUsers(t) },
	} {
		t.Run(name, func(t *testing.T) {
			if n := allocations(t, start()); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func withUsers(t *testing.T) *rig {
	r := &rig{Host: coretest.NewHost(t)}
	r.Load(users.New(), nil)
	r.load(nil)
	r.exec("INSERT INTO uri (uid, did, username) VALUES ('uid-alice', 'example.com', 'alice')")
	return r
}

// allocations counts those of one check of credentials in the realm of the
// domain, and of who owns the address.
func allocations(t *testing.T, r *rig) float64 {
	c := newClient("alice", r.nonce(testRealm))
	const runs = 100
	var messages []*sipmsg.Message
	for i := range runs + 2 {
		c.nc = fmt.Sprintf("%08x", i+1)
		messages = append(messages, r.register(c.header()).Msg)
	}
	req := r.register()
	var a core.Args
	i := 0
	return testing.AllocsPerRun(runs, func() {
		req.Msg = messages[i]
		req.Attrs.Reset()
		req.Auth = core.Identity{}
		i++
		a.Reset()
		if res := r.m.wwwAuthorize(req, &a); res.Value.Num != 1 {
			t.Fatal(res.Why, res.Err)
		}
		if res := r.m.checkIdentity(req, &a); res.Value.Num != 1 {
			t.Fatal(res.Why, res.Err)
		}
	})
}
