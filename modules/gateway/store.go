package gateway

import (
	"context"
	"embed"
	"fmt"
	"strconv"

	"sipr/core/database"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the schema of the table gateway.
func Migrations() database.Migrations {
	return database.Migrations{Module: "gateway", FS: migrations}
}

// columns are the names of the table's columns.
type columns struct{ prefix, strip, prepend, target, priority, weight, flags string }

var defaultColumns = columns{"prefix", "strip", "prepend", "target", "priority", "weight", "flags"}

// Row flags: a row counts if it is for SER and neither disabled nor deleted.
const (
	flagLoad  = 1
	flagNever = 2 | 128
)

// loadTable reads the rules of the table. A row that makes no rule is an
// error that names it: to leave it out would lead its calls somewhere else.
func (m *Module) loadTable(ctx context.Context) ([]rule, error) {
	c, q := &m.columns, m.db.Quote
	rows, err := m.db.QueryxContext(ctx, fmt.Sprintf(
		"SELECT %s, %s, %s, %s, %s, %s FROM %s WHERE (%s & %d) <> 0 AND (%s & %d) = 0",
		q(c.prefix), q(c.strip), q(c.prepend), q(c.target), q(c.priority), q(c.weight),
		q(m.table), q(c.flags), flagLoad, q(c.flags), flagNever))
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", m.table, err)
	}
	defer rows.Close()
	var rules []rule
	for rows.Next() {
		var r rule
		if err := rows.Scan(&r.prefix, &r.strip, &r.prepend, &r.target, &r.priority, &r.weight); err != nil {
			return nil, fmt.Errorf("table %s: %w", m.table, err)
		}
		if err := r.finish(); err != nil {
			return nil, fmt.Errorf("table %s, row with %s %s and %s %s: %w", m.table,
				c.prefix, strconv.Quote(r.prefix), c.target, strconv.Quote(r.target), err)
		}
		r.origin = m.table
		rules = append(rules, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("table %s: %w", m.table, err)
	}
	return rules, nil
}
