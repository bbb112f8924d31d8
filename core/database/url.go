package database

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
)

// memory is the name of the SQLite database that is in no file.
const memory = ":memory:"

// URLError says that a URL cannot be used as it is written.
type URLError struct {
	URL string // without its password
	Err error
}

func (e *URLError) Error() string { return "database " + e.URL + ": " + e.Err.Error() }
func (e *URLError) Unwrap() error { return e.Err }

// target is what a URL means.
type target struct {
	dialect Dialect
	name    string // the URL without its password
	key     string // the URL with an absolute file name
	file    string // of SQLite
	mysql   *mysql.Config
}

// Redact returns a database URL with *** in place of its password. It errs
// towards hiding, since what it is given may be mistyped.
func Redact(dburl string) string {
	if strings.HasPrefix(dburl, "sqlite:") {
		return dburl
	}
	scheme, rest := "", dburl
	if i := strings.Index(dburl, "://"); i >= 0 {
		scheme, rest = dburl[:i+3], dburl[i+3:]
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		// Without an @ this is host:port, or a user whose host was forgotten.
		host, tail, ok := strings.Cut(rest, ":")
		if port, _, _ := strings.Cut(tail, "/"); ok && !strings.HasPrefix(host, "[") && !isPort(port) {
			return scheme + host + ":***"
		}
		return dburl
	}
	user, _, ok := strings.Cut(rest[:at], ":")
	if !ok {
		return dburl
	}
	return scheme + user + ":***" + rest[at:]
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// parse understands a URL; path makes a file name absolute. Its errors are
// *URLError.
func parse(dburl string, path func(string) string) (*target, error) {
	t := &target{name: Redact(dburl), key: dburl}
	fail := func(err error) (*target, error) { return nil, &URLError{t.name, err} }
	if dburl == "" {
		t.name = `""`
		return fail(errors.New("no URL is set; sqlite:file.db or mysql://user:password@host/name is expected"))
	}
	if file, ok := strings.CutPrefix(dburl, "sqlite:"); ok {
		file = strings.TrimPrefix(file, "//")
		if file == "" {
			return fail(errors.New("a file name is expected, as in sqlite:FILE"))
		}
		t.dialect, t.file = SQLite, file
		if file != memory {
			t.file = path(file)
			t.key = "sqlite:" + t.file
		}
		return t, nil
	}
	rest, ok := strings.CutPrefix(dburl, "mysql://")
	if !ok {
		return fail(errors.New("sqlite:file.db or mysql://user:password@host/name is expected"))
	}
	cfg, err := parseMySQL(rest, path)
	if err != nil {
		return fail(err)
	}
	t.dialect, t.mysql = MySQL, cfg
	return t, nil
}

// parseMySQL understands what follows mysql://. A password may contain / and @
// as they are, since the last @ ends it.
func parseMySQL(s string, path func(string) string) (*mysql.Config, error) {
	var user, pass, addr string
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		user, pass, _ = strings.Cut(s[:i], ":")
		s = s[i+1:]
	}
	s, params, _ := strings.Cut(s, "?")
	network := "tcp"
	if sock, ok := strings.CutPrefix(s, "unix("); ok {
		if sock, s, ok = strings.Cut(sock, ")"); !ok {
			return nil, errors.New("unix(/path/of/socket) lacks its closing bracket")
		}
		network, addr = "unix", path(sock)
	}
	host, name, ok := strings.Cut(s, "/")
	if !ok || name == "" {
		return nil, errors.New("the name of the database is missing: mysql://user:password@host/name is expected")
	}
	if network == "tcp" {
		var err error
		if addr, err = hostPort(host); err != nil {
			return nil, err
		}
	} else if host != "" {
		return nil, errors.New("a / is expected after unix(/path/of/socket)")
	}
	// ParseDSN knows the parameters of the driver.
	cfg, err := mysql.ParseDSN("/?" + params)
	if err != nil {
		return nil, fmt.Errorf("parameters after ?: %w", err)
	}
	cfg.User, cfg.Passwd, cfg.DBName = unescape(user), unescape(pass), unescape(name)
	cfg.Net, cfg.Addr = network, addr
	given, _ := url.ParseQuery(params)
	return cfg, mysqlDefaults(cfg, given)
}

// mysqlDefaults sets what the modules rely on, and what was not given.
func mysqlDefaults(cfg *mysql.Config, given url.Values) error {
	cfg.ParseTime = true
	cfg.InterpolateParams = true // one round trip for a statement, not two
	cfg.ClientFoundRows = true   // an UPDATE counts the rows it found, as in SQLite
	cfg.Logger = &mysql.NopLogger{}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if !given.Has("time_zone") {
		if cfg.Params == nil {
			cfg.Params = map[string]string{}
		}
		cfg.Params["time_zone"] = "'+00:00'"
	}
	if !given.Has("charset") {
		return cfg.Apply(mysql.Charset("utf8mb4", cfg.Collation))
	}
	return nil
}

func hostPort(s string) (string, error) {
	const port = "3306"
	if s == "" {
		return net.JoinHostPort("localhost", port), nil
	}
	if h, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(h, "]") {
		return s + ":" + port, nil
	}
	if !strings.Contains(s, ":") {
		return net.JoinHostPort(s, port), nil
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil || host == "" || !isPort(p) {
		// The text is not repeated: it may be a password whose @host is missing.
		return "", errors.New("host or host:port is expected before /")
	}
	return net.JoinHostPort(host, p), nil
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func (t *target) open() (*DB, error) {
	if t.dialect == MySQL {
		return t.openMySQL()
	}
	return t.openSQLite()
}

func (t *target) openMySQL() (*DB, error) {
	c, err := mysql.NewConnector(t.mysql)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", t.name, err)
	}
	db := sqlx.NewDb(sql.OpenDB(c), "mysql")
	db.SetMaxOpenConns(32)
	db.SetMaxIdleConns(8)
	// Shorter than servers, proxies and firewalls keep an idle connection.
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(5 * time.Minute)
	return &DB{DB: db, Write: db, Dialect: MySQL, Name: t.name}, nil
}

func (t *target) openSQLite() (*DB, error) {
	fail := func(err error) (*DB, error) { return nil, fmt.Errorf("database %s: %w", t.name, err) }
	dsn := memory
	if t.file != memory {
		// It holds password hashes; -wal and -shm take over its mode.
		f, err := os.OpenFile(t.file, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fail(err)
		}
		f.Close()
		dsn = "file:" + (&url.URL{Path: t.file}).EscapedPath()
	}
	dsn += "?_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=synchronous(FULL)"
	w, err := sqlx.Open("sqlite", dsn+"&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		return fail(err)
	}
	w.SetMaxOpenConns(1)
	w.SetMaxIdleConns(1)
	// The journal mode must be set before a reader opens the file.
	if err := w.Ping(); err != nil {
		w.Close()
		return fail(err)
	}
	db := &DB{DB: w, Write: w, Dialect: SQLite, Name: t.name}
	if t.file == memory {
		return db, nil
	}
	r, err := sqlx.Open("sqlite", dsn)
	if err != nil {
		w.Close()
		return fail(err)
	}
	n := max(4, runtime.GOMAXPROCS(0))
	r.SetMaxOpenConns(n)
	r.SetMaxIdleConns(n)
	db.DB = r
	return db, nil
}
