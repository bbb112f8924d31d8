package permissions

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"sipr/core"
	"sipr/core/database"
)

// defaultTable is the table's name unless a parameter changes it. Only a table
// of this name is made and kept up to date by migrations.
const defaultTable = "trusted"

// Flags of a row, which all tables of SER's have in common.
const (
	flagLoad     = 1 << 0 // the router uses the row
	flagDisabled = 1 << 1 // nobody uses it
	flagDeleted  = 1 << 7 // it is about to be removed
)

// trustedTable is the names of the table and its columns.
type trustedTable struct{ table, source, proto, tag, flags string }

// store reads the table.
type store struct {
	db    *database.DB
	log   *slog.Logger
	table string
	query string
}

// openStore checks the table.
func openStore(ctx context.Context, db *database.DB, t trustedTable, log *slog.Logger) (*store, error) {
	if t.table == defaultTable {
		if err := requireSchema(ctx, db); err != nil {
			return nil, err
		}
	}
	rows, err := db.QueryxContext(ctx, "SELECT * FROM "+db.Quote(t.table)+" WHERE 1 = 0")
	if err != nil {
		return nil, fmt.Errorf("database %s: table %s (parameter trusted_table): %w", db.Name, t.table, err)
	}
	present, err := rows.Columns()
	rows.Close()
	if err != nil {
		return nil, fmt.Errorf("database %s: table %s: %w", db.Name, t.table, err)
	}
	has := func(name string) bool {
		for _, p := range present {
			if strings.EqualFold(p, name) {
				return true
			}
		}
		return false
	}
	// The table's name goes with each column: SQLite takes a quoted name
	// alone for text if there is no such column.
	q := func(name string) string { return db.Quote(t.table) + "." + db.Quote(name) }
	var names []string
	for _, c := range []struct{ param, name string }{
		{"source_col", t.source}, {"proto_col", t.proto}, {"tag_col", t.tag}, {"flags_col", t.flags},
	} {
		if !has(c.name) {
			return nil, fmt.Errorf("database %s: table %s has no column %s (parameter %s); it has %s",
				db.Name, t.table, c.name, c.param, strings.Join(present, ", "))
		}
		names = append(names, q(c.name))
	}
	id, order := "''", q(t.source)
	if has("id") {
		id, order = q("id"), q("id")
	}
	query := "SELECT " + id + ", " + strings.Join(names, ", ") + " FROM " + db.Quote(t.table) + " ORDER BY " + order
	return &store{db, log, t.table, query}, nil
}

// requireSchema sees to it that a table of our own is up to date. One that was
// there before is used as it is.
func requireSchema(ctx context.Context, db *database.DB) error {
	exists, err := db.HasTable(ctx, defaultTable)
	if err != nil {
		return err
	}
	states, err := database.Status(ctx, db, Migrations())
	if err != nil {
		return err
	}
	ours := !exists
	for _, s := range states {
		ours = ours || !s.Applied.IsZero()
	}
	if !ours {
		return nil
	}
	return db.RequireSchema(ctx, Migrations())
}

// load reads the rows that are to be used.
func (s *store) load(ctx context.Context) ([]entry, error) {
	rows, err := s.db.QueryxContext(ctx, s.query)
	if err != nil {
		return nil, fmt.Errorf("database %s: read table %s: %w", s.db.Name, s.table, err)
	}
	defer rows.Close()
	var out []entry
	for rows.Next() {
		e, ok, err := s.row(rows)
		if err != nil {
			return nil, fmt.Errorf("database %s: read table %s: %w", s.db.Name, s.table, err)
		}
		if ok {
			out = append(out, e)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("database %s: read table %s: %w", s.db.Name, s.table, err)
	}
	return out, nil
}

// row reads a row; ok is false if it is not to be used.
func (s *store) row(rows *sqlx.Rows) (e entry, ok bool, err error) {
	var id, source, proto, tag, flags sql.NullString
	if err := rows.Scan(&id, &source, &proto, &tag, &flags); err != nil {
		return e, false, err
	}
	skip := func(column, value string) (entry, bool, error) {
		s.log.Error("row skipped", "table", s.table, "id", id.String, column, value)
		return entry{}, false, nil
	}
	bits, err := strconv.ParseInt(flags.String, 10, 64)
	if err != nil {
		return skip("flags", flags.String)
	}
	if bits&flagLoad == 0 || bits&(flagDisabled|flagDeleted) != 0 {
		return e, false, nil
	}
	if e.prefix, err = parseSource(source.String); err != nil {
		return skip("source", source.String)
	}
	if p := strings.TrimSpace(proto.String); p != "" && !strings.EqualFold(p, "any") {
		// A protocol that nobody knows must not become all of them.
		if e.proto = core.ParseProto(p); e.proto == core.ProtoNone {
			return skip("proto", proto.String)
		}
	}
	e.tag, e.row = tag.String, id.String
	return e, true, nil
}
