package auth

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/database"
)

// Flags of a row.
const (
	flagLoad     = 1
	flagDisabled = 2
	flagDeleted  = 128
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the steps that make the table of credentials.
func Migrations() database.Migrations {
	return database.Migrations{Module: "auth", FS: fs.FS(migrations)}
}

// table names the table of credentials and its columns; an empty column does
// not exist.
type table struct {
	name, user, realm, did, uid, flags, password string
	ha1                                          [algorithms]string
}

var defaultTable = table{
	name: "credentials", user: "auth_username", realm: "realm", did: "did", uid: "uid",
	flags: "flags", password: "password",
	ha1: [algorithms]string{"ha1", "ha1_sha256", "ha1_sha512_256"},
}

// columns returns what query selects, in the order in which row has it.
func (t *table) columns(calculate bool) [columns]string {
	c := [columns]string{t.user, t.realm, t.did, t.uid, t.flags}
	if calculate {
		c[colPassword] = t.password
	} else {
		copy(c[colHA1:], t.ha1[:])
	}
	return c
}

const (
	colUser = iota
	colRealm
	colDID
	colUID
	colFlags
	colPassword
	colHA1
	columns = colHA1 + int(algorithms)
)

// query makes the statement that reads one user.
func (t *table) query(calculate bool, d database.Dialect) string {
	var list []string
	for _, c := range t.columns(calculate) {
		if c == "" {
			c = "NULL"
		} else {
			c = d.Quote(c)
		}
		list = append(list, c)
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + d.Quote(t.name) +
		" WHERE " + d.Quote(t.user) + " = ? AND " + d.Quote(t.realm) + " = ?"
}

// openStore opens the database and sees to it that the table is there.
func (m *Module) openStore(ctx context.Context) error {
	db, err := database.Open(m.host, m.host.DBURL(m.dbURL))
	if err != nil {
		return err
	}
	m.db = db
	m.query = m.table.query(m.calculate, db.Dialect)
	if m.table == defaultTable && !m.calculate {
		if err := db.RequireSchema(ctx, Migrations()); err != nil {
			return err
		}
	}
	// Somebody else's table, or an older one that was found in the place of
	// ours, must have the columns.
	rows, err := db.QueryxContext(ctx, m.query, "", "")
	if err != nil {
		return m.storeError(err)
	}
	return rows.Close()
}

func (m *Module) storeError(err error) error {
	return fmt.Errorf("table %s (columns %s): %w", m.table.name, strings.Join(m.columnNames(), ", "), err)
}

func (m *Module) columnNames() []string {
	var names []string
	for _, c := range m.table.columns(m.calculate) {
		if c != "" {
			names = append(names, c)
		}
	}
	return names
}

// load reads a user's credentials. A user that is not there is an entry that
// is not known; one whose row names no did has none yet.
func (m *Module) load(ctx context.Context, user, realm string, now clock.Time) (*credential, error) {
	e := &credential{user: user, realm: realm, loaded: now}
	m.queries.Add(1)
	rows, err := m.db.QueryxContext(ctx, m.query, user, realm)
	if err != nil {
		return nil, m.storeError(err)
	}
	defer rows.Close()
	for rows.Next() {
		var row [columns]sql.NullString
		var dest [columns]any
		for i := range row {
			dest[i] = &row[i]
		}
		if err := rows.Scan(dest[:]...); err != nil {
			return nil, m.storeError(err)
		}
		if !e.known {
			m.fill(e, &row)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, m.storeError(err)
	}
	return e, nil
}

// fill takes a row over, if it may be used.
func (m *Module) fill(e *credential, row *[columns]sql.NullString) {
	// The database may compare in any letter case or ignore trailing spaces;
	// the hashes do not.
	if row[colUser].String != e.user || row[colRealm].String != e.realm {
		return
	}
	if m.table.flags != "" {
		flags, ok := core.TextValue(row[colFlags].String).Int()
		if !ok || flags&flagLoad == 0 || flags&(flagDisabled|flagDeleted) != 0 {
			return
		}
	}
	e.known, e.uid, e.did = true, row[colUID].String, row[colDID].String
	for a := range algorithms {
		var hex [64]byte
		h := hex[:a.hexSize()]
		text := row[colHA1+int(a)].String
		switch {
		case m.calculate:
			if !row[colPassword].Valid {
				continue
			}
			a.appendHA1(h[:0], []byte(e.user), []byte(e.realm), []byte(row[colPassword].String))
		case text == "":
			continue
		case !lowerHex(h, strings.TrimSpace(text)):
			m.log.Warn("a hash in the table of credentials is ignored: it has the wrong length or is not hex",
				"table", m.table.name, "column", m.table.ha1[a], "user", e.user, "realm", e.realm)
			continue
		}
		e.ha1[a] = string(h)
	}
}
