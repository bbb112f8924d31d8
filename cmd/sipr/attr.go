package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"sipr/core/database"
)

// Types of attributes, as in SER.
const (
	attrInt  = 0
	attrText = 2
)

// attrInfo is an attribute as it is printed.
type attrInfo struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // int or string
	Value string `json:"value"`
}

// check tells whether the attribute fits the tables.
func (a *attrInfo) check() error {
	if err := identifier("attribute", a.Name, 32); err != nil {
		return err
	}
	if len(a.Value) > 255 {
		return usageError("the value has %d bytes: 255 are allowed", len(a.Value))
	}
	if a.Type == "int" {
		if _, err := strconv.ParseInt(a.Value, 10, 32); err != nil {
			return usageError("--int %q: a whole number is expected", a.Value)
		}
	}
	return nil
}

// parseAttr reads NAME=VALUE. As in sipr ctl, a whole number is one unless s:
// stands before it.
func parseAttr(s string) (attrInfo, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return attrInfo{}, usageError("--attr %q: NAME=VALUE is expected", s)
	}
	a := attrInfo{name, "string", value}
	switch v := ctlParam(value).(type) {
	case string:
		a.Value = v
	case int64:
		if v == int64(int32(v)) {
			a.Type = "int"
		}
	}
	return a, a.check()
}

// attrOwner is whose attributes are meant: the rows of a table whose column has
// a value.
type attrOwner struct{ table, column, id string }

func domainAttrs(did string) attrOwner { return attrOwner{"domain_attrs", "did", did} }
func userAttrs(uid string) attrOwner   { return attrOwner{"user_attrs", "uid", uid} }

// attrSubject is what an attr group of commands is about.
type attrSubject struct {
	arg, what string // such as NAME and "a domain"
	// with runs f for the owner that an argument names.
	with func(c *cobra.Command, arg string, f func(context.Context, *database.DB, attrOwner) error) error
	// changed is what a router has to be told.
	changed func(a attrOwner) remoteCall
}

func domainAttrCommand(o *options) *cobra.Command {
	return o.attrCommand(attrSubject{"NAME", "a domain",
		func(c *cobra.Command, arg string, f func(context.Context, *database.DB, attrOwner) error) error {
			return o.withDomain(c, arg, func(ctx context.Context, db *database.DB, _, did string) error { return f(ctx, db, domainAttrs(did)) })
		},
		func(attrOwner) remoteCall { return remoteCall{"domain.reload"} },
	})
}

func userAttrCommand(o *options) *cobra.Command {
	return o.attrCommand(attrSubject{"USER@DOMAIN", "a user",
		func(c *cobra.Command, arg string, f func(context.Context, *database.DB, attrOwner) error) error {
			return o.withDB(c, func(ctx context.Context, db *database.DB) error {
				row, err := resolve(ctx, db, arg)
				if err != nil {
					return err
				}
				return f(ctx, db, userAttrs(row.UID))
			})
		},
		func(a attrOwner) remoteCall { return remoteCall{"attrs.flush", a.id} },
	})
}

// attrCommand is the group of commands for somebody's attributes.
func (o *options) attrCommand(s attrSubject) *cobra.Command {
	return o.group("attr", "list, set, add and remove attributes of "+s.what,
		&cobra.Command{
			Use: "list " + s.arg, Short: "list the attributes of " + s.what, Args: args(1, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return s.with(c, args[0], func(ctx context.Context, db *database.DB, owner attrOwner) error {
					attrs, err := attrsOf(ctx, db, owner)
					if err != nil {
						return err
					}
					return o.print(c, attrs, func(w io.Writer) {
						fmt.Fprintln(w, "NAME\tTYPE\tVALUE")
						for _, a := range attrs {
							fmt.Fprintf(w, "%s\t%s\t%s\n", a.Name, a.Type, a.Value)
						}
					})
				})
			},
		},
		o.attrWriteCommand(s, "set "+s.arg+" ATTRIBUTE VALUE", "give an attribute one value instead of those it has", true),
		o.attrWriteCommand(s, "add "+s.arg+" ATTRIBUTE VALUE", "give an attribute a further value", false),
		&cobra.Command{
			Use: "remove " + s.arg + " ATTRIBUTE [VALUE]", Short: "remove an attribute, or one value of it", Args: args(2, 3),
			RunE: func(c *cobra.Command, args []string) error {
				return s.with(c, args[0], func(ctx context.Context, db *database.DB, owner attrOwner) error {
					if err := removeAttr(ctx, db, s.what, owner, args[1:]); err != nil {
						return err
					}
					err := o.print(c, map[string]string{"removed": args[1]}, func(w io.Writer) { fmt.Fprintf(w, "attribute %s removed\n", args[1]) })
					if err != nil {
						return err
					}
					return o.tell(c, s.changed(owner))
				})
			},
		},
	)
}

func (o *options) attrWriteCommand(s attrSubject, use, short string, replace bool) *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use: use, Short: short, Args: args(3, 3),
		RunE: func(c *cobra.Command, args []string) error {
			a := attrInfo{Name: args[1], Type: "string", Value: args[2]}
			if whole {
				a.Type = "int"
			}
			if err := a.check(); err != nil {
				return err
			}
			return s.with(c, args[0], func(ctx context.Context, db *database.DB, owner attrOwner) error {
				if err := db.Tx(ctx, func(tx *sqlx.Tx) error { return writeAttr(ctx, tx, owner, a, replace) }); err != nil {
					return err
				}
				if err := o.print(c, a, func(w io.Writer) { fmt.Fprintf(w, "attribute %s=%s set\n", a.Name, a.Value) }); err != nil {
					return err
				}
				return o.tell(c, s.changed(owner))
			})
		},
	}
	c.Flags().BoolVar(&whole, "int", false, "the value is a whole number, not text")
	return c
}

func attrsOf(ctx context.Context, q sqlx.QueryerContext, owner attrOwner) ([]attrInfo, error) {
	var rows []struct {
		Name, Value string
		Type        int
	}
	err := sqlx.SelectContext(ctx, q, &rows, "SELECT name, COALESCE(value, '') AS value, type FROM "+owner.table+
		" WHERE "+owner.column+" = ? AND "+live+" ORDER BY id", owner.id)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", owner.table, err)
	}
	attrs := []attrInfo{}
	for _, r := range rows {
		typ := "int"
		if r.Type == attrText {
			typ = "string"
		}
		attrs = append(attrs, attrInfo{r.Name, typ, r.Value})
	}
	return attrs, nil
}

func writeAttr(ctx context.Context, tx *sqlx.Tx, owner attrOwner, a attrInfo, replace bool) error {
	if replace {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+owner.table+" WHERE "+owner.column+" = ? AND name = ?", owner.id, a.Name); err != nil {
			return fmt.Errorf("table %s: %w", owner.table, err)
		}
	}
	typ := attrText
	if a.Type == "int" {
		typ = attrInt
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO "+owner.table+" ("+owner.column+", name, type, value, flags) VALUES (?, ?, ?, ?, ?)",
		owner.id, a.Name, typ, a.Value, flagLoad)
	if database.IsDuplicate(err) {
		return fmt.Errorf("attribute %s=%s exists already", a.Name, a.Value)
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", owner.table, err)
	}
	return nil
}

// removeAttr removes the attribute, or its one value, that args name.
func removeAttr(ctx context.Context, db *database.DB, what string, owner attrOwner, args []string) error {
	query, params := "DELETE FROM "+owner.table+" WHERE "+owner.column+" = ? AND name = ?", []any{owner.id, args[0]}
	if len(args) > 1 {
		query, params = query+" AND value = ?", append(params, args[1])
	}
	res, err := db.ExecContext(ctx, query, params...)
	if err != nil {
		return fmt.Errorf("table %s: %w", owner.table, err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("there is no such attribute %s of %s", args[0], strings.TrimPrefix(what, "a "))
	}
	return nil
}
