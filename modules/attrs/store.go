package attrs

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

// The flags of rows that matter here.
const (
	flagLoad     = 1
	flagDisabled = 2
	flagDeleted  = 128
)

// typeText is the type of an attribute that is text; all others are numbers.
const typeText = 2

func usable(flags int64) bool {
	return flags&(flagLoad|flagDisabled|flagDeleted) == flagLoad
}

// store reads and writes the tables; those without a name are nil.
type store struct {
	db                *database.DB
	log               *slog.Logger
	user, uri, global *table
	typesTable        string
}

// table is one table of attributes. Its statements are made once.
type table struct {
	s                                  *store
	name                               string
	owner                              string // a name that attributes may not have, since the owner's is kept there
	keys                               []string
	query, remove, removeValue, insert string
}

func (m *Module) openStore(ctx context.Context) (*store, error) {
	db, err := database.Open(m.host, m.host.DBURL(m.dbURL))
	if err != nil {
		return nil, err
	}
	if err := m.requireSchema(ctx, db); err != nil {
		return nil, err
	}
	s := &store{db: db, log: m.host.Log(), typesTable: m.tables.types}
	c := m.columns
	for _, t := range []struct {
		p     **table
		name  string
		param string
		owner string
		keys  []string
	}{
		{&s.user, m.tables.user, "user_attrs_table", uidAttr, []string{c.uid}},
		{&s.uri, m.tables.uri, "uri_attrs_table", "", []string{c.did, c.username, c.scheme}},
		{&s.global, m.tables.global, "global_attrs_table", "", nil},
	} {
		if t.name == "" {
			continue
		}
		tab := &table{s: s, name: t.name, owner: t.owner, keys: t.keys}
		if err := tab.prepare(ctx, c); err != nil {
			return nil, fmt.Errorf("database %s: table %s (parameter %s): %w", db.Name, t.name, t.param, err)
		}
		*t.p = tab
	}
	return s, nil
}

// requireSchema sees to it that tables of our own are up to date. Tables that
// were there before, such as SER's, are used as they are.
func (m *Module) requireSchema(ctx context.Context, db *database.DB) error {
	if m.tables != New().(*Module).tables {
		return nil
	}
	exists, err := db.HasTable(ctx, m.tables.user)
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

// prepare checks that the table has its columns and makes its statements.
func (t *table) prepare(ctx context.Context, c columnNames) error {
	db := t.s.db
	columns := append(append([]string(nil), t.keys...), c.name, c.typ, c.value, c.flags)
	present, err := columnsOf(ctx, db, t.name)
	if err != nil {
		return err
	}
	var quoted, marks, where []string
	for _, col := range columns {
		if !present[strings.ToLower(col)] {
			return fmt.Errorf("there is no column %s", col)
		}
		quoted, marks = append(quoted, db.Quote(col)), append(marks, "?")
	}
	for _, k := range t.keys {
		where = append(where, db.Quote(k)+" = ?")
	}
	order := strings.Join(quoted, ", ")
	switch {
	case present["id"]:
		order = db.Quote("id")
	case db.Dialect == database.SQLite:
		order = "rowid"
	}
	name := db.Quote(t.name)
	match := ""
	if len(where) > 0 {
		match = " WHERE " + strings.Join(where, " AND ")
	}
	t.query = "SELECT " + strings.Join(quoted, ", ") + " FROM " + name + match + " ORDER BY " + order
	t.remove = "DELETE FROM " + name + " WHERE " + strings.Join(append(where, db.Quote(c.name)+" = ?"), " AND ")
	t.removeValue = t.remove + " AND " + db.Quote(c.value) + " = ?"
	t.insert = "INSERT INTO " + name + " (" + strings.Join(quoted, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
	return nil
}

func columnsOf(ctx context.Context, db *database.DB, table string) (map[string]bool, error) {
	rows, err := db.QueryxContext(ctx, "SELECT * FROM "+db.Quote(table)+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	present := map[string]bool{}
	for _, n := range names {
		present[strings.ToLower(n)] = true
	}
	return present, rows.Err()
}

// read returns an owner's attributes in the order of rows. Rows that are not
// for the router are left out, and so are, with a line in the log, those that
// make no sense.
func (t *table) read(ctx context.Context, keys ...any) ([]core.Attr, error) {
	var list []core.Attr
	err := t.s.each(ctx, t.name, t.query, keys, len(t.keys)+4, func(c []sql.NullString) {
		for i, k := range keys { // a database may compare more loosely
			if c[i].String != k {
				return
			}
		}
		a, why := attrOf(c[len(keys):])
		if why == "" && a.Name == t.owner && a.Name != "" {
			why = "an attribute cannot have that name"
		}
		switch {
		case why != "":
			t.s.log.Error("row skipped", "reason", why, "table", t.name, "owner", fmt.Sprint(keys...), "name", a.Name)
		case a.Value.Kind != core.KindNil:
			list = append(list, a)
		}
	})
	return list, err
}

// attrOf judges a row: name, type, value, flags. A row that is not to be used
// has no value.
func attrOf(c []sql.NullString) (a core.Attr, why string) {
	a.Name = c[0].String
	if !c[0].Valid || !c[1].Valid || !c[3].Valid {
		return a, "NULL is not allowed"
	}
	flags, err := strconv.ParseInt(strings.TrimSpace(c[3].String), 10, 64)
	if err != nil {
		return a, "flags are not a number"
	}
	if !usable(flags) {
		return a, ""
	}
	if !core.ValidAttrName(a.Name) {
		return a, "an attribute cannot have that name"
	}
	typ, err := strconv.ParseInt(strings.TrimSpace(c[1].String), 10, 64)
	if err != nil {
		return a, "the type is not a number"
	}
	if typ == typeText {
		a.Value = core.TextValue(c[2].String) // NULL is empty text
		return a, ""
	}
	n, err := strconv.ParseInt(strings.TrimSpace(c[2].String), 10, 64)
	if err != nil {
		return a, "the value is not a number"
	}
	a.Value = core.IntValue(n)
	return a, ""
}

// each runs a query and gives its rows to f.
func (s *store) each(ctx context.Context, table, query string, args []any, columns int, f func([]sql.NullString)) error {
	fail := func(err error) error {
		return fmt.Errorf("database %s: read table %s: %w", s.db.Name, table, err)
	}
	rows, err := s.db.QueryxContext(ctx, query, args...)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	cells, dest := make([]sql.NullString, columns), make([]any, columns)
	for i := range cells {
		dest[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return fail(err)
		}
		f(cells)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return nil
}

// write gives an attribute a value: in place of all that it has, or one more.
func (t *table) write(ctx context.Context, keys []any, name string, typ int, value string, flags int64, replace bool) error {
	err := t.s.db.Tx(ctx, func(tx *sqlx.Tx) error {
		remove, args := t.removeValue, append(append([]any(nil), keys...), name, value)
		if replace {
			remove, args = t.remove, args[:len(args)-1]
		}
		if _, err := tx.ExecContext(ctx, remove, args...); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, t.insert, append(append([]any(nil), keys...), name, typ, value, flags)...)
		return err
	})
	if err != nil {
		return fmt.Errorf("database %s: write table %s: %w", t.s.db.Name, t.name, err)
	}
	return nil
}

// delete removes an attribute, or one value of it, and returns how many rows
// that were.
func (t *table) delete(ctx context.Context, keys []any, name string, value *string) (int64, error) {
	stmt, args := t.remove, append(append([]any(nil), keys...), name)
	if value != nil {
		stmt, args = t.removeValue, append(args, *value)
	}
	res, err := t.s.db.ExecContext(ctx, stmt, args...)
	if err != nil {
		return 0, fmt.Errorf("database %s: write table %s: %w", t.s.db.Name, t.name, err)
	}
	return res.RowsAffected()
}
