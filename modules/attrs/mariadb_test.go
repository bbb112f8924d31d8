package attrs

import (
	"context"
	"testing"

	"sipr/core/coretest"
	"sipr/core/database"
)

// TestOnMariaDB makes the tables on a real server and reads and writes them.
func TestOnMariaDB(t *testing.T) {
	h := coretest.NewHost(t)
	h.URL = coretest.MariaDB(t)
	db, err := database.Open(h, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := database.Migrate(context.Background(), db, Migrations()); err != nil {
		t.Fatal(err)
	}
	m := h.Load(New(), nil).(*Module)
	for _, params := range [][]any{{"user_set", "u1", "fr_timer", "5000"}, {"user_add", "u1", "gw_acl", "a"}, {"user_add", "u1", "gw_acl", "b"}, {"user_rm", "u1", "gw_acl", "b"}, {"user_set", "U1", "gw_acl", "other"}} {
		if _, err := h.Command(m, params[0].(string), params[1:]...); err != nil {
			t.Errorf("%v: %v", params, err)
		}
	}
	r := invite(h)
	yes(t, h.Call(m, r, "load_attrs", "$fu", "u1"))
	if got := get(t, r, "$fu.fr_timer") + get(t, r, "$fu.gw_acl"); got != "5000a" {
		t.Errorf("read %s", got)
	}
}
