package main

import (
	"context"
	"fmt"
	"io"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"sipr/core/database"
)

func domainSetCommand(o *options) *cobra.Command {
	var enable, disable, canonical bool
	c := &cobra.Command{
		Use: "set NAME", Short: "enable or disable a domain, or make a name its canonical one", Args: args(1, 1),
		Long: "Enables or disables a domain with all its names, or makes NAME its canonical\n" +
			"name, which is the realm of its users.",
		RunE: func(c *cobra.Command, args []string) error {
			if enable && disable {
				return usageError("--enable and --disable exclude each other")
			}
			if !enable && !disable && !canonical {
				return usageError("one of --enable, --disable and --canonical is expected")
			}
			return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, name, did string) error {
				err := db.Tx(ctx, func(tx *sqlx.Tx) error {
					if enable || disable {
						if err := disableDomain(ctx, tx, did, disable); err != nil {
							return err
						}
					}
					if canonical {
						return makeCanonical(ctx, tx, name, did)
					}
					return nil
				})
				if err != nil {
					return err
				}
				d, err := describeDomain(ctx, db, did)
				if err != nil {
					return err
				}
				if err := o.print(c, d, d.write); err != nil {
					return err
				}
				return o.tell(c, remoteCall{"domain.reload"})
			})
		},
	}
	c.Flags().BoolVar(&enable, "enable", false, "let the domain be used again")
	c.Flags().BoolVar(&disable, "disable", false, "keep the domain, but as if it did not exist")
	c.Flags().BoolVar(&canonical, "canonical", false, "make NAME the canonical name")
	return c
}

func disableDomain(ctx context.Context, tx *sqlx.Tx, did string, disabled bool) error {
	flags := "flags & ~2"
	if disabled {
		flags = "flags | 2"
	}
	if _, err := tx.ExecContext(ctx, "UPDATE domain SET flags = "+flags+" WHERE did = ? AND "+usable, did); err != nil {
		return fmt.Errorf("table domain: %w", err)
	}
	return nil
}

func makeCanonical(ctx context.Context, tx *sqlx.Tx, name, did string) error {
	was, err := realmOf(ctx, tx, did)
	if err != nil {
		return err
	}
	for _, step := range []struct{ flags, where string }{{"flags & ~4", "LOWER(domain) <> ?"}, {"flags | 4", "LOWER(domain) = ?"}} {
		if _, err := tx.ExecContext(ctx, "UPDATE domain SET flags = "+step.flags+" WHERE did = ? AND "+step.where, did, name); err != nil {
			return fmt.Errorf("table domain: %w", err)
		}
	}
	realm, err := realmOf(ctx, tx, did)
	if err != nil {
		return err
	}
	if bound, err := boundTo(ctx, tx, was, realm, did); err != nil {
		return err
	} else if bound > 0 {
		return fmt.Errorf("%s is the realm of %d credentials, which would no longer fit: first set passwords in the next one with sipr user set USER@%s -r %s",
			was, bound, bracket(name), realm)
	}
	return nil
}

// domainNameCommand is sipr domain name.
func domainNameCommand(o *options) *cobra.Command {
	return o.group("name", "add and remove names of a domain",
		&cobra.Command{
			Use: "add NAME NEW", Short: "give the domain that has one name another", Args: args(2, 2),
			RunE: func(c *cobra.Command, args []string) error {
				fresh, err := domainName(args[1])
				if err != nil {
					return err
				}
				return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, _, did string) error {
					if err := db.Tx(ctx, func(tx *sqlx.Tx) error { return insertName(ctx, tx, fresh, did, true) }); err != nil {
						return err
					}
					return o.domainAdded(ctx, c, db, did, []string{fresh})
				})
			},
		},
		&cobra.Command{
			Use: "remove NAME", Short: "remove a name, but not the last one", Args: args(1, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, name, did string) error {
					d, err := describeDomain(ctx, db, did)
					if err != nil {
						return err
					}
					if len(d.Names) == 1 {
						return fmt.Errorf("%s is the last name of its domain: sipr domain remove %s removes that", name, name)
					}
					return o.domainRemove(ctx, c, db, name, did, false)
				})
			},
		},
	)
}

func (o *options) domainRemove(ctx context.Context, c *cobra.Command, db *database.DB, name, did string, all bool) error {
	err := db.Tx(ctx, func(tx *sqlx.Tx) error {
		if all {
			return removeDomain(ctx, tx, name, did)
		}
		return removeName(ctx, tx, name, did)
	})
	if err != nil {
		return err
	}
	if err := o.print(c, map[string]string{"removed": name}, func(w io.Writer) { fmt.Fprintf(w, "domain %s removed\n", name) }); err != nil {
		return err
	}
	return o.tell(c, remoteCall{"domain.reload"})
}

// removeDomain removes a domain with all its names and attributes.
func removeDomain(ctx context.Context, tx *sqlx.Tx, name, did string) error {
	d, err := describeDomain(ctx, tx, did)
	if err != nil {
		return err
	}
	if d.Users > 0 {
		return fmt.Errorf("the domain %s has %d users: remove them first (sipr user list %s)", name, d.Users, name)
	}
	for _, table := range []string{"domain", "domain_attrs"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE did = ?", did); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}
