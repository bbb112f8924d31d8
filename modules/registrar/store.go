package registrar

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/database"
	"sipr/core/sipmsg"
)

// columns are those that are written; ruid is the key of a row.
const columns = "ruid, did, username, contact, path, received, socket, flow, node, instance, reg_id, methods, user_agent, call_id, cseq, q, expires, modified"

// purgeBatch is how many expired rows go in one statement, so that the one
// writer of SQLite is not held up.
const purgeBatch = 500

// table is the location table.
type table struct {
	db   *database.DB
	name string
	node string
}

var _ writer = (*table)(nil)

// upsert is the statement that inserts a row or overwrites the one with the
// same ruid.
func (t *table) upsert() string {
	names := strings.Split(columns, ", ")
	sets := make([]string, 0, len(names))
	for _, n := range names[1:] {
		if t.db.Dialect == database.MySQL {
			sets = append(sets, n+" = VALUES("+n+")")
		} else {
			sets = append(sets, n+" = excluded."+n)
		}
	}
	on := " ON CONFLICT (ruid) DO UPDATE SET "
	if t.db.Dialect == database.MySQL {
		on = " ON DUPLICATE KEY UPDATE "
	}
	return "INSERT INTO " + t.db.Quote(t.name) + " (" + columns + ") VALUES (?" + strings.Repeat(", ?", len(names)-1) + ")" +
		on + strings.Join(sets, ", ")
}

// write implements writer.
func (t *table) write(ctx context.Context, batch []*job) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("table %s: begin: %w", t.name, err)
	}
	defer tx.Rollback()
	if err := t.writeRows(ctx, tx, batch); err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("table %s: commit: %w", t.name, err)
	}
	return nil
}

func (t *table) writeRows(ctx context.Context, tx *sql.Tx, batch []*job) error {
	var put, del *sql.Stmt
	prepare := func(s **sql.Stmt, query string) (err error) {
		if *s == nil {
			*s, err = tx.PrepareContext(ctx, query)
		}
		return err
	}
	for _, j := range batch {
		for _, ruid := range j.del {
			if err := prepare(&del, "DELETE FROM "+t.db.Quote(t.name)+" WHERE ruid = ?"); err != nil {
				return err
			}
			if _, err := del.ExecContext(ctx, ruid); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
		}
		for _, b := range j.put {
			if err := prepare(&put, t.upsert()); err != nil {
				return err
			}
			did, user := splitAoR(j.key)
			_, err := put.ExecContext(ctx, string(b.get(fRUID)), did, user, string(b.get(fContact)), string(b.get(fPath)),
				b.receivedText(), b.socketText(), b.flowText(), t.node, string(b.get(fInstance)), int64(b.regID),
				string(b.get(fMethods)), string(b.get(fUserAgent)), string(b.get(fCallID)), int64(b.cseq), int64(b.q),
				b.expires.Unix(), int64(b.modified))
			if err != nil {
				return fmt.Errorf("upsert: %w", err)
			}
		}
	}
	return nil
}

// load reads the rows that have not expired into s. It returns how many there
// were, and how many could not be understood.
func (t *table) load(ctx context.Context, s *memory, sockets []*core.Socket, now clock.Time) (n, lost int, err error) {
	rows, err := t.db.QueryContext(ctx, "SELECT ruid, did, username, contact, path, received, socket, instance, reg_id, methods, user_agent, call_id, cseq, q, expires, modified FROM "+
		t.db.Quote(t.name)+" WHERE expires > ? ORDER BY id", now.Unix())
	if err != nil {
		return 0, 0, fmt.Errorf("table %s: load: %w", t.name, err)
	}
	defer rows.Close()
	bySocket := map[string]*core.Socket{}
	for _, sock := range sockets {
		bySocket[socketName(sock)] = sock
	}
	var (
		tx                         texts
		did, user, received, sock  sql.RawBytes
		f                          [numFields]sql.RawBytes
		regID, cseq, q, exp, modif int64
		key                        []byte
	)
	for rows.Next() {
		if err := rows.Scan(&f[fRUID], &did, &user, &f[fContact], &f[fPath], &received, &sock, &f[fInstance], &regID,
			&f[fMethods], &f[fUserAgent], &f[fCallID], &cseq, &q, &exp, &modif); err != nil {
			return n, lost, fmt.Errorf("table %s: load: %w", t.name, err)
		}
		fit := true
		for i := range f {
			tx[i] = f[i]
			fit = fit && len(f[i]) <= sizeOf[i]
		}
		if _, err := sipmsg.ParseURI(tx[fContact]); err != nil || !fit || q < 0 || q > 1000 || len(tx[fRUID]) == 0 {
			lost++
			continue
		}
		b := binding{q: uint16(q), regID: uint32(regID), cseq: uint32(cseq), modified: uint32(modif), socket: bySocket[string(sock)]}
		b.expires = clock.Time(exp) * clock.Time(1e9)
		b.setTexts(&tx, nil)
		if a, ok := parseReceived(received); ok {
			b.setRemote(a)
		}
		key = appendAoR(key[:0], []byte(did), []byte(user))
		s.insert(key, b)
		n++
	}
	if err := rows.Err(); err != nil {
		return n, lost, fmt.Errorf("table %s: load: %w", t.name, err)
	}
	return n, lost, nil
}

// purge deletes rows that expired before a time, a batch at a time.
func (t *table) purge(ctx context.Context, before clock.Time) error {
	name := t.db.Quote(t.name)
	query := "DELETE FROM " + name + " WHERE id IN (SELECT id FROM " + name + " WHERE expires <= ? LIMIT ?)"
	if t.db.Dialect == database.MySQL {
		query = "DELETE FROM " + name + " WHERE expires <= ? LIMIT ?"
	}
	for {
		res, err := t.db.ExecContext(ctx, query, before.Unix(), purgeBatch)
		if err != nil {
			return fmt.Errorf("table %s: purge: %w", t.name, err)
		}
		if n, err := res.RowsAffected(); err != nil || n < purgeBatch {
			return err
		}
	}
}
