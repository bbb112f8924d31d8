package rr_test

import (
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/coretest/sim"
	"sipr/modules/gateway"
	"sipr/modules/rr"
)

// TestDialogOpensNoGateway has a caller use the Route of a dialog with a user
// to reach a gateway: the call that nobody authenticated must not leave.
func TestDialogOpensNoGateway(t *testing.T) {
	s := sim.New(t, sim.Config{
		Modules: []func() core.Module{rr.New, gateway.New}, Script: script,
		Settings: `loadmodule "rr" loadmodule "gateway"
modparam("gateway", "use_db", false)
modparam("gateway", "rule", "prefix=+ target=sip:192.0.2.77")`,
	})
	route := func(rr []string) string { return "Route: " + strings.Join(rr, ", ") }

	user := setUp(t, s, 0, "sip:bob@192.0.2.2")
	s.ReceiveOn(0, alice, message("BYE", "sip:bob@192.0.2.2", "A", "B", route(user)))
	if p := one(t, s); !strings.HasPrefix(p.Text, "BYE ") {
		t.Errorf("a BYE inside the dialog was not sent on: %s", p.Text)
	}
	s.ReceiveOn(0, alice, message("INVITE", "sip:+1900@192.0.2.77", "A", "B", route(user)))
	if p := one(t, s); !strings.HasPrefix(p.Text, "SIP/2.0 403 ") {
		t.Errorf("a dialog with a user opened a gateway: %s", p.Text)
	}
	forged := strings.Replace(route(user), ">", ";gw>", 1)
	s.ReceiveOn(0, alice, message("INVITE", "sip:+1900@192.0.2.77", "A", "B", forged, "X-Ask: 1"))
	if p := one(t, s); !strings.HasPrefix(p.Text, "SIP/2.0 299 forged") {
		t.Errorf("the mark of a gateway was invented: %s", p.Text)
	}

	trunk := setUp(t, s, 0, "sip:+1555@192.0.2.77")
	s.ReceiveOn(0, alice, message("BYE", "sip:+1555@192.0.2.77", "A", "B", route(trunk)))
	if p := one(t, s); !strings.HasPrefix(p.Text, "BYE ") {
		t.Errorf("a BYE to a gateway inside its own dialog was refused: %s", p.Text)
	}
	s.ReceiveOn(0, "192.0.2.77:5060", message("BYE", "sip:alice@192.0.2.1", "B", "A", route(trunk)))
	if p := one(t, s); !strings.HasPrefix(p.Text, "BYE ") {
		t.Errorf("a gateway's BYE was refused: %s", p.Text)
	}
}
