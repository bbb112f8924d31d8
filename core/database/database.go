// Package database opens SQL databases by URL, each once, and keeps their
// schemas up to date. It is the only package that knows SQL drivers.
//
// URLs are
//
//	sqlite:file.db                       relative to the settings file
//	sqlite::memory:                      gone with the process
//	mysql://user:pass@host[:port]/db     parameters of the driver may follow ?
//	mysql://user:pass@unix(/path)/db     over a unix socket
//
// User names and passwords are percent-encoded where they contain %.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sipr/core"
)

// Dialect is the SQL that a database speaks.
type Dialect string

// The dialects; their names are also those in the file names of migrations.
const (
	SQLite Dialect = "sqlite"
	MySQL  Dialect = "mysql"
)

// Quote makes a table or column name safe to stand in a statement. SQLite, too,
// takes MySQL's backquotes; within the double quotes of the standard it would
// read a column that does not exist as text, and no query would ever fail.
func (d Dialect) Quote(ident string) string {
	return "`" + strings.ReplaceAll(ident, "`", "``") + "`"
}

// DB is an open database. All its methods may be used by many goroutines.
//
// Reads go to a pool of connections. SQLite has one writer, so there its
// writes wait for each other on a single connection: a transaction must be
// committed or rolled back before the same goroutine writes outside of it.
// In memory, SQLite has that one connection for reading, too.
type DB struct {
	*sqlx.DB
	// Write is the handle that writes; Exec, NamedExec and Begin and their
	// variants use it by themselves. It equals DB for MySQL.
	Write *sqlx.DB
	// Dialect is the SQL that the database speaks.
	Dialect Dialect
	// Name is the URL without its password, for messages.
	Name string
}

var _ io.Closer = (*DB)(nil)

// Open returns the database at url, which every module that names the same URL
// shares; the engine closes it. A MySQL server may be down at this time; an
// SQLite file is created if it does not exist. A URL that makes no sense is a
// *URLError.
func Open(host core.Host, url string) (*DB, error) {
	t, err := parse(url, host.Path)
	if err != nil {
		return nil, err
	}
	c, err := host.Shared("db:"+t.key, func() (io.Closer, error) {
		db, err := t.open()
		if err != nil {
			return nil, err
		}
		return db, nil
	})
	if err != nil {
		return nil, err
	}
	db, ok := c.(*DB)
	if !ok {
		return nil, fmt.Errorf("database %s: the host shares a %T", t.name, c)
	}
	return db, nil
}

// OpenURL is Open for the command line: relative file names are relative to
// baseDir, the server has to answer, and the caller closes the database.
func OpenURL(ctx context.Context, url, baseDir string) (*DB, error) {
	t, err := parse(url, below(baseDir))
	if err != nil {
		return nil, err
	}
	db, err := t.open()
	if err != nil {
		return nil, err
	}
	if err := db.Ping(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// Create makes the database at url if it does not exist. An SQLite file is
// made by opening it, so there is nothing to do for it here.
func Create(ctx context.Context, url, baseDir string) error {
	t, err := parse(url, below(baseDir))
	if err != nil || t.dialect == SQLite {
		return err
	}
	name := t.mysql.DBName
	t.mysql.DBName = ""
	db, err := t.open()
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+db.Quote(name)+" CHARACTER SET utf8mb4")
	if err != nil {
		return fmt.Errorf("database %s: create: %w", t.name, err)
	}
	return nil
}

func below(dir string) func(string) string {
	return func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
}

// Ping reports whether the database can be reached and used.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.Write.PingContext(ctx); err != nil {
		return fmt.Errorf("database %s: %w", db.Name, err)
	}
	return nil
}

// Close closes all connections. Only who used OpenURL may call it.
func (db *DB) Close() error {
	err := db.DB.Close()
	if db.Write != db.DB {
		err = errors.Join(err, db.Write.Close())
	}
	return err
}

// Quote makes a table or column name safe to stand in a statement.
func (db *DB) Quote(ident string) string { return db.Dialect.Quote(ident) }

// ExecContext writes outside of a transaction.
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return db.Write.ExecContext(ctx, query, args...)
}

// Exec writes outside of a transaction.
func (db *DB) Exec(query string, args ...any) (sql.Result, error) {
	return db.Write.Exec(query, args...)
}

// NamedExecContext writes a struct or map outside of a transaction.
func (db *DB) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	return db.Write.NamedExecContext(ctx, query, arg)
}

// NamedExec writes a struct or map outside of a transaction.
func (db *DB) NamedExec(query string, arg any) (sql.Result, error) {
	return db.Write.NamedExec(query, arg)
}

// BeginTxx begins a transaction. SQLite's takes the write lock at once, unless
// opts say that it only reads.
func (db *DB) BeginTxx(ctx context.Context, opts *sql.TxOptions) (*sqlx.Tx, error) {
	if opts != nil && opts.ReadOnly {
		return db.DB.BeginTxx(ctx, opts)
	}
	return db.Write.BeginTxx(ctx, opts)
}

// Beginx begins a transaction that writes.
func (db *DB) Beginx() (*sqlx.Tx, error) { return db.Write.Beginx() }

// BeginTx is BeginTxx for database/sql.
func (db *DB) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	if opts != nil && opts.ReadOnly {
		return db.DB.BeginTx(ctx, opts)
	}
	return db.Write.BeginTx(ctx, opts)
}

// Begin begins a transaction that writes.
func (db *DB) Begin() (*sql.Tx, error) { return db.Write.Begin() }

// Tx runs f in a transaction that writes; an error of f undoes it.
func (db *DB) Tx(ctx context.Context, f func(tx *sqlx.Tx) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database %s: begin: %w", db.Name, err)
	}
	// After Commit, Rollback does nothing; before, it covers a panic too.
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("database %s: commit: %w", db.Name, err)
	}
	return nil
}

// HasTable tells whether a table of that name exists.
func (db *DB) HasTable(ctx context.Context, table string) (bool, error) {
	query := "SELECT COUNT(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE"
	if db.Dialect == MySQL {
		query = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
	}
	var n int
	if err := db.Write.GetContext(ctx, &n, query, table); err != nil {
		return false, fmt.Errorf("database %s: look for table %s: %w", db.Name, table, err)
	}
	return n > 0, nil
}

// IsDuplicate tells whether err says that a row with the same unique key
// exists already.
func IsDuplicate(err error) bool {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number == 1062
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}
