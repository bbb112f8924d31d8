package main

import (
	"context"
	"fmt"
	"io"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"sipr/core/database"
)

// aliasCommand is sipr alias: further addresses of users.
func aliasCommand(o *options) *cobra.Command {
	return o.telling(o.group("alias", "add, list and remove further addresses of users",
		&cobra.Command{
			Use: "add ALIAS@DOMAIN USER@DOMAIN", Short: "give a user a further address", Args: args(2, 2),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.aliasAdd(ctx, c, db, args[0], args[1]) })
			},
		},
		&cobra.Command{
			Use: "list [USER@DOMAIN]", Short: "list aliases, of all users or of one", Args: args(0, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.aliasList(ctx, c, db, args) })
			},
		},
		&cobra.Command{
			Use: "remove ALIAS@DOMAIN", Short: "take an address from its user", Args: args(1, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.aliasRemove(ctx, c, db, args[0]) })
			},
		},
	))
}

// aliasInfo is an alias as it is printed.
type aliasInfo struct {
	Alias   string `json:"alias"`
	Address string `json:"address"`
	UID     string `json:"uid"`
}

func (o *options) aliasAdd(ctx context.Context, c *cobra.Command, db *database.DB, alias, target string) error {
	user, domain, err := splitAddress(alias)
	if err != nil {
		return err
	}
	did, err := didOf(ctx, db, domain)
	if err != nil {
		return err
	}
	owner, err := resolve(ctx, db, target)
	if err != nil {
		return err
	}
	a := aliasInfo{Alias: user + "@" + bracket(domain), UID: owner.UID}
	if row, err := findURI(ctx, db, did, user); err != nil {
		return err
	} else if row != nil {
		u, err := describe(ctx, db, row.UID)
		if err != nil {
			return err
		}
		if row.canon() {
			return fmt.Errorf("%s is a user already", a.Alias)
		}
		return fmt.Errorf("%s is an alias of %s already", a.Alias, u.Address)
	}
	// A disabled user's new address is disabled, too.
	flags := flagAlias | owner.Flags&flagDisabled
	if err := db.Tx(ctx, func(tx *sqlx.Tx) error { return insertURI(ctx, tx, owner.UID, did, user, flags) }); err != nil {
		return err
	}
	u, err := describe(ctx, db, owner.UID)
	if err != nil {
		return err
	}
	a.Address = u.Address
	if err := o.print(c, a, func(w io.Writer) { fmt.Fprintf(w, "alias %s of %s added\n", a.Alias, a.Address) }); err != nil {
		return err
	}
	return o.tell(c, remoteCall{"users.flush"})
}

func (o *options) aliasList(ctx context.Context, c *cobra.Command, db *database.DB, args []string) error {
	var uids []string
	if len(args) > 0 {
		row, err := resolve(ctx, db, args[0])
		if err != nil {
			return err
		}
		uids = []string{row.UID}
	} else if err := db.SelectContext(ctx, &uids, "SELECT uid FROM uri WHERE scheme = 'sip' AND "+usable+
		" GROUP BY uid HAVING COUNT(*) > 1 ORDER BY MIN(did), MIN(username)"); err != nil {
		return fmt.Errorf("table uri: %w", err)
	}
	list := []aliasInfo{}
	for _, uid := range uids {
		u, err := describe(ctx, db, uid)
		if err != nil {
			return err
		}
		for _, a := range u.Aliases {
			list = append(list, aliasInfo{a, u.Address, uid})
		}
	}
	return o.print(c, list, func(w io.Writer) {
		fmt.Fprintln(w, "ALIAS\tADDRESS")
		for _, a := range list {
			fmt.Fprintf(w, "%s\t%s\n", a.Alias, a.Address)
		}
	})
}

func (o *options) aliasRemove(ctx context.Context, c *cobra.Command, db *database.DB, alias string) error {
	row, err := resolve(ctx, db, alias)
	if err != nil {
		return err
	}
	all, err := urisOf(ctx, db, row.UID)
	if err != nil {
		return err
	}
	if len(all) > 0 && all[0].ID == row.ID {
		return fmt.Errorf("%s is a user, not an alias: sipr user remove removes it", alias)
	}
	if _, err := db.ExecContext(ctx, "DELETE FROM uri WHERE id = ?", row.ID); err != nil {
		return fmt.Errorf("table uri: %w", err)
	}
	if err := o.print(c, map[string]string{"removed": alias}, func(w io.Writer) { fmt.Fprintf(w, "alias %s removed\n", alias) }); err != nil {
		return err
	}
	return o.tell(c, remoteCall{"users.flush"})
}
