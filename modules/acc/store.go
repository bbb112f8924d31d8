package acc

import (
	"context"
	"embed"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"sipr/core/clock"
	"sipr/core/database"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the schema of the tables acc and cdr.
func Migrations() database.Migrations {
	return database.Migrations{Module: "acc", FS: migrations}
}

// store is the two tables.
type store struct {
	db         *database.DB
	acc, cdr   string // quoted
	event, end string // the statements that insert
}

func openStore(ctx context.Context, m *Module) (*store, error) {
	db, err := database.Open(m.host, m.host.DBURL(m.dbURL))
	if err != nil {
		return nil, err
	}
	if m.accTable == "acc" || m.cdrTable == "cdr" {
		if err := db.RequireSchema(ctx, Migrations()); err != nil {
			return nil, err
		}
	}
	s := &store{db: db, acc: db.Quote(m.accTable), cdr: db.Quote(m.cdrTable)}
	s.event, s.end = s.insertStatement(s.acc, eventColumns), s.insertStatement(s.cdr, callColumns)
	// A table of the same name may be another program's.
	if err := s.check(ctx, s.acc, eventColumns); err != nil {
		return nil, fmt.Errorf("table %s (a table of that name may be another program's: set acc_table to a new name, and create it): %w", m.accTable, err)
	}
	if err := s.check(ctx, s.cdr, callColumns); err != nil {
		return nil, fmt.Errorf("table %s (a table of that name may be another program's: set cdr_table to a new name, and create it): %w", m.cdrTable, err)
	}
	return s, nil
}

// insertStatement writes a row unless it is there already: a batch whose
// COMMIT was not answered is written again.
func (s *store) insertStatement(table, columns string) string {
	verb := "INSERT OR IGNORE INTO "
	if s.db.Dialect == database.MySQL {
		verb = "INSERT IGNORE INTO "
	}
	n := strings.Count(columns, ",")
	return verb + table + " (" + columns + ") VALUES (" + strings.Repeat("?, ", n) + "?)"
}

func (s *store) check(ctx context.Context, table, columns string) error {
	rows, err := s.db.QueryxContext(ctx, "SELECT "+columns+" FROM "+table+" WHERE 1 = 0")
	if err != nil {
		return err
	}
	return rows.Close()
}

// insert writes rows in one transaction.
func (s *store) insert(ctx context.Context, rows []*row) error {
	return s.db.Tx(ctx, func(tx *sqlx.Tx) error {
		for _, kind := range [...]struct{ name, table, statement string }{
			{typeEvent, s.acc, s.event}, {typeCall, s.cdr, s.end},
		} {
			var stmt *sqlx.Stmt
			for _, w := range rows {
				if w.Type != kind.name {
					continue
				}
				if stmt == nil {
					var err error
					if stmt, err = tx.PreparexContext(ctx, kind.statement); err != nil {
						return fmt.Errorf("table %s: %w", kind.table, err)
					}
					defer stmt.Close()
				}
				if _, err := stmt.ExecContext(ctx, w.args()...); err != nil {
					return fmt.Errorf("table %s: %w", kind.table, err)
				}
			}
		}
		return nil
	})
}

// restore reads back the calls that are open since before the start: those
// that were answered and have no call record. Where several routers share the
// database it reads their calls too, and that does no harm: whoever ends a call
// first writes its only record.
func (m *Module) restore(ctx context.Context) error {
	s := m.store
	since := m.host.Clock().Now().Add(-m.maxCallTime)
	rows, err := s.db.QueryxContext(ctx, s.db.Rebind("SELECT a.ruid, a.time, a.setup_ms, a.code, a.src_ip, a.method, a.reason, a.call_id,"+
		" a.from_tag, a.to_tag, a.from_uri, a.to_uri, a.request_uri, a.from_uid, a.from_did, a.to_uid, a.to_did"+
		" FROM "+s.acc+" a LEFT JOIN "+s.cdr+" c ON c.ruid = a.ruid"+
		" WHERE a.event = 'answered' AND a.time >= ? AND c.ruid IS NULL ORDER BY a.time, a.id LIMIT ?"),
		since.Std().Format(sqlTime), m.maxCalls)
	if err != nil {
		return fmt.Errorf("table %s: open calls: %w", m.accTable, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := m.restoreCall(rows); err != nil {
			return fmt.Errorf("table %s: open calls: %w", m.accTable, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("table %s: open calls: %w", m.accTable, err)
	}
	return nil
}

func (m *Module) restoreCall(rows *sqlx.Rows) error {
	fields := [...]field{fID, fMethod, fReason, fCallID, fFromTag, fToTag, fFromURI, fToURI, fRequestURI, fFromUID, fFromDID, fToUID, fToDID}
	var text [len(fields)]string
	var at time.Time
	var setup int64
	var src string
	r := new(record)
	to := []any{&text[0], &at, &setup, &r.code, &src}
	for i := 1; i < len(text); i++ {
		to = append(to, &text[i])
	}
	if err := rows.Scan(to...); err != nil {
		return err
	}
	for i, f := range fields {
		r.set(f, []byte(text[i]))
	}
	r.kind, r.time = call, clock.FromStd(at)
	r.start = r.time.Add(-time.Duration(setup) * time.Millisecond)
	r.src, _ = netip.ParseAddr(src)
	m.calls.add(appendKey(nil, r.get(fCallID), r.get(fFromTag), r.get(fToTag)), r)
	return nil
}
