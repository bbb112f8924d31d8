package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"sipr/core/database"
)

// domainCommand is sipr domain: virtual domains, their names and attributes.
func domainCommand(o *options) *cobra.Command {
	return o.telling(o.group("domain", "add, show, change and remove domains",
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
		domainSetCommand(o),
		domainRemoveCommand(o),
		domainNameCommand(o),
		domainAttrCommand(o),
	))
}

func domainRemoveCommand(o *options) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "remove NAME", Short: "remove a name; the last one removes the domain, which must have no users", Args: args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.withDomain(c, args[0], func(ctx context.Context, db *database.DB, name, did string) error {
				return o.domainRemove(ctx, c, db, name, did, all)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "remove the domain with all its names and attributes")
	return c
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
	// Disabled lists the names that the router does not know.
	Disabled []string `json:"disabled"`
}

func (d *domainInfo) state() string {
	switch len(d.Disabled) {
	case 0:
		return "enabled"
	case len(d.Names):
		return "disabled"
	}
	return "disabled: " + strings.Join(d.Disabled, ", ")
}

func (d *domainInfo) write(w io.Writer) {
	fmt.Fprintf(w, "did\t%s\nnames\t%s\nrealm\t%s\nstate\t%s\nusers\t%d\n", d.DID, strings.Join(d.Names, ", "), d.Realm, d.state(), d.Users)
	for _, a := range d.Attrs {
		fmt.Fprintf(w, "attribute\t%s=%s\n", a.Name, a.Value)
	}
}

func describeDomain(ctx context.Context, q sqlx.QueryerContext, did string) (*domainInfo, error) {
	d := &domainInfo{DID: did, Names: []string{}, Disabled: []string{}}
	var rows []struct {
		Domain string
		Flags  int
	}
	err := sqlx.SelectContext(ctx, q, &rows, "SELECT domain, flags FROM domain WHERE did = ? AND "+usable+" ORDER BY (flags & 4) DESC, id", did)
	if err != nil {
		return nil, fmt.Errorf("table domain: %w", err)
	}
	for _, r := range rows {
		d.Names = append(d.Names, r.Domain)
		if r.Flags&flagDisabled != 0 {
			d.Disabled = append(d.Disabled, r.Domain)
		}
	}
	if d.Realm, err = realmOf(ctx, q, did); err != nil {
		return nil, err
	}
	if d.Attrs, err = attrsOf(ctx, q, domainAttrs(did)); err != nil {
		return nil, err
	}
	err = sqlx.GetContext(ctx, q, &d.Users, "SELECT COUNT(DISTINCT uid) FROM uri WHERE did = ? AND "+usable, did)
	if err != nil {
		return nil, fmt.Errorf("table uri: %w", err)
	}
	return d, nil
}

// newDomain is what sipr domain add is given.
type newDomain struct {
	did             string
	names, attrs    []string
	alias, disabled bool
}

func domainAddCommand(o *options) *cobra.Command {
	var n newDomain
	c := &cobra.Command{
		Use: "add NAME|DID", Short: "add a domain, or a further name of one", Args: args(1, 1),
		Long: `Adds a domain. Without --name the argument is its name, and its did too unless
--did gives another; with --name it is the did, and the first name is the
canonical one. A did that exists already gets further names; --alias makes sure
that it exists.

In --attr NAME=VALUE a whole number is stored as a number; NAME=s:5 is the text 5.`,
		Example: `  sipr domain add example.com
  sipr domain add iptel --name iptel.org --name sip.iptel.org --attr fr_timer=5`,
		RunE: func(c *cobra.Command, args []string) error {
			if n.alias && n.did == "" && len(n.names) == 0 {
				return usageError("--alias needs --did, the domain that gets a further name")
			}
			attrs, err := n.complete(args[0])
			if err != nil {
				return err
			}
			return o.withDB(c, func(ctx context.Context, db *database.DB) error {
				if err := db.Tx(ctx, func(tx *sqlx.Tx) error { return insertDomain(ctx, tx, &n, attrs) }); err != nil {
					return err
				}
				return o.domainAdded(ctx, c, db, n.did, n.names)
			})
		},
	}
	c.Flags().StringVar(&n.did, "did", "", "what all names of the domain share and what never changes (default: the name)")
	c.Flags().StringArrayVar(&n.names, "name", nil, "name of the domain; may be given several times")
	c.Flags().StringArrayVar(&n.attrs, "attr", nil, "attribute NAME=VALUE of the domain; may be given several times")
	c.Flags().BoolVar(&n.alias, "alias", false, "fail unless the did exists")
	c.Flags().BoolVar(&n.disabled, "disabled", false, "add the names, but let the router not know them yet")
	return c
}

// complete works out did and names from the argument, and checks everything.
func (n *newDomain) complete(arg string) (attrs []attrInfo, err error) {
	if len(n.names) > 0 {
		if n.did != "" {
			return nil, usageError("with --name the argument is the did: --did is not needed")
		}
		n.did = arg
	} else {
		n.names = []string{arg}
	}
	for i, name := range n.names {
		if n.names[i], err = domainName(name); err != nil {
			return nil, err
		}
	}
	if n.did == "" {
		n.did = n.names[0]
	}
	if err := identifier("did", n.did, maxDID); err != nil {
		return nil, err
	}
	for _, s := range n.attrs {
		a, err := parseAttr(s)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, a)
	}
	return attrs, nil
}

func insertDomain(ctx context.Context, tx *sqlx.Tx, n *newDomain, attrs []attrInfo) error {
	for i, name := range n.names {
		if err := insertName(ctx, tx, name, n.did, n.alias || i > 0); err != nil {
			return err
		}
		if !n.disabled {
			continue
		}
		if _, err := tx.ExecContext(ctx, "UPDATE domain SET flags = flags | 2 WHERE domain = ?", name); err != nil {
			return fmt.Errorf("table domain: %w", err)
		}
	}
	for _, a := range attrs {
		if err := writeAttr(ctx, tx, domainAttrs(n.did), a, false); err != nil {
			return err
		}
	}
	return nil
}

// domainAdded says what was added, and tells the router.
func (o *options) domainAdded(ctx context.Context, c *cobra.Command, db *database.DB, did string, names []string) error {
	d, err := describeDomain(ctx, db, did)
	if err != nil {
		return err
	}
	err = o.print(c, d, func(w io.Writer) {
		for _, name := range names {
			fmt.Fprintf(w, "domain %s added, did %s\n", name, did)
		}
	})
	if err != nil {
		return err
	}
	return o.tell(c, remoteCall{"domain.reload"})
}

// insertName adds a name; the first one of a did is canonical, and a further one
// of a disabled domain disabled as that is.
func insertName(ctx context.Context, tx *sqlx.Tx, name, did string, alias bool) error {
	var all []int
	if err := tx.SelectContext(ctx, &all, "SELECT flags FROM domain WHERE did = ? AND "+usable, did); err != nil {
		return fmt.Errorf("table domain: %w", err)
	}
	flags := flagLoad
	if len(all) == 0 {
		if alias {
			return fmt.Errorf("the did %s does not exist: run sipr domain add %s --did %s without --alias first, with its canonical name", did, name, did)
		}
		flags |= flagCanon
	} else if !slices.ContainsFunc(all, func(f int) bool { return f&flagDisabled == 0 }) {
		flags |= flagDisabled
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
	if err := db.SelectContext(ctx, &dids, "SELECT did FROM domain WHERE "+usable+" GROUP BY did ORDER BY did"); err != nil {
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
		fmt.Fprintln(w, "DID\tNAMES\tREALM\tUSERS\tSTATE")
		for _, d := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", d.DID, strings.Join(d.Names, ","), d.Realm, d.Users, d.state())
		}
	})
}
