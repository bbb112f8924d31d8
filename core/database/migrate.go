package database

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Migrations are the steps by which the tables of a module come to be.
//
// FS holds files migrations/<nnn>_<what>.sql, or <nnn>_<what>.sqlite.sql and
// <nnn>_<what>.mysql.sql where the dialects differ. A statement ends with a
// semicolon at the end of a line. Tables are made with IF NOT EXISTS, so that
// those of an existing SER or Kamailio database are used as they are, and so
// that a file that failed half-way on MySQL can be run again.
type Migrations struct {
	Module string
	FS     fs.FS
}

// State is one step of a module's migrations.
type State struct {
	Module  string
	Version int
	// Name is the file's name, empty if this sipr does not have the step: the
	// schema is newer than the binary.
	Name string
	// Applied is when it was applied (UTC); zero if it was not.
	Applied time.Time
}

// lockWait is how long a migration waits for another one, in seconds.
const lockWait = 30

// schemaTable makes the record of what was applied.
const schemaTable = `CREATE TABLE IF NOT EXISTS schema_migrations (
	module VARCHAR(64) NOT NULL,
	version INTEGER NOT NULL,
	applied DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
	PRIMARY KEY (module, version)
)`

// step is one file of Migrations.
type step struct {
	version    int
	name       string
	statements []string
}

// steps reads the files for a dialect, in the order of their versions.
func (m Migrations) steps(d Dialect) ([]step, error) {
	files, err := fs.Glob(m.FS, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("migrations of module %s: %w", m.Module, err)
	}
	var steps []step
	for _, file := range files {
		name := path.Base(file)
		stem, only := strings.TrimSuffix(name, ".sql"), Dialect("")
		if i := strings.LastIndexByte(stem, '.'); i >= 0 {
			stem, only = stem[:i], Dialect(stem[i+1:])
			if only != SQLite && only != MySQL {
				return nil, fmt.Errorf("migration %s of module %s: unknown dialect %q", name, m.Module, only)
			}
		}
		number, what, _ := strings.Cut(stem, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version < 1 || what == "" {
			return nil, fmt.Errorf("migration %s of module %s: <nnn>_<what>.sql is expected", name, m.Module)
		}
		if only != "" && only != d {
			continue
		}
		text, err := fs.ReadFile(m.FS, file)
		if err != nil {
			return nil, fmt.Errorf("migration %s of module %s: %w", name, m.Module, err)
		}
		steps = append(steps, step{version, name, split(string(text))})
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.version, b.version) })
	for i := 1; i < len(steps); i++ {
		if steps[i].version == steps[i-1].version {
			return nil, fmt.Errorf("migrations %s and %s of module %s have the same number", steps[i-1].name, steps[i].name, m.Module)
		}
	}
	return steps, nil
}

// split cuts a file into statements. Lines that are comments are left out:
// MySQL refuses a statement that is nothing else.
func split(text string) []string {
	var out []string
	var stmt strings.Builder
	flush := func() {
		if s := strings.TrimSpace(stmt.String()); s != "" {
			out = append(out, s)
		}
		stmt.Reset()
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if strings.HasPrefix(strings.TrimSpace(line), "--") {
			continue
		}
		end := strings.HasSuffix(line, ";")
		stmt.WriteString(strings.TrimSuffix(line, ";"))
		stmt.WriteByte('\n')
		if end {
			flush()
		}
	}
	flush()
	return out
}

// Migrate applies the missing steps in order and returns their names as
// module/file. Steps that were applied stay when a later one fails. Two
// processes may call it at the same time. It refuses a database whose schema
// is newer than what it was given.
func Migrate(ctx context.Context, db *DB, ms ...Migrations) (applied []string, err error) {
	conn, err := db.Write.Connx(ctx)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", db.Name, err)
	}
	defer conn.Close()
	if db.Dialect == MySQL {
		unlock, err := lock(ctx, db, conn)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	if _, err := conn.ExecContext(ctx, schemaTable); err != nil {
		return nil, fmt.Errorf("database %s: table schema_migrations: %w", db.Name, err)
	}
	for _, m := range ms {
		steps, err := m.steps(db.Dialect)
		if err != nil {
			return applied, err
		}
		done, err := recorded(ctx, conn, m.Module)
		if err != nil {
			return applied, fmt.Errorf("database %s: %w", db.Name, err)
		}
		if err := tooNew(db, m.Module, done, steps); err != nil {
			return applied, err
		}
		for _, s := range steps {
			if _, ok := done[s.version]; ok {
				continue
			}
			did, err := apply(ctx, conn, m.Module, s)
			if err != nil {
				return applied, fmt.Errorf("database %s: migration %s of module %s: %w", db.Name, s.name, m.Module, err)
			}
			if did {
				applied = append(applied, m.Module+"/"+s.name)
			}
		}
	}
	return applied, nil
}

// lock keeps other processes from migrating a MySQL database.
func lock(ctx context.Context, db *DB, conn *sqlx.Conn) (unlock func(), err error) {
	var got *int
	if err := conn.GetContext(ctx, &got, "SELECT GET_LOCK(LEFT(CONCAT('sipr.migrate.', DATABASE()), 64), ?)", lockWait); err != nil {
		return nil, fmt.Errorf("database %s: lock for migration: %w", db.Name, err)
	}
	if got == nil || *got != 1 {
		return nil, fmt.Errorf("database %s: another migration has been running for %d s", db.Name, lockWait)
	}
	return func() {
		// The context may be over; the lock must go all the same, since the
		// connection returns to the pool.
		conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK(LEFT(CONCAT('sipr.migrate.', DATABASE()), 64))")
	}, nil
}

// apply runs one step and records it, in one transaction. MySQL commits after
// each statement that changes a table; there a failed step stays half done.
// It returns false if another process has applied the step meanwhile.
func apply(ctx context.Context, conn *sqlx.Conn, module string, s step) (bool, error) {
	tx, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	var n int
	err = tx.GetContext(ctx, &n, "SELECT COUNT(*) FROM schema_migrations WHERE module = ? AND version = ?", module, s.version)
	if err != nil || n > 0 {
		return false, err
	}
	for i, q := range s.statements {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return false, fmt.Errorf("statement %d: %w", i+1, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO schema_migrations (module, version) VALUES (?, ?)", module, s.version); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// recorded returns what was applied of a module, by version.
func recorded(ctx context.Context, q sqlx.QueryerContext, module string) (map[int]time.Time, error) {
	var rows []struct {
		Version int
		Applied time.Time
	}
	err := sqlx.SelectContext(ctx, q, &rows, "SELECT version, applied FROM schema_migrations WHERE module = ?", module)
	if err != nil {
		return nil, fmt.Errorf("table schema_migrations: %w", err)
	}
	done := make(map[int]time.Time, len(rows))
	for _, r := range rows {
		done[r.Version] = r.Applied
	}
	return done, nil
}

func tooNew(db *DB, module string, done map[int]time.Time, steps []step) error {
	if found, known := newest(done), last(steps); found > known {
		return fmt.Errorf("database %s: the schema of module %s has version %d, but this sipr knows it up to %d: use the newer sipr",
			db.Name, module, found, known)
	}
	return nil
}

func newest(done map[int]time.Time) int {
	v := 0
	for n := range done {
		v = max(v, n)
	}
	return v
}

func last(steps []step) int {
	if len(steps) == 0 {
		return 0
	}
	return steps[len(steps)-1].version
}

// Status returns every step of the migrations, and what the database has
// beyond them, in the order of the modules and versions. It changes nothing.
func Status(ctx context.Context, db *DB, ms ...Migrations) ([]State, error) {
	has, err := db.HasTable(ctx, "schema_migrations")
	if err != nil {
		return nil, err
	}
	var out []State
	for _, m := range ms {
		steps, err := m.steps(db.Dialect)
		if err != nil {
			return nil, err
		}
		var done map[int]time.Time
		if has {
			if done, err = recorded(ctx, db.Write, m.Module); err != nil {
				return nil, fmt.Errorf("database %s: %w", db.Name, err)
			}
		}
		first := len(out)
		for _, s := range steps {
			out = append(out, State{m.Module, s.version, s.name, done[s.version]})
			delete(done, s.version)
		}
		for v, at := range done {
			out = append(out, State{m.Module, v, "", at})
		}
		slices.SortFunc(out[first:], func(a, b State) int { return cmp.Compare(a.Version, b.Version) })
	}
	return out, nil
}

// RequireSchema returns an error that says what to do unless the module's
// schema is the one of this sipr. An SQLite database is migrated instead.
func (db *DB) RequireSchema(ctx context.Context, m Migrations) error {
	states, err := Status(ctx, db, m)
	if err != nil {
		return err
	}
	found, needed, missing := 0, 0, false
	for _, s := range states {
		if s.Name != "" {
			needed = s.Version
		}
		if s.Applied.IsZero() {
			missing = true
		} else {
			found = s.Version
		}
	}
	switch {
	case found <= needed && !missing:
		return nil
	case found > needed || db.Dialect == SQLite:
		_, err := Migrate(ctx, db, m)
		return err
	case found == needed:
		return fmt.Errorf("database %s: the schema of module %s lacks a step before version %d: run sipr db migrate", db.Name, m.Module, found)
	}
	if found == 0 {
		return fmt.Errorf("database %s: the schema of module %s is missing, version %d is needed: run sipr db migrate", db.Name, m.Module, needed)
	}
	return fmt.Errorf("database %s: the schema of module %s has version %d, %d is needed: run sipr db migrate", db.Name, m.Module, found, needed)
}
