package domain

import (
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// cell is one column of a row. Every column is taken as text or as a number,
// whichever the database has, since tables of other origin may have other
// types.
type cell struct {
	valid   bool // it is not NULL
	numeric bool // num counts, not str
	num     int64
	str     string
}

var _ sql.Scanner = (*cell)(nil)

// Scan implements sql.Scanner.
func (c *cell) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*c = cell{}
	case string:
		*c = cell{valid: true, str: v}
	case []byte:
		*c = cell{valid: true, str: string(v)}
	case int64:
		*c = cell{valid: true, numeric: true, num: v}
	default:
		*c = cell{valid: true, str: fmt.Sprint(v)}
	}
	return nil
}

// text returns what is in the cell as text, "" for NULL.
func (c *cell) text() string {
	if c.numeric {
		return strconv.FormatInt(c.num, 10)
	}
	return c.str
}

// number returns what is in the cell as a whole number.
func (c *cell) number() (int64, bool) {
	if c.numeric {
		return c.num, true
	}
	n, err := strconv.ParseInt(strings.TrimSpace(c.str), 10, 64)
	return n, c.valid && err == nil
}
