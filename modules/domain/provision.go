package domain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"sipr/core"
	"sipr/core/database"
)

// provisionCommands write into the tables and load them anew. They are for
// programs; the command line's domain commands look further, at users and
// passwords too.
func (m *Module) provisionCommands() []core.Command {
	return []core.Command{
		{Name: "add", Args: "<did> <name> [name…]", Run: m.cmdAdd, Doc: "Adds names to a virtual domain, which begins to exist with the first one; that is its canonical one."},
		{Name: "rm", Args: "<did> <name>", Run: m.cmdRemove, Doc: "Removes a name that is neither the last nor the canonical one of its virtual domain; for those see sipr domain remove."},
		{Name: "attr_set", Args: "<did> <attribute> <value>", Run: m.cmdSetAttr, Doc: "Gives an attribute of a virtual domain one value, a number or text."},
		{Name: "attr_rm", Args: "<did> <attribute>", Run: m.cmdRemoveAttr, Doc: "Removes an attribute of a virtual domain."},
	}
}

// words returns the parameters of a command, at least n and none of them empty.
func words(c *core.Call, n int) ([]string, error) {
	var list []string
	for i := range c.Params {
		s := c.String(i)
		if s == "" || len(s) > 255 || strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, &core.Fault{Code: 400, Reason: fmt.Sprintf("parameter %d is empty, too long or has white space at its ends", i+1)}
		}
		list = append(list, s)
	}
	if len(list) < n {
		return nil, &core.Fault{Code: 400, Reason: fmt.Sprintf("%d parameters are expected", n)}
	}
	return list, nil
}

// change runs a change of the tables, then loads them anew.
func (m *Module) change(ctx context.Context, f func(tx *sqlx.Tx) error) error {
	if err := m.store.db.Tx(ctx, f); err != nil {
		return err
	}
	if err := m.Reload(ctx); err != nil {
		m.log.Error("virtual domains not reloaded, the old ones stay", "error", err)
		return &core.Fault{Code: 400, Reason: "it is stored, but: Domain Table Reload Failed"}
	}
	return nil
}

// named is a name of a virtual domain as it is stored.
type named struct {
	name  string
	flags int64
}

// rows returns the rows of a DID that are in use.
func (m *Module) rows(ctx context.Context, tx *sqlx.Tx, did string) ([]named, error) {
	q, err := tx.QueryContext(ctx, tx.Rebind(m.store.oneDID), did)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", m.domains.table, err)
	}
	defer q.Close()
	var list []named
	for q.Next() {
		var id, name *string
		var flags *int64
		if err := q.Scan(&id, &name, &flags); err != nil {
			return nil, fmt.Errorf("table %s: %w", m.domains.table, err)
		}
		if name != nil && flags != nil && usable(*flags) {
			list = append(list, named{*name, *flags})
		}
	}
	return list, q.Err()
}

func (m *Module) cmdAdd(ctx context.Context, c *core.Call) error {
	w, err := words(c, 2)
	if err != nil {
		return err
	}
	for i, s := range w[1:] {
		name := Normalise(s)
		if name == "" || strings.ContainsAny(name, " @/;?\"<>[]") {
			return &core.Fault{Code: 400, Reason: fmt.Sprintf("%q is not a domain name", s)}
		}
		// Tables of others need not be unique by name.
		if did, taken, err := m.store.findDID(ctx, []byte(name)); err != nil {
			return err
		} else if taken {
			return &core.Fault{Code: 409, Reason: "domain " + name + " exists already, did " + did}
		}
		w[1+i] = name
	}
	quote := m.store.db.Quote
	insert := "INSERT INTO " + quote(m.domains.table) + " (" + quote(m.domains.did) + ", " + quote(m.domains.domain) + ", " + quote(m.domains.flags) + ") VALUES (?, ?, ?)"
	return m.change(ctx, func(tx *sqlx.Tx) error {
		have, err := m.rows(ctx, tx, w[0])
		if err != nil {
			return err
		}
		flags := int64(flagLoad)
		if len(have) == 0 {
			flags |= flagCanon
		}
		for _, name := range w[1:] {
			_, err := tx.ExecContext(ctx, tx.Rebind(insert), w[0], name, flags)
			if database.IsDuplicate(err) {
				return &core.Fault{Code: 409, Reason: "domain " + name + " exists already"}
			}
			if err != nil {
				return fmt.Errorf("table %s: %w", m.domains.table, err)
			}
			flags &^= flagCanon
		}
		return nil
	})
}

func (m *Module) cmdRemove(ctx context.Context, c *core.Call) error {
	w, err := words(c, 2)
	if err != nil {
		return err
	}
	quote, name := m.store.db.Quote, Normalise(w[1])
	return m.change(ctx, func(tx *sqlx.Tx) error {
		have, err := m.rows(ctx, tx, w[0])
		if err != nil {
			return err
		}
		for _, r := range have {
			if Normalise(r.name) != name {
				continue
			}
			if len(have) == 1 || r.flags&flagCanon != 0 {
				return &core.Fault{Code: 409, Reason: name + " is the last or the canonical name: see sipr domain remove"}
			}
			_, err := tx.ExecContext(ctx, tx.Rebind("DELETE FROM "+quote(m.domains.table)+" WHERE "+quote(m.domains.did)+" = ? AND "+quote(m.domains.domain)+" = ?"), w[0], r.name)
			return err
		}
		return &core.Fault{Code: 404, Reason: "virtual domain " + w[0] + " has no name " + name}
	})
}

// forget removes an attribute and reports whether it was there.
func (m *Module) forget(ctx context.Context, tx *sqlx.Tx, did, name string) (bool, error) {
	quote, a := m.store.db.Quote, m.attrs
	res, err := tx.ExecContext(ctx, tx.Rebind("DELETE FROM "+quote(a.table)+" WHERE "+quote(a.did)+" = ? AND "+quote(a.name)+" = ?"), did, name)
	if err != nil {
		return false, fmt.Errorf("table %s: %w", a.table, err)
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func (m *Module) cmdSetAttr(ctx context.Context, c *core.Call) error {
	w, err := words(c, 3)
	if err != nil {
		return err
	}
	if w[1] == didAttr || !core.ValidAttrName(w[1]) {
		return &core.Fault{Code: 400, Reason: fmt.Sprintf("%q cannot be the name of an attribute", w[1])}
	}
	typ := typeText
	if _, number := c.Params[2].(int64); number {
		typ = 0
	}
	quote, a := m.store.db.Quote, m.attrs
	insert := "INSERT INTO " + quote(a.table) + " (" + quote(a.did) + ", " + quote(a.name) + ", " + quote(a.typ) + ", " + quote(a.value) + ", " + quote(a.flags) + ") VALUES (?, ?, ?, ?, ?)"
	return m.change(ctx, func(tx *sqlx.Tx) error {
		have, err := m.rows(ctx, tx, w[0])
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return &core.Fault{Code: 404, Reason: "there is no virtual domain " + w[0]}
		}
		if _, err := m.forget(ctx, tx, w[0], w[1]); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(insert), w[0], w[1], typ, w[2], flagLoad); err != nil {
			return fmt.Errorf("table %s: %w", a.table, err)
		}
		return nil
	})
}

var errNoAttr = errors.New("no such attribute")

func (m *Module) cmdRemoveAttr(ctx context.Context, c *core.Call) error {
	w, err := words(c, 2)
	if err != nil {
		return err
	}
	err = m.change(ctx, func(tx *sqlx.Tx) error {
		found, err := m.forget(ctx, tx, w[0], w[1])
		if err == nil && !found {
			err = errNoAttr
		}
		return err
	})
	if errors.Is(err, errNoAttr) {
		return &core.Fault{Code: 404, Reason: "virtual domain " + w[0] + " has no attribute " + w[1]}
	}
	return err
}
