package users

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"sipr/core"
	"sipr/core/database"
)

// The flags of rows that matter here.
const (
	flagLoad     = 1
	flagDisabled = 2
	flagCanon    = 4
	flagIsTo     = 8
	flagIsFrom   = 16
	flagDeleted  = 128
)

// store reads the uri table.
type store struct {
	db           *database.DB
	table, query string
}

func newStore(db *database.DB, table string) *store {
	t := db.Quote(table)
	used := func(alias string) string {
		return fmt.Sprintf("(%s.flags & %d) = %d", alias, flagLoad|flagDisabled|flagDeleted, flagLoad)
	}
	return &store{db: db, table: table, query: "SELECT a.uid, a.flags, c.did, c.username FROM " + t + " a LEFT JOIN " + t +
		" c ON c.uid = a.uid AND " + used("c") + fmt.Sprintf(" AND (c.flags & %d) <> 0", flagCanon) +
		" WHERE a.did = ? AND a.username = ? AND a.scheme IN ('sip', 'sips') AND " + used("a") + " ORDER BY a.scheme, c.id LIMIT 1"}
}

// find returns the owner of an address and its canonical address: the address
// itself if the user has none.
func (s *store) find(ctx context.Context, did, user string) (*entry, error) {
	e := &entry{}
	var cdid, cname sql.NullString
	err := s.db.QueryRowContext(ctx, s.query, did, user).Scan(&e.user.UID, &e.user.Flags, &cdid, &cname)
	if errors.Is(err, sql.ErrNoRows) {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: find (did, username): %w", s.table, err)
	}
	e.user.DID, e.user.Name = did, user
	if cdid.Valid && cname.Valid {
		e.user.DID, e.user.Name = cdid.String, cname.String
	}
	e.set = core.NewAttrSet([]core.Attr{{Name: "uid", Value: core.TextValue(e.user.UID)}})
	return e, nil
}
