package auth

import (
	"strings"
	"testing"
	"time"

	"sipr/core"
	"sipr/core/coretest"
)

// try checks alice's credentials, made with a password and a fresh nonce.
func (r *rig) try(user, password string) string {
	r.T.Helper()
	c := newClient(user, r.nonce(testRealm))
	c.password = password
	return r.check(r.register(c.header()), "www_authorize", testRealm)
}

func TestCache(t *testing.T) {
	r := newRig(t, nil)
	step := func(what, user, password, want string, waits int) {
		t.Helper()
		r.Waits = 0
		if got := r.try(user, password); got != want || r.Waits != waits {
			t.Errorf("%s: %s with %d queries, want %s with %d", what, got, r.Waits, want, waits)
		}
	}
	step("first", "alice", "secret-alice", "ok", 1)
	step("again", "alice", "secret-alice", "ok", 0)
	step("wrong", "alice", "x", "wrong_password", 0)
	r.Fake.Advance(59 * time.Second)
	step("before its end", "alice", "secret-alice", "ok", 0)
	r.Fake.Advance(2 * time.Second)
	step("expired", "alice", "secret-alice", "ok", 1)

	r.add("alice", "new", 1)
	step("old password is cached", "alice", "secret-alice", "ok", 0)
	r.Fake.Advance(recheck)
	step("a new password works at once", "alice", "new", "ok", 1)
	step("the old one no longer", "alice", "secret-alice", "wrong_password", 0)

	step("unknown", "carol", "secret-carol", "unknown_user", 1)
	step("still unknown", "carol", "secret-carol", "unknown_user", 0)
	r.add("carol", "secret-carol", 1)
	r.Fake.Advance(recheck)
	step("a new user works at once", "carol", "secret-carol", "ok", 1)
	step("and is cached", "carol", "secret-carol", "ok", 0)

	r.add("alice", "newer", 1)
	if call, err := r.Command(r.m, "flush", "alice"); err != nil || call.Reply[0].(*core.Struct).Members[0].Value != int64(1) {
		t.Errorf("flush: %v %v", call, err)
	}
	step("flushed", "alice", "new", "wrong_password", 1)
	step("others stay", "carol", "secret-carol", "ok", 0)
	if _, err := r.Command(r.m, "flush"); err != nil {
		t.Error(err)
	}
	step("all flushed", "carol", "secret-carol", "ok", 1)
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(160, time.Minute)
	for i := range 5000 {
		key := []byte{byte(i), byte(i >> 8)}
		c.put(key, &credential{known: i%2 == 0})
	}
	if known, unknown := c.size(); known > 160 || known < 140 || unknown > 32 || unknown == 0 {
		t.Errorf("%d known, %d unknown", known, unknown)
	}
	off := newCache(0, time.Minute)
	off.put([]byte("x"), &credential{known: true})
	if off.get([]byte("x"), 0) != nil {
		t.Error("a cache of size 0 has kept something")
	}
}

func TestDatabaseDown(t *testing.T) {
	r := newRig(t, nil)
	if got := r.try("alice", "secret-alice"); got != "ok" {
		t.Fatal(got)
	}
	r.m.db.Close()
	if got := r.try("bob", "secret-bob"); got != "error" {
		t.Errorf("not cached: %s", got)
	}
	if got := r.try("alice", "secret-alice"); got != "ok" {
		t.Errorf("cached: %s", got)
	}
}

func TestExistingTable(t *testing.T) {
	first := newRig(t, nil)
	first.exec("CREATE TABLE subscriber (username TEXT, domain TEXT, password TEXT, ha1 TEXT)")
	first.exec("INSERT INTO subscriber VALUES ('dave', ?, 'pw', ?)", testRealm, sum("MD5", "dave:"+testRealm+":pw"))
	params := map[string]any{"table": "subscriber", "user_column": "username", "realm_column": "domain",
		"did_column": "", "uid_column": "", "flags_column": ""}
	for _, calculate := range []bool{false, true} {
		params["calculate_ha1"] = calculate
		params["ha1_sha256_column"], params["ha1_sha512_256_column"] = "", ""
		params["algorithms"] = "MD5"
		if calculate {
			params["algorithms"] = "SHA-256,MD5"
		}
		h := coretest.NewHost(t)
		h.URL = first.URL
		r := &rig{Host: h, m: h.Load(New(), params).(*Module)}
		c := newClient("dave", r.nonce(testRealm))
		c.password = "pw"
		if calculate {
			c.algorithm = "SHA-256"
		}
		req := r.register(c.header())
		if got := r.check(req, "www_authorize", testRealm); got != "ok" || req.Auth.DID != testRealm {
			t.Errorf("calculate_ha1 %v: %s %+v", calculate, got, req.Auth)
		}
	}
}

func TestBadSettings(t *testing.T) {
	for name, params := range map[string]map[string]any{
		"table":                              {"table": "nothing_there"},
		"no column":                          {"ha1_column": ""},
		"algorithm":                          {"algorithms": "SHA-1"},
		"qop":                                {"qop": "auth-conf"},
		"injection":                          {"table": "a;b"},
		"database":                           {"db_url": "oracle:x"},
		"ha1_sha512_256_column is not there": {"ha1_sha512_256_column": "nope"},
	} {
		h := coretest.NewHost(t)
		err := h.TryLoad(New(), params)
		if err == nil {
			t.Errorf("%s was taken", name)
		} else if name == "table" && !strings.Contains(err.Error(), "nothing_there") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStats(t *testing.T) {
	r := newRig(t, nil)
	r.try("alice", "secret-alice")
	r.try("alice", "x")
	r.try("carol", "x")
	call, err := r.Command(r.m, "stats")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, m := range call.Reply[0].(*core.Struct).Members {
		got[m.Name] = m.Value
	}
	for name, want := range map[string]int64{"accepted": 1, "wrong_password": 1, "unknown_user": 1, "challenges": 3,
		"queries": 2, "cached": 1, "cached_unknown": 1, "bad_nonce": 0} {
		if got[name] != want {
			t.Errorf("%s = %v, want %d", name, got[name], want)
		}
	}
}
