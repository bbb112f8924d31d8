package domain

import "sipr/core"

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

// The columns in the order in which the statements name them.
const (
	domainDID = iota
	domainName
	domainFlags
	domainColumns
)

const (
	attrDID = iota
	attrName
	attrType
	attrValue
	attrFlags
	attrColumns
)

// row is a usable row of the domain table.
type row struct {
	did, name string // name is normalised
	flags     uint32
}

// domainRow judges a row; ok is false if it is not to be used.
func (s *store) domainRow(c []cell) (r row, ok bool) {
	skip := func(why string) (row, bool) {
		s.log.Error("row skipped", "reason", why, "table", s.domainTable,
			"did", c[domainDID].text(), "domain", c[domainName].text(), "flags", c[domainFlags].text())
		return row{}, false
	}
	if !c[domainDID].valid || !c[domainName].valid || !c[domainFlags].valid {
		return skip("NULL is not allowed")
	}
	flags, ok := c[domainFlags].number()
	if !ok {
		return skip("flags are not a number")
	}
	if !usable(flags) {
		return row{}, false
	}
	_, name := normalised(c[domainName].text())
	if name == "" {
		return skip("not a domain name")
	}
	return row{c[domainDID].text(), name, uint32(flags)}, true
}

// attrRow judges a row of the attribute table; ok is false if it is not to be
// used.
func (s *store) attrRow(c []cell) (a core.Attr, ok bool) {
	skip := func(why string) (core.Attr, bool) {
		s.log.Error("row skipped", "reason", why, "table", s.attrTable,
			"did", c[attrDID].text(), "name", c[attrName].text(), "value", c[attrValue].text())
		return core.Attr{}, false
	}
	if !c[attrDID].valid {
		return skip("the did is NULL")
	}
	if !c[attrName].valid || !c[attrType].valid || !c[attrFlags].valid {
		return skip("NULL is not allowed")
	}
	flags, ok := c[attrFlags].number()
	if !ok {
		return skip("flags are not a number")
	}
	if !usable(flags) {
		return core.Attr{}, false
	}
	a.Name = c[attrName].text()
	if a.Name == didAttr {
		// It would hide the identifier that other tables refer to.
		return skip("an attribute cannot be named did")
	}
	t, ok := c[attrType].number()
	if !ok {
		return skip("the type is not a number")
	}
	if t == typeText {
		a.Value = core.TextValue(c[attrValue].text()) // NULL is empty text
		return a, true
	}
	n, ok := c[attrValue].number()
	if !ok {
		return skip("the value is not a number")
	}
	a.Value = core.IntValue(n)
	return a, true
}
