package domain

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"sipr/core"
	"sipr/core/database"
)

// The tables' names unless parameters change them. Only tables of these names
// are made and kept up to date by migrations.
const (
	defaultDomainTable = "domain"
	defaultAttrTable   = "domain_attrs"
)

// domainTable and attrTable are the names of the tables and their columns.
type (
	domainTable struct{ table, did, domain, flags string }
	attrTable   struct{ table, did, name, typ, value, flags string }
)

// store reads the tables. Its statements are made once, at the start.
type store struct {
	db        *database.DB
	log       *slog.Logger
	queries   *core.Counter
	withAttrs bool

	domainTable, attrTable     string
	allDomains, allAttrs       string
	oneName, oneDID, attrsOfID string
}

// openStore opens the database and checks the tables.
func (m *Module) openStore(ctx context.Context) (*store, error) {
	url := m.host.DBURL(m.dbURL)
	if url == "" {
		url = serURL
	}
	db, err := database.Open(m.host, url)
	if err != nil {
		return nil, err
	}
	if err := m.requireSchema(ctx, db); err != nil {
		return nil, err
	}
	s := &store{
		db: db, log: m.log, queries: m.queries, withAttrs: m.loadAttrs != 0,
		domainTable: m.domains.table, attrTable: m.attrs.table,
	}
	d := m.domains
	order, err := prepareTable(ctx, db, "domain_table", d.table, []column{
		{"did_col", d.did}, {"domain_col", d.domain}, {"flags_col", d.flags}})
	if err != nil {
		return nil, err
	}
	q := db.Quote
	read := "SELECT " + q(d.did) + ", " + q(d.domain) + ", " + q(d.flags) + " FROM " + db.Quote(d.table)
	s.allDomains = read + order
	folds, err := foldsCase(ctx, db, d.table, d.domain)
	if err != nil {
		return nil, err
	}
	key := q(d.domain)
	if !folds {
		key = "LOWER(" + key + ")"
	}
	s.oneName = read + " WHERE " + key + " IN (?, ?, ?, ?)" + order
	s.oneDID = read + " WHERE " + q(d.did) + " = ?" + order
	if !s.withAttrs {
		return s, nil
	}
	a := m.attrs
	order, err = prepareTable(ctx, db, "domattr_table", a.table, []column{
		{"domattr_did", a.did}, {"domattr_name", a.name}, {"domattr_value", a.value},
		{"domattr_type", a.typ}, {"domattr_flags", a.flags}})
	if err != nil {
		return nil, err
	}
	read = "SELECT " + q(a.did) + ", " + q(a.name) + ", " + q(a.typ) + ", " + q(a.value) + ", " + q(a.flags) + " FROM " + db.Quote(a.table)
	s.allAttrs = read + order
	s.attrsOfID = read + " WHERE " + q(a.did) + " = ?" + order
	return s, nil
}

// requireSchema sees to it that tables of our own are up to date. Tables that
// were there before, such as SER's, are used as they are.
func (m *Module) requireSchema(ctx context.Context, db *database.DB) error {
	if m.domains.table != defaultDomainTable || m.attrs.table != defaultAttrTable {
		return nil
	}
	exists, err := db.HasTable(ctx, defaultDomainTable)
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

// column is the name of a column and the parameter that gives it.
type column struct{ param, name string }

// prepareTable checks that a table has columns and returns the ORDER BY clause
// that reads it in the order of insertion: by id, else by SQLite's rowid. A
// table with neither is read in the order of the columns, so that the order of
// values does not change by itself.
func prepareTable(ctx context.Context, db *database.DB, param, table string, columns []column) (string, error) {
	present, err := columnsOf(ctx, db, "*", table)
	if err != nil {
		return "", fmt.Errorf("database %s: table %s (parameter %s): %w", db.Name, table, param, err)
	}
	has := func(name string) bool {
		for _, p := range present {
			if strings.EqualFold(p, name) {
				return true
			}
		}
		return false
	}
	var order []string
	for _, c := range columns {
		if !has(c.name) {
			return "", fmt.Errorf("database %s: table %s has no column %s (parameter %s); it has %s",
				db.Name, table, c.name, c.param, strings.Join(present, ", "))
		}
		order = append(order, db.Quote(c.name))
	}
	if has("id") {
		order = []string{db.Quote("id")}
	} else if db.Dialect == database.SQLite {
		rowid := db.Quote("rowid")
		if _, err := columnsOf(ctx, db, rowid, table); err == nil {
			order = []string{rowid}
		}
	}
	return " ORDER BY " + strings.Join(order, ", "), nil
}

// foldsCase tells whether a column compares in any letter case by itself, so
// that a query need not spoil the use of its index. SQLite has an index of
// names in lower case instead.
func foldsCase(ctx context.Context, db *database.DB, table, column string) (bool, error) {
	if db.Dialect != database.MySQL {
		return false, nil
	}
	var collation []string
	err := db.SelectContext(ctx, &collation, "SELECT COALESCE(collation_name, '') FROM information_schema.columns "+
		"WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?", table, column)
	if err != nil {
		return false, fmt.Errorf("database %s: collation of %s.%s: %w", db.Name, table, column, err)
	}
	return len(collation) == 1 && strings.HasSuffix(collation[0], "_ci"), nil
}

func columnsOf(ctx context.Context, db *database.DB, what, table string) ([]string, error) {
	rows, err := db.QueryxContext(ctx, "SELECT "+what+" FROM "+db.Quote(table)+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return rows.Columns()
}

// load reads both tables into a new snapshot.
func (s *store) load(ctx context.Context) (*snapshot, error) {
	b := newBuilder()
	err := s.stream(ctx, s.domainTable, s.allDomains, domainColumns, func(c []cell) {
		r, ok := s.domainRow(c)
		if !ok {
			b.snap.unused++
		} else if !b.add(r) {
			s.log.Warn("domain name twice, the first row counts", "domain", r.name, "did", r.did)
		}
	})
	if err != nil {
		return nil, err
	}
	if s.withAttrs {
		err = s.stream(ctx, s.attrTable, s.allAttrs, attrColumns, func(c []cell) {
			if a, ok := s.attrRow(c); ok {
				b.addAttr(c[attrDID].text(), &a)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return b.finish(), nil
}

// findDID asks the database for the virtual domain of a name.
func (s *store) findDID(ctx context.Context, host []byte) (did string, found bool, err error) {
	written, want := normalised(host)
	if want == "" {
		return "", false, nil
	}
	// What normalise takes off may stand in the table.
	args := []any{want, want + ".", want, want}
	if strings.IndexByte(want, ':') >= 0 {
		args = []any{want, "[" + want + "]", written, "[" + written + "]"}
	}
	err = s.each(ctx, s.domainTable, s.oneName, args, domainColumns, func(c []cell) {
		// A database may compare more loosely than normalise does.
		if r, ok := s.domainRow(c); ok && !found && r.name == want {
			did, found = r.did, true
		}
	})
	return did, found && err == nil, err
}

// nameOf asks the database for the canonical name of a virtual domain.
func (s *store) nameOf(ctx context.Context, did string) (name string, found bool, err error) {
	canon := false
	err = s.each(ctx, s.domainTable, s.oneDID, []any{did}, domainColumns, func(c []cell) {
		r, ok := s.domainRow(c)
		if ok && r.did == did && (!found || !canon && r.flags&flagCanon != 0) {
			name, found, canon = r.name, true, r.flags&flagCanon != 0
		}
	})
	return name, found && err == nil, err
}

// attrsOf asks the database for the attributes of a virtual domain that
// exists.
func (s *store) attrsOf(ctx context.Context, did string) (*core.AttrSet, error) {
	var attrs []core.Attr
	if s.withAttrs {
		err := s.each(ctx, s.attrTable, s.attrsOfID, []any{did}, attrColumns, func(c []cell) {
			if a, ok := s.attrRow(c); ok && c[attrDID].text() == did {
				attrs = append(attrs, a)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return attrSet(did, attrs), nil
}
