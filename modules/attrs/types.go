package attrs

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"sipr/core"
)

// flagMultivalue of attr_types says that an attribute may have several values.
const flagMultivalue = 1024

// defaultFlags are those of rows of attributes that no type describes: for the
// router and for the web.
const defaultFlags = 1 | 32

// types are the known attributes by name.
type types struct{ byName map[string]attrType }

type attrType struct {
	raw   int
	flags int64 // of new rows
	multi bool
}

// types reads the table of types.
func (s *store) types(ctx context.Context) (*types, error) {
	t := &types{byName: map[string]attrType{}}
	if s.typesTable == "" {
		return t, nil
	}
	q := s.db.Quote
	query := "SELECT " + q("name") + ", " + q("raw_type") + ", " + q("default_flags") + ", " + q("flags") + " FROM " + q(s.typesTable)
	err := s.each(ctx, s.typesTable, query, nil, 4, func(c []sql.NullString) {
		raw, err1 := strconv.Atoi(c[1].String)
		row, err2 := strconv.ParseInt(c[2].String, 10, 64)
		flags, err3 := strconv.ParseInt(c[3].String, 10, 64)
		if err1 != nil || err2 != nil || err3 != nil || !core.ValidAttrName(c[0].String) {
			s.log.Error("row skipped", "reason", "not a type of attribute", "table", s.typesTable, "name", c[0].String)
			return
		}
		t.byName[c[0].String] = attrType{raw, row, flags&flagMultivalue != 0}
	})
	return t, err
}

// of returns the type of an attribute; one that is not known is text and may
// have several values.
func (t *types) of(name string) (typ attrType, known bool) {
	if typ, known = t.byName[name]; known {
		return typ, true
	}
	return attrType{typeText, defaultFlags, true}, false
}

// check judges a value that is about to be written.
func (t attrType) check(name, value string) error {
	if t.raw == typeText {
		return nil
	}
	if _, err := strconv.ParseInt(value, 10, 64); err != nil {
		return &core.Fault{Code: 400, Reason: fmt.Sprintf("%s is a number, and %q is none", name, value)}
	}
	return nil
}
