package domain

import (
	"testing"

	"sipr/core"
)

func TestProvisioningCommands(t *testing.T) {
	r := setUp(t, serTables+";\n"+example, map[string]any{"load_domain_attrs": 1})
	for _, tt := range []struct {
		name, command string
		params        []any
		code          int // of the fault
	}{
		{"a new domain", "add", []any{"new", "New.example", "[2001:DB8::1]"}, 0},
		{"a further name", "add", []any{"iptel", "third.iptel.org"}, 0},
		{"a name that somebody has", "add", []any{"new", "sip.IPTEL.org"}, 409},
		{"half of it taken: nothing is added", "add", []any{"half", "half.example", "iptel.org"}, 409},
		{"no name", "add", []any{"new"}, 400},
		{"no domain name", "add", []any{"new", "a b"}, 400},
		{"a number", "attr_set", []any{"new", "fr_timer", int64(7)}, 0},
		{"a value in place of several", "attr_set", []any{"iptel", "gw", "three"}, 0},
		{"an attribute of nobody", "attr_set", []any{"nobody", "x", "1"}, 404},
		{"the did is no attribute", "attr_set", []any{"new", "did", "other"}, 400},
		{"an attribute goes", "attr_rm", []any{"iptel", "realm"}, 0},
		{"which is not there", "attr_rm", []any{"iptel", "realm"}, 404},
		{"a name goes", "rm", []any{"iptel", "SIP.iptel.org"}, 0},
		{"the canonical name", "rm", []any{"new", "new.example"}, 409},
		{"the last name", "rm", []any{"acme", "acme.com"}, 409},
		{"a name of another domain", "rm", []any{"acme", "iptel.org"}, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.Command(r.m, tt.command, tt.params...)
			if f := fault(err); (tt.code == 0) != (err == nil) || f != nil && f.Code != tt.code {
				t.Errorf("%v, want code %d", err, tt.code)
			}
		})
	}
	for name, want := range map[string]bool{
		"new.example": true, "2001:db8::1": true, "third.iptel.org": true, "half.example": false, "sip.iptel.org": false, "iptel.org": true, "acme.com": true,
	} {
		if r.local(name) != want {
			t.Errorf("is_local(%s) is not %v", name, want)
		}
	}
	if set := r.m.Attrs("iptel"); attrOf(set, "gw") != "three" || attrOf(set, "realm") != "" {
		t.Errorf("attributes %v", set.All())
	}
	if n := r.m.Attrs("new"); attrOf(n, "fr_timer") != "7" {
		t.Errorf("attributes %v", n.All())
	}
	r.exec("DROP TABLE domain_attrs")
	if _, err := r.Command(r.m, "add", "late", "late.example"); fault(err) == nil {
		t.Error("a reload that failed was not reported")
	}
}

func attrOf(set *core.AttrSet, name string) (value string) {
	for _, a := range set.All() {
		if a.Name == name {
			value += a.Value.String()
		}
	}
	return value
}
