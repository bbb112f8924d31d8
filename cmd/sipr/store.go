package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"sipr/core/database"
	"sipr/modules/domain"
)

// Flags of rows, as in SER.
const (
	flagLoad     = 1 // LOAD_SER: without it nobody reads the row
	flagDisabled = 2
	flagCanon    = 4
	flagTo       = 8
	flagFrom     = 16
	flagDeleted  = 128
	flagUser     = flagLoad | flagCanon | flagTo | flagFrom
	flagAlias    = flagLoad | flagTo | flagFrom
)

// live is the condition for rows that are used.
const live = "(flags & 1) = 1 AND (flags & 130) = 0"

// usable is the condition for rows that are used or disabled.
const usable = "(flags & 1) = 1 AND (flags & 128) = 0"

// didOf returns the did of a domain name, also of a disabled one.
func didOf(ctx context.Context, q sqlx.QueryerContext, name string) (string, error) {
	var did string
	err := sqlx.GetContext(ctx, q, &did, "SELECT did FROM domain WHERE LOWER(domain) = ? AND "+usable, name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("domain %s does not exist: run sipr domain add %s", name, name)
	}
	if err != nil {
		return "", fmt.Errorf("table domain: %w", err)
	}
	return did, nil
}

// nameOf returns the canonical name of a did: the one with the flag CANON, or
// else the first, and a disabled one only if there is no other. It is the did
// itself if that has no name any more.
func nameOf(ctx context.Context, q sqlx.QueryerContext, did string) (string, error) {
	var name string
	err := sqlx.GetContext(ctx, q, &name, "SELECT domain FROM domain WHERE did = ? AND "+usable+
		" ORDER BY (flags & 2), (flags & 4) DESC, id LIMIT 1", did)
	if errors.Is(err, sql.ErrNoRows) {
		return did, nil
	}
	if err != nil {
		return "", fmt.Errorf("table domain: %w", err)
	}
	return name, nil
}

// realmOf returns the realm in which users of a did are authenticated. It has to
// be the one that the router finds (domain.API, Realm): the canonical name and
// nothing else. Attribute digest_realm does not count, since whether the router
// reads attributes depends on its settings; a script that names another realm
// needs users that were added with -r.
func realmOf(ctx context.Context, q sqlx.QueryerContext, did string) (string, error) {
	name, err := nameOf(ctx, q, did)
	return domain.Normalise(name), err
}

// uriRow is a row of table uri.
type uriRow struct {
	ID       int64
	UID      string
	DID      string
	Username string
	Flags    int
}

func (r *uriRow) canon() bool { return r.Flags&flagCanon != 0 }

// findURI returns the row of an address, nil if there is none.
func findURI(ctx context.Context, q sqlx.QueryerContext, did, user string) (*uriRow, error) {
	var rows []uriRow
	err := sqlx.SelectContext(ctx, q, &rows, "SELECT id, uid, did, username, flags FROM uri WHERE did = ? AND username = ? AND scheme = 'sip' AND "+usable, did, user)
	if err != nil {
		return nil, fmt.Errorf("table uri: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &rows[0], nil
}

// urisOf returns the rows of a user, its own address first.
func urisOf(ctx context.Context, q sqlx.QueryerContext, uid string) ([]uriRow, error) {
	var rows []uriRow
	err := sqlx.SelectContext(ctx, q, &rows, "SELECT id, uid, did, username, flags FROM uri WHERE uid = ? AND scheme = 'sip' AND "+usable+
		" ORDER BY (flags & 4) DESC, id", uid)
	if err != nil {
		return nil, fmt.Errorf("table uri: %w", err)
	}
	return rows, nil
}

// address returns user@domain for a row.
func (r *uriRow) address(ctx context.Context, q sqlx.QueryerContext) (string, error) {
	name, err := nameOf(ctx, q, r.DID)
	return r.Username + "@" + bracket(name), err
}

// bracket makes an IPv6 address a host of a URI.
func bracket(name string) string {
	for _, c := range name {
		if c == ':' {
			return "[" + name + "]"
		}
	}
	return name
}

// resolve finds the row of an address as it was typed; it is an error if there
// is none.
func resolve(ctx context.Context, db sqlx.QueryerContext, addr string) (*uriRow, error) {
	user, domain, err := splitAddress(addr)
	if err != nil {
		return nil, err
	}
	did, err := didOf(ctx, db, domain)
	if err != nil {
		return nil, err
	}
	row, err := findURI(ctx, db, did, user)
	if err == nil && row == nil {
		err = fmt.Errorf("user %s@%s does not exist", user, bracket(domain))
	}
	return row, err
}

// resolveUser is resolve for commands that change a user: an alias will not
// do, since who names it may not know whose it is.
func resolveUser(ctx context.Context, db sqlx.QueryerContext, addr string) (*uriRow, error) {
	row, err := resolve(ctx, db, addr)
	if err != nil || row.canon() {
		return row, err
	}
	all, err := urisOf(ctx, db, row.UID)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 && all[0].canon() {
		own, err := all[0].address(ctx, db)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s is an alias of %s: name that instead", addr, own)
	}
	return row, nil
}

// insertURI adds an address of a user.
func insertURI(ctx context.Context, tx *sqlx.Tx, uid, did, user string, flags int) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO uri (uid, did, username, scheme, flags) VALUES (?, ?, ?, 'sip', ?)", uid, did, user, flags)
	if database.IsDuplicate(err) {
		return fmt.Errorf("the address %s exists already in the domain with did %s, perhaps marked as deleted", user, did)
	}
	if err != nil {
		return fmt.Errorf("table uri: %w", err)
	}
	return nil
}
