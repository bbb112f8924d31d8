package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

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

// domainAttrCommand is sipr domain attr.
func domainAttrCommand(o *options) *cobra.Command {
	return o.group("attr", "list, set, add and remove attributes of a domain",
		&cobra.Command{
			Use: "list NAME", Short: "list the attributes of a domain", Args: args(1, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, _, did string) error {
					attrs, err := attrsOf(ctx, db, did)
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
		attrWriteCommand(o, "set NAME ATTRIBUTE VALUE", "give an attribute one value instead of those it has", true),
		attrWriteCommand(o, "add NAME ATTRIBUTE VALUE", "give an attribute a further value", false),
		&cobra.Command{
			Use: "remove NAME ATTRIBUTE [VALUE]", Short: "remove an attribute, or one value of it", Args: args(2, 3),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, _, did string) error {
					return o.attrRemove(ctx, c, db, did, args[1:])
				})
			},
		},
	)
}

func attrWriteCommand(o *options, use, short string, replace bool) *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use: use, Short: short, Args: args(3, 3),
		RunE: func(c *cobra.Command, args []string) error {
			a := attrInfo{Name: args[1], Type: "string", Value: args[2]}
			if err := identifier("attribute", a.Name, 32); err != nil {
				return err
			}
			if len(a.Value) > 255 {
				return usageError("the value has %d bytes: 255 are allowed", len(a.Value))
			}
			if whole {
				if _, err := strconv.ParseInt(a.Value, 10, 32); err != nil {
					return usageError("--int %q: a whole number is expected", a.Value)
				}
				a.Type = "int"
			}
			return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, _, did string) error {
				if err := db.Tx(ctx, func(tx *sqlx.Tx) error { return writeAttr(ctx, tx, did, a, replace) }); err != nil {
					return err
				}
				return o.print(c, a, func(w io.Writer) { fmt.Fprintf(w, "attribute %s=%s set\n", a.Name, a.Value) })
			})
		},
	}
	c.Flags().BoolVar(&whole, "int", false, "the value is a whole number, not text")
	return c
}

func attrsOf(ctx context.Context, q sqlx.QueryerContext, did string) ([]attrInfo, error) {
	var rows []struct {
		Name, Value string
		Type        int
	}
	err := sqlx.SelectContext(ctx, q, &rows, "SELECT name, COALESCE(value, '') AS value, type FROM domain_attrs WHERE did = ? AND "+live+" ORDER BY id", did)
	if err != nil {
		return nil, fmt.Errorf("table domain_attrs: %w", err)
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

func writeAttr(ctx context.Context, tx *sqlx.Tx, did string, a attrInfo, replace bool) error {
	if replace {
		if _, err := tx.ExecContext(ctx, "DELETE FROM domain_attrs WHERE did = ? AND name = ?", did, a.Name); err != nil {
			return fmt.Errorf("table domain_attrs: %w", err)
		}
	}
	typ := attrText
	if a.Type == "int" {
		typ = attrInt
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO domain_attrs (did, name, type, value, flags) VALUES (?, ?, ?, ?, ?)", did, a.Name, typ, a.Value, flagLoad)
	if database.IsDuplicate(err) {
		return fmt.Errorf("attribute %s=%s exists already", a.Name, a.Value)
	}
	if err != nil {
		return fmt.Errorf("table domain_attrs: %w", err)
	}
	return nil
}

func (o *options) attrRemove(ctx context.Context, c *cobra.Command, db *database.DB, did string, args []string) error {
	query, params := "DELETE FROM domain_attrs WHERE did = ? AND name = ?", []any{did, args[0]}
	if len(args) > 1 {
		query, params = query+" AND value = ?", append(params, args[1])
	}
	res, err := db.ExecContext(ctx, query, params...)
	if err != nil {
		return fmt.Errorf("table domain_attrs: %w", err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("the domain has no such attribute %s", args[0])
	}
	return o.print(c, map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "attribute %s removed\n", args[0]) })
}
