package domain

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// tableNames are the parameters that name tables and columns, with their
// defaults.
func tableNames() map[string]string {
	return map[string]string{
		"domain_table": "domain", "did_col": "did", "domain_col": "domain", "flags_col": "flags",
		"domattr_table": "domain_attrs", "domattr_did": "did", "domattr_name": "name", "domattr_type": "type",
		"domattr_value": "value", "domattr_flags": "flags",
	}
}

// namedTables makes tables of such names, with a domain and an attribute.
func namedTables(n map[string]string) string {
	return fmt.Sprintf("CREATE TABLE `%s` (`%s` TEXT, `%s` TEXT, `%s` INT);\nINSERT INTO `%[1]s` VALUES ('x', 'x.example', 1);\n",
		n["domain_table"], n["did_col"], n["domain_col"], n["flags_col"]) +
		fmt.Sprintf("CREATE TABLE `%s` (`%s` TEXT, `%s` TEXT, `%s` INT, `%s` TEXT, `%s` INT);\nINSERT INTO `%[1]s` VALUES ('x', 'a', 2, 'b', 1)",
			n["domattr_table"], n["domattr_did"], n["domattr_name"], n["domattr_type"], n["domattr_value"], n["domattr_flags"])
}

// works starts the module on such tables in both modes.
func works(t *testing.T, names map[string]string) {
	t.Helper()
	for _, mode := range []int{0, 1} {
		params := map[string]any{"db_mode": mode, "load_domain_attrs": 1}
		for k, v := range names {
			params[k] = v
		}
		r := setUp(t, namedTables(names), params)
		q := r.request()
		if !r.local("x.example") || !r.answer(r.Call(r.m, q, "lookup_domain", "$td", "X.example")) || r.attr(q, "$td.a") != "b" {
			t.Errorf("%v does not work with db_mode %d", names, mode)
		}
	}
}

// renamed gives one name another value: with the tables to match the module
// works, with other tables it does not start, and says why.
func renamed(t *testing.T, param string) {
	t.Helper()
	names := tableNames()
	table := names["domain_table"]
	if strings.HasPrefix(param, "domattr") {
		table = names["domattr_table"]
	}
	if strings.HasSuffix(param, "_table") {
		table = "wrong"
	}
	other := maps.Clone(names)
	other[param] = "renamed"
	works(t, other)

	r := prepare(t, namedTables(names))
	err := r.TryLoad(r.m, map[string]any{"load_domain_attrs": 1, param: "wrong"})
	if err == nil || !strings.Contains(err.Error(), "table "+table) || !strings.Contains(err.Error(), "wrong") || !strings.Contains(err.Error(), param) {
		t.Errorf("the start with a wrong %s says %v", param, err)
	}
	if err := r.TryLoad(New(), map[string]any{param: "no; DROP TABLE domain"}); err == nil {
		t.Errorf("%s accepts a name that is none", param)
	}
}

func TestS2_022_DomainTable(t *testing.T)  { renamed(t, "domain_table") }
func TestS2_023_DIDCol(t *testing.T)       { renamed(t, "did_col") }
func TestS2_024_DomainCol(t *testing.T)    { renamed(t, "domain_col") }
func TestS2_025_FlagsCol(t *testing.T)     { renamed(t, "flags_col") }
func TestS2_026_DomattrTable(t *testing.T) { renamed(t, "domattr_table") }
func TestS2_027_DomattrDID(t *testing.T)   { renamed(t, "domattr_did") }
func TestS2_028_DomattrName(t *testing.T)  { renamed(t, "domattr_name") }
func TestS2_029_DomattrType(t *testing.T)  { renamed(t, "domattr_type") }
func TestS2_030_DomattrValue(t *testing.T) { renamed(t, "domattr_value") }
func TestS2_031_DomattrFlags(t *testing.T) { renamed(t, "domattr_flags") }

// TestAllNames changes all names at once, to words of SQL among others.
func TestAllNames(t *testing.T) {
	works(t, map[string]string{
		"domain_table": "select", "did_col": "from", "domain_col": "where", "flags_col": "order",
		"domattr_table": "group", "domattr_did": "ad", "domattr_name": "key", "domattr_type": "aty",
		"domattr_value": "index", "domattr_flags": "af",
	})
}

// TestS2_021_Modes: 0 and 1 are the modes, and 1 is what works without a word.
func TestS2_021_Modes(t *testing.T) {
	for _, c := range []struct {
		params  map[string]any
		queries int64
	}{{nil, 0}, {map[string]any{"db_mode": 1}, 0}, {map[string]any{"db_mode": 0}, 1}} {
		r := setUp(t, namedTables(tableNames()), c.params)
		before := r.Counter("queries").Load()
		if !r.local("x.example") || r.Counter("queries").Load() != before+c.queries {
			t.Errorf("%v: %d queries", c.params, r.Counter("queries").Load()-before)
		}
	}
}
