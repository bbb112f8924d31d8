package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"sipr/core/database"
)

// domainCommand is sipr domain: virtual domains, their names and attributes.
func domainCommand(o *options) *cobra.Command {
	return o.group("domain", "add, show, change and remove domains",
		domainAddCommand(o),
		&cobra.Command{
			Use: "list", Short: "list domains", Args: args(0, 0),
			RunE: func(c *cobra.Command, _ []string) error {
				return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.domainList(ctx, c, db) })
			},
		},
		&cobra.Command{
			Use: "show NAME", Short: "show a domain with all its names and attributes", Args: args(1, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, _, did string) error {
					d, err := describeDomain(ctx, db, did)
					if err != nil {
						return err
					}
					return o.print(c, d, d.write)
				})
			},
		},
		&cobra.Command{
			Use: "remove NAME", Short: "remove a name; the last one removes the domain, which must have no users", Args: args(1, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, name, did string) error {
					if err := db.Tx(ctx, func(tx *sqlx.Tx) error { return removeName(ctx, tx, name, did) }); err != nil {
						return err
					}
					return o.print(c, map[string]string{"removed": name}, func(w io.Writer) { fmt.Fprintf(w, "domain %s removed\n", name) })
				})
			},
		},
		domainAttrCommand(o),
	)
}

// withDomain is withDB for a command whose argument is a name of a domain.
func (o *options) withDomain(c *cobra.Command, arg string, f func(ctx context.Context, db *database.DB, name, did string) error) error {
	name, err := domainName(arg)
	if err != nil {
		return err
	}
	return o.withDB(c, func(ctx context.Context, db *database.DB) error {
		did, err := didOf(ctx, db, name)
		if err != nil {
			return err
		}
		return f(ctx, db, name, did)
	})
}

// domainInfo is a domain as it is printed.
type domainInfo struct {
	DID   string     `json:"did"`
	Names []string   `json:"names"` // the canonical one first
	Realm string     `json:"realm"`
	Users int        `json:"users"`
	Attrs []attrInfo `json:"attrs"`
}

func (d *domainInfo) write(w io.Writer) {
	fmt.Fprintf(w, "did\t%s\nnames\t%s\nrealm\t%s\nusers\t%d\n", d.DID, strings.Join(d.Names, ", "), d.Realm, d.Users)
	for _, a := range d.Attrs {
		fmt.Fprintf(w, "attribute\t%s=%s\n", a.Name, a.Value)
	}
}

func describeDomain(ctx context.Context, q sqlx.QueryerContext, did string) (*domainInfo, error) {
	d := &domainInfo{DID: did, Names: []string{}}
	err := sqlx.SelectContext(ctx, q, &d.Names, "SELECT domain FROM domain WHERE did = ? AND "+live+" ORDER BY (flags & 4) DESC, id", did)
	if err != nil {
		return nil, fmt.Errorf("table domain: %w", err)
	}
	if d.Realm, err = realmOf(ctx, q, did); err != nil {
		return nil, err
	}
	if d.Attrs, err = attrsOf(ctx, q, did); err != nil {
		return nil, err
	}
	err = sqlx.GetContext(ctx, q, &d.Users, "SELECT COUNT(DISTINCT uid) FROM uri WHERE did = ? AND "+usable, did)
	if err != nil {
		return nil, fmt.Errorf("table uri: %w", err)
	}
	return d, nil
}

func domainAddCommand(o *options) *cobra.Command {
	var did string
	var alias bool
	c := &cobra.Command{
		Use: "add NAME", Short: "add a domain, or a further name of one", Args: args(1, 1),
		Long: "Adds a domain. A name whose --did exists already is a further name of that\n" +
			"domain; --alias makes sure that it is one. A running router reads the\n" +
			"names again at sipr ctl domain.reload.",
		RunE: func(c *cobra.Command, args []string) error {
			name, err := domainName(args[0])
			if err != nil {
				return err
			}
			if alias && did == "" {
				return usageError("--alias needs --did, the domain that gets a further name")
			}
			if did == "" {
				did = name
			}
			if err := identifier("--did", did, maxDID); err != nil {
				return err
			}
			return o.withDB(c, func(ctx context.Context, db *database.DB) error {
				err := db.Tx(ctx, func(tx *sqlx.Tx) error { return insertName(ctx, tx, name, did, alias) })
				if err != nil {
					return err
				}
				d, err := describeDomain(ctx, db, did)
				if err != nil {
					return err
				}
				return o.print(c, d, func(w io.Writer) { fmt.Fprintf(w, "domain %s added, did %s\n", name, did) })
			})
		},
	}
	c.Flags().StringVar(&did, "did", "", "what all names of the domain share and what never changes (default: the name)")
	c.Flags().BoolVar(&alias, "alias", false, "fail unless --did exists")
	return c
}

// insertName adds a name; the first one of a did is canonical.
func insertName(ctx context.Context, tx *sqlx.Tx, name, did string, alias bool) error {
	var n int
	if err := tx.GetContext(ctx, &n, "SELECT COUNT(*) FROM domain WHERE did = ? AND "+live, did); err != nil {
		return fmt.Errorf("table domain: %w", err)
	}
	flags := flagLoad
	if n == 0 {
		if alias {
			return fmt.Errorf("the did %s does not exist: run sipr domain add %s --did %s without --alias first, with its canonical name", did, name, did)
		}
		flags |= flagCanon
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO domain (did, domain, flags) VALUES (?, ?, ?)", did, name, flags)
	if database.IsDuplicate(err) {
		return fmt.Errorf("domain %s exists already", name)
	}
	if err != nil {
		return fmt.Errorf("table domain: %w", err)
	}
	return nil
}

// removeName removes a name; its successor becomes canonical if it was. The
// attributes go with the last name.
func removeName(ctx context.Context, tx *sqlx.Tx, name, did string) error {
	d, err := describeDomain(ctx, tx, did)
	if err != nil {
		return err
	}
	if len(d.Names) == 1 && d.Users > 0 {
		return fmt.Errorf("%s is the last name of a domain that has %d users: remove them first (sipr user list %s)", name, d.Users, name)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM domain WHERE LOWER(domain) = ?", name); err != nil {
		return fmt.Errorf("table domain: %w", err)
	}
	if len(d.Names) == 1 {
		if _, err := tx.ExecContext(ctx, "DELETE FROM domain_attrs WHERE did = ?", did); err != nil {
			return fmt.Errorf("table domain_attrs: %w", err)
		}
		return nil
	}
	next, err := nameOf(ctx, tx, did)
	if err != nil {
		return err
	}
	realm, err := realmOf(ctx, tx, did)
	if err != nil {
		return err
	}
	if bound, err := boundTo(ctx, tx, d.Realm, realm, did); err != nil {
		return err
	} else if bound > 0 {
		return fmt.Errorf("%s is the realm of %d credentials, which would no longer fit: first set passwords in the next one with sipr user set USER@%s -r %s",
			name, bound, next, realm)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE domain SET flags = flags | 4 WHERE domain = ?", next); err != nil {
		return fmt.Errorf("table domain: %w", err)
	}
	return nil
}

// boundTo counts the credentials of a did that are of use in one realm alone and
// whose users have none in another one.
func boundTo(ctx context.Context, tx *sqlx.Tx, realm, other, did string) (n int, err error) {
	if realm == other {
		return 0, nil
	}
	err = tx.GetContext(ctx, &n, "SELECT COUNT(*) FROM credentials c WHERE c.realm = ? AND (c.flags & 128) = 0"+
		" AND c.uid IN (SELECT uid FROM uri WHERE did = ? AND "+usable+")"+
		" AND NOT EXISTS (SELECT 1 FROM credentials o WHERE o.uid = c.uid AND o.realm = ? AND (o.flags & 128) = 0)", realm, did, other)
	if err != nil {
		return 0, fmt.Errorf("table credentials: %w", err)
	}
	return n, nil
}

func (o *options) domainList(ctx context.Context, c *cobra.Command, db *database.DB) error {
	var dids []string
	if err := db.SelectContext(ctx, &dids, "SELECT did FROM domain WHERE "+live+" GROUP BY did ORDER BY did"); err != nil {
		return fmt.Errorf("table domain: %w", err)
	}
	list := []*domainInfo{}
	for _, did := range dids {
		d, err := describeDomain(ctx, db, did)
		if err != nil {
			return err
		}
		list = append(list, d)
	}
	return o.print(c, list, func(w io.Writer) {
		fmt.Fprintln(w, "DID\tNAMES\tREALM\tUSERS")
		for _, d := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", d.DID, strings.Join(d.Names, ","), d.Realm, d.Users)
		}
	})
}
