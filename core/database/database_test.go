package database_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"sipr/core/coretest"
	"sipr/core/database"
)

func open(t *testing.T, url string) *database.DB {
	t.Helper()
	db, err := database.OpenURL(t.Context(), url, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestOpenIsShared(t *testing.T) {
	h := coretest.NewHost(t)
	a, err := database.Open(h, "sqlite:x.db")
	if err != nil {
		t.Fatal(err)
	}
	b, err := database.Open(h, "sqlite:"+filepath.Join(h.Dir, "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Error("one file was opened twice")
	}
	st, err := os.Stat(filepath.Join(h.Dir, "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v; others can read password hashes", st.Mode())
	}
}

func TestOpenDoesNotNeedMySQL(t *testing.T) {
	h := coretest.NewHost(t)
	db, err := database.Open(h, "mysql://u:geheim@unix(none.sock)/ser")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Ping(t.Context()); err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "none.sock") {
		t.Errorf("ping: %v", err)
	}
	if _, err := database.OpenURL(t.Context(), "mysql://u:geheim@unix(none.sock)/ser", h.Dir); err == nil {
		t.Error("the command line did not notice that the server is down")
	}
}

func TestBadURLs(t *testing.T) {
	for _, url := range []string{
		"", "sqlite:", "sipr.db", "postgres://u:geheim@h/db", "u:geheim@tcp(h)/db",
		"mysql://u:geheim@host", "mysql://u:geheim@host/", "mysql://u:geheim/db", "mysql://u:geheim@host:x/db",
		"mysql://u:geheim@unix(/s/db", "mysql://u:geheim@unix(/s)x/db", "mysql://u:geheim@h/db?timeout=x",
		"sqlite:/nowhere/at/all.db",
	} {
		_, err := database.Open(coretest.NewHost(t), url)
		if err == nil {
			t.Errorf("%q was taken", url)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for url, want := range map[string]string{
		"sqlite:a@b:c.db":           "sqlite:a@b:c.db",
		"mysql://u:p@h/db":          "mysql://u:***@h/db",
		"mysql://u:p@ss/w?rd@h/db":  "mysql://u:***@h/db",
		"mysql://u@h:3306/db":       "mysql://u@h:3306/db",
		"mysql://h:3306/db":         "mysql://h:3306/db",
		"mysql://[::1]:3306/db":     "mysql://[::1]:3306/db",
		"mysql://u:p/db":            "mysql://u:***",
		"mysql://u:p@unix(/s.k)/db": "mysql://u:***@unix(/s.k)/db",
		"u:p@tcp(h)/db":             "u:***@tcp(h)/db",
	} {
		if got := database.Redact(url); got != want {
			t.Errorf("Redact(%q) = %q, want %q", url, got, want)
		}
	}
}

func TestNotADatabase(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.db"), []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := database.OpenURL(t.Context(), "sqlite:x.db", dir); err == nil || !strings.Contains(err.Error(), "x.db") {
		t.Errorf("error %v", err)
	}
}

func TestPragmas(t *testing.T) {
	db := open(t, "sqlite:odd name%20?#.db")
	for _, h := range []*sqlx.DB{db.DB, db.Write} {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "foreign_keys": "1"} {
			var got string
			if err := h.Get(&got, "PRAGMA "+pragma); err != nil || got != want {
				t.Errorf("%s = %q, %v", pragma, got, err)
			}
		}
	}
}

// TestReadDuringWrite is why there are two handles: readers go on while a
// transaction is open, and writers wait instead of failing.
func TestReadDuringWrite(t *testing.T) {
	db := open(t, "sqlite:x.db")
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, "CREATE TABLE t (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	err := db.Tx(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (0)"); err != nil {
			return err
		}
		for i := range 8 {
			wg.Go(func() {
				if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", i); err != nil {
					t.Error(err)
				}
			})
		}
		var n int
		if err := db.GetContext(ctx, &n, "SELECT COUNT(*) FROM t"); err != nil || n != 0 {
			t.Errorf("reader sees %d rows, %v", n, err)
		}
		return nil
	})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.Get(&n, "SELECT COUNT(*) FROM t"); err != nil || n != 9 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestMemory(t *testing.T) {
	db := open(t, "sqlite::memory:")
	if _, err := db.Exec("CREATE TABLE t (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if has, err := db.HasTable(t.Context(), "t"); !has || err != nil {
		t.Errorf("HasTable: %v, %v", has, err)
	}
}

func TestQuote(t *testing.T) {
	const odd = "o`d\"d ]column"
	both(t, func(t *testing.T, db *database.DB) {
		table, column := db.Quote("select"), db.Quote(odd)
		for _, stmt := range []string{
			"CREATE TABLE " + table + " (" + column + " INTEGER)", "INSERT INTO " + table + " (" + column + ") VALUES (7)",
		} {
			if _, err := db.ExecContext(t.Context(), stmt); err != nil {
				t.Fatal(err)
			}
		}
		var n int
		if err := db.GetContext(t.Context(), &n, "SELECT "+column+" FROM "+table+" WHERE "+column+" = ?", 7); err != nil || n != 7 {
			t.Errorf("%d, %v", n, err)
		}
		none := db.Quote("none")
		for _, query := range []string{
			"SELECT " + none + " FROM " + table, "SELECT 1 FROM " + table + " WHERE " + none + " = 'none'",
			"SELECT 1 FROM " + table + " ORDER BY " + none,
		} {
			if rows, err := db.QueryxContext(t.Context(), query); err == nil {
				rows.Close()
				t.Errorf("a column that does not exist was taken: %s", query)
			}
		}
	})
}

// migrations has two versions; the second differs by dialect.
func migrations(extra ...string) database.Migrations {
	fs := fstest.MapFS{
		"migrations/001_start.sql": {Data: []byte("-- two tables; and a remark;\nCREATE TABLE IF NOT EXISTS a (\n  id INTEGER NOT NULL, -- key; of a\n" +
			"  t VARCHAR(64) NOT NULL DEFAULT 'x;y',\n  PRIMARY KEY (id)\n);\n\nCREATE TABLE IF NOT EXISTS b (n INTEGER);\r\n-- end\n")},
		"migrations/002_more.sqlite.sql": {Data: []byte("ALTER TABLE a ADD COLUMN s TEXT;\n")},
		"migrations/002_more.mysql.sql":  {Data: []byte("ALTER TABLE a ADD COLUMN s MEDIUMTEXT;\n")},
	}
	for i := 0; i < len(extra); i += 2 {
		fs["migrations/"+extra[i]] = &fstest.MapFile{Data: []byte(extra[i+1])}
	}
	return database.Migrations{Module: "m", FS: fs}
}

func only(m database.Migrations, name string) database.Migrations {
	fs := m.FS.(fstest.MapFS)
	return database.Migrations{Module: m.Module, FS: fstest.MapFS{"migrations/" + name: fs["migrations/"+name]}}
}

// both runs a test on either dialect, with an empty database.
func both(t *testing.T, f func(t *testing.T, db *database.DB)) {
	t.Run("sqlite", func(t *testing.T) { f(t, open(t, "sqlite:x.db")) })
	t.Run("mysql", func(t *testing.T) { f(t, open(t, coretest.MariaDB(t))) })
}

func TestMigrate(t *testing.T) {
	both(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		more := "002_more." + string(db.Dialect) + ".sql"
		if states, err := database.Status(ctx, db, migrations()); err != nil || len(states) != 2 || !states[1].Applied.IsZero() {
			t.Fatalf("status of an empty database: %v, %v", states, err)
		}
		if got, err := database.Migrate(ctx, db, only(migrations(), "001_start.sql")); err != nil || len(got) != 1 {
			t.Fatalf("first: %v, %v", got, err)
		}
		got, err := database.Migrate(ctx, db, migrations())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"m/" + more}, got); diff != "" {
			t.Error(diff)
		}
		if got, err := database.Migrate(ctx, db, migrations()); err != nil || len(got) != 0 {
			t.Errorf("again: %v, %v", got, err)
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO a (id, s) VALUES (?, ?)", 1, "ü☎"); err != nil {
			t.Error(err)
		}
		_, err = db.ExecContext(ctx, "INSERT INTO a (id, s) VALUES (?, ?)", 1, "x")
		if !database.IsDuplicate(err) {
			t.Errorf("%v is no duplicate", err)
		}
		var row struct{ T, S string }
		if err := db.GetContext(ctx, &row, "SELECT t, s FROM a"); err != nil || row.T != "x;y" || row.S != "ü☎" {
			t.Errorf("%v, %v", row, err)
		}
		states, err := database.Status(ctx, db, migrations())
		if err != nil || len(states) != 2 || states[1].Name != more || states[1].Applied.Year() < 2020 {
			t.Errorf("status: %v, %v", states, err)
		}
		newer := migrations("003_new.sql", "CREATE TABLE c (n INTEGER);")
		if _, err := database.Migrate(ctx, db, newer); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"Migrate":       func() error { _, err := database.Migrate(ctx, db, migrations()); return err }(),
			"RequireSchema": db.RequireSchema(ctx, migrations()),
		} {
			if err == nil || !strings.Contains(err.Error(), "module m has version 3") {
				t.Errorf("%s of an older sipr: %v", what, err)
			}
		}
	})
}

// TestMigrateAtOnce starts with two processes on one empty database.
func TestMigrateAtOnce(t *testing.T) {
	run := func(t *testing.T, url string) {
		dir := t.TempDir()
		var wg sync.WaitGroup
		for range 4 {
			db, err := database.OpenURL(t.Context(), url, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			wg.Go(func() {
				if _, err := database.Migrate(t.Context(), db, migrations("003_new.sql", "CREATE TABLE c (n INTEGER);")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	t.Run("sqlite", func(t *testing.T) { run(t, "sqlite:x.db") })
	t.Run("mysql", func(t *testing.T) { run(t, coretest.MariaDB(t)) })
}

func TestMigrateFails(t *testing.T) {
	both(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		got, err := database.Migrate(ctx, db, migrations("003_bad.sql", "CREATE TABLE IF NOT EXISTS c (n INTEGER);\nCREATE NONSENSE;\n"))
		if err == nil || !strings.Contains(err.Error(), "003_bad.sql of module m: statement 2") || len(got) != 2 {
			t.Errorf("%v, %v", got, err)
		}
		if has, err := db.HasTable(ctx, "c"); err != nil || has && db.Dialect == database.SQLite {
			t.Errorf("half a migration stayed: %v, %v", has, err)
		}
		got, err = database.Migrate(ctx, db, migrations("003_bad.sql", "CREATE TABLE IF NOT EXISTS c (n INTEGER);\n"))
		if err != nil || len(got) != 1 {
			t.Errorf("mended: %v, %v", got, err)
		}
	})
}

func TestRequireSchema(t *testing.T) {
	both(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		check := func(want string) {
			t.Helper()
			err := db.RequireSchema(ctx, migrations())
			if db.Dialect == database.SQLite {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %s", err, want)
			}
		}
		check("module m is missing, version 2 is needed: run sipr db migrate")
		if _, err := database.Migrate(ctx, db, only(migrations(), "001_start.sql")); db.Dialect == database.MySQL && err != nil {
			t.Fatal(err)
		}
		check("module m has version 1, 2 is needed: run sipr db migrate")
		if _, err := database.Migrate(ctx, db, migrations()); err != nil {
			t.Fatal(err)
		}
		if err := db.RequireSchema(ctx, migrations()); err != nil {
			t.Error(err)
		}
	})
}

func TestBadMigrations(t *testing.T) {
	db := open(t, "sqlite::memory:")
	for name, text := range map[string]string{
		"start.sql": "SELECT 1;", "004.sql": "SELECT 1;", "004_x.oracle.sql": "SELECT 1;", "001_twice.sql": "SELECT 1;",
	} {
		if _, err := database.Migrate(t.Context(), db, migrations(name, text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestCreate(t *testing.T) {
	url := strings.TrimSuffix(coretest.MariaDB(t), "sipr") + "other"
	if _, err := database.OpenURL(t.Context(), url, ""); err == nil {
		t.Fatal("a missing database was opened")
	}
	for range 2 {
		if err := database.Create(t.Context(), url, ""); err != nil {
			t.Fatal(err)
		}
	}
	db := open(t, url)
	var zone, charset string
	if err := db.QueryRowx("SELECT @@time_zone, @@character_set_connection").Scan(&zone, &charset); err != nil || zone != "+00:00" || charset != "utf8mb4" {
		t.Errorf("%s, %s, %v", zone, charset, err)
	}
}

func TestTxUndoes(t *testing.T) {
	both(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		if _, err := db.ExecContext(ctx, "CREATE TABLE t (n INTEGER)"); err != nil {
			t.Fatal(err)
		}
		no := errors.New("no")
		err := db.Tx(ctx, func(tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (1)"); err != nil {
				return err
			}
			return no
		})
		var n int
		if gerr := db.GetContext(context.Background(), &n, "SELECT COUNT(*) FROM t"); gerr != nil || n != 0 || !errors.Is(err, no) {
			t.Errorf("%d rows, %v, %v", n, gerr, err)
		}
	})
}
