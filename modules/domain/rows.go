package domain

import (
	"database/sql"

	"github.com/jmoiron/sqlx"

	"sipr/core"
)

// Flags of a row, which all tables of SER's have in common.
const (
	flagLoad     = 1 << 0 // the router uses the row
	flagDisabled = 1 << 1 // nobody uses it
	flagCanon    = 1 << 2 // the name of its domain that stands for all of them
	flagDeleted  = 1 << 7 // it is about to be removed
)

// typeText is the type of an attribute that is text.
const typeText = 2

// usable tells whether the router uses a row. SER ignores flagDisabled of
// attributes and flagDeleted everywhere; here both mean what they say.
func usable(flags int64) bool {
	return flags&flagLoad != 0 && flags&(flagDisabled|flagDeleted) == 0
}

// row is a usable row of the domain table.
type row struct {
	did, name string // name is normalised
	flags     uint32
}

// domainRow reads a row; ok is false if it is not to be used. Every column is
// read as text, since tables of other origin may have other types.
func (s *store) domainRow(rows *sqlx.Rows) (r row, ok bool, err error) {
	var did, domain, flags sql.NullString
	if err := rows.Scan(&did, &domain, &flags); err != nil {
		return r, false, err
	}
	if !did.Valid || !domain.Valid || !flags.Valid {
		s.log.Error("row skipped", "reason", "NULL is not allowed", "table", s.domainTable,
			"did", did.String, "domain", domain.String, "flags", flags.String)
		return r, false, nil
	}
	n, ok := number(flags.String)
	if !ok {
		s.log.Error("row skipped", "reason", "flags are not a number", "table", s.domainTable, "domain", domain.String, "flags", flags.String)
		return r, false, nil
	}
	if !usable(n) {
		return r, false, nil
	}
	_, name := normalised(domain.String)
	if name == "" {
		s.log.Error("row skipped", "reason", "not a domain name", "table", s.domainTable, "did", did.String, "domain", domain.String)
		return r, false, nil
	}
	return row{did.String, name, uint32(n)}, true, nil
}

// attrRow reads a row of the attribute table; ok is false if it is not to be
// used.
func (s *store) attrRow(rows *sqlx.Rows) (did string, a core.Attr, ok bool, err error) {
	var owner, name, typ, value, flags sql.NullString
	if err := rows.Scan(&owner, &name, &typ, &value, &flags); err != nil {
		return "", a, false, err
	}
	skip := func(why string) (string, core.Attr, bool, error) {
		s.log.Error("row skipped", "reason", why, "table", s.attrTable, "did", owner.String, "name", name.String, "value", value.String)
		return "", core.Attr{}, false, nil
	}
	if !owner.Valid {
		return skip("the did is NULL")
	}
	if !name.Valid || !typ.Valid || !flags.Valid {
		return skip("NULL is not allowed")
	}
	bits, ok := number(flags.String)
	if !ok {
		return skip("flags are not a number")
	}
	if !usable(bits) {
		return "", a, false, nil
	}
	if name.String == didAttr {
		// It would hide the identifier that other tables refer to.
		return skip("an attribute cannot be named did")
	}
	t, ok := number(typ.String)
	if !ok {
		return skip("the type is not a number")
	}
	a.Name = name.String
	if t == typeText {
		a.Value = core.TextValue(value.String) // NULL is empty text
		return owner.String, a, true, nil
	}
	n, ok := number(value.String)
	if !ok {
		return skip("the value is not a number")
	}
	a.Value = core.IntValue(n)
	return owner.String, a, true, nil
}
