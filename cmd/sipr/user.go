package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"sipr/core/database"
)

// userCommand is sipr user: who may register and call.
func userCommand(o *options) *cobra.Command {
	return o.telling(o.group("user", "add, show, change and remove users",
		userAddCommand(o),
		userImportCommand(o),
		&cobra.Command{
			Use: "list [DOMAIN]", Short: "list users", Args: args(0, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.userList(ctx, c, db, args) })
			},
		},
		&cobra.Command{
			Use: "show USER@DOMAIN", Short: "show a user, also by an alias", Args: args(1, 1),
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDB(c, func(ctx context.Context, db *database.DB) error {
					row, err := resolve(ctx, db, args[0])
					if err != nil {
						return err
					}
					u, err := describe(ctx, db, row.UID)
					if err != nil {
						return err
					}
					return o.print(c, u, u.write)
				})
			},
		},
		userSetCommand(o),
		&cobra.Command{
			Use: "remove USER@DOMAIN", Short: "remove a user with aliases, credentials and bindings", Args: args(1, 1),
			Long: "Removes a user with aliases, credentials, attributes and bindings from the\n" +
				"database. A running router is told to forget them, too.",
			RunE: func(c *cobra.Command, args []string) error {
				return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.userRemove(ctx, c, db, args[0]) })
			},
		},
		userAttrCommand(o),
	))
}

// userInfo is a user as it is printed; hashes are not.
type userInfo struct {
	Address  string   `json:"address"`
	UID      string   `json:"uid"`
	DID      string   `json:"did"`
	Realms   []string `json:"realms"`
	Disabled bool     `json:"disabled"`
	Aliases  []string `json:"aliases"`
}

func (u *userInfo) state() string {
	if u.Disabled {
		return "disabled"
	}
	return "enabled"
}

func (u *userInfo) write(w io.Writer) {
	fmt.Fprintf(w, "address\t%s\nuid\t%s\ndid\t%s\n", u.Address, u.UID, u.DID)
	fmt.Fprintf(w, "realm\t%s\nstate\t%s\naliases\t%s\n", strings.Join(u.Realms, ", "), u.state(), strings.Join(u.Aliases, ", "))
}

// describe returns what the tables say of a user.
func describe(ctx context.Context, q sqlx.QueryerContext, uid string) (*userInfo, error) {
	rows, err := urisOf(ctx, q, uid)
	if err != nil {
		return nil, err
	}
	u := &userInfo{UID: uid, Realms: []string{}, Aliases: []string{}}
	for i := range rows {
		addr, err := rows[i].address(ctx, q)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			u.Address, u.DID, u.Disabled = addr, rows[i].DID, rows[i].Flags&flagDisabled != 0
		} else {
			u.Aliases = append(u.Aliases, addr)
		}
	}
	err = sqlx.SelectContext(ctx, q, &u.Realms, "SELECT realm FROM credentials WHERE uid = ? AND "+usable+" ORDER BY realm", uid)
	if err != nil {
		return nil, fmt.Errorf("table credentials: %w", err)
	}
	return u, nil
}

// newUser is what sipr user add is given.
type newUser struct {
	user, domain, uid, realm, password string
}

func userAddCommand(o *options) *cobra.Command {
	var n newUser
	var pass passwordFlags
	c := &cobra.Command{
		Use: "add USER@DOMAIN", Short: "add a user of a domain that exists", Args: args(1, 1),
		Long: "Adds a user. Stored are hashes of user, realm and password, so that a\n" +
			"user's realm and name cannot change without setting the password anew.",
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if n.user, n.domain, err = splitAddress(args[0]); err != nil {
				return err
			}
			for _, id := range []struct {
				flag, value string
				limit       int
			}{{"uid", n.uid, maxUID}, {"realm", n.realm, maxRealm}} {
				if c.Flags().Changed(id.flag) {
					if err := identifier(id.flag, id.value, id.limit); err != nil {
						return err
					}
				}
			}
			return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.userAdd(ctx, c, db, n, &pass) })
		},
	}
	pass.bind(c)
	c.Flags().StringVarP(&n.realm, "realm", "r", "", "realm of the digest, where the script names one (default: the canonical name of the domain, as in the script)")
	c.Flags().StringVar(&n.uid, "uid", "", "unique name of the user (default: user@did)")
	return c
}

func (o *options) userAdd(ctx context.Context, c *cobra.Command, db *database.DB, n newUser, pass *passwordFlags) error {
	addr := n.user + "@" + bracket(n.domain)
	did, err := didOf(ctx, db, n.domain)
	if err != nil {
		return err
	}
	// What is wrong is said before a password has to be typed.
	if row, err := findURI(ctx, db, did, n.user); err != nil {
		return err
	} else if row != nil {
		return fmt.Errorf("user %s exists already", addr)
	}
	if n.realm == "" {
		if n.realm, err = realmOf(ctx, db, did); err != nil {
			return err
		}
	}
	if n.uid == "" {
		n.uid = n.user + "@" + did
		if len(n.uid) > maxUID {
			return fmt.Errorf("the uid %s is longer than %d bytes: choose another with --uid", n.uid, maxUID)
		}
	}
	if n.password, err = pass.read(c); err != nil {
		return err
	}
	if err := db.Tx(ctx, func(tx *sqlx.Tx) error { return insertUser(ctx, tx, n, did) }); err != nil {
		return err
	}
	u, err := describe(ctx, db, n.uid)
	if err != nil {
		return err
	}
	err = o.print(c, u, func(w io.Writer) { fmt.Fprintf(w, "user %s added, realm %s\n", addr, n.realm) })
	if err != nil {
		return err
	}
	return o.tell(c, remoteCall{"auth.flush", n.user}, remoteCall{"users.flush"})
}

func insertUser(ctx context.Context, tx *sqlx.Tx, n newUser, did string) error {
	if rows, err := urisOf(ctx, tx, n.uid); err != nil {
		return err
	} else if len(rows) > 0 {
		return fmt.Errorf("the uid %s is taken: choose another with --uid", n.uid)
	}
	if err := insertURI(ctx, tx, n.uid, did, n.user, flagUser); err != nil {
		return err
	}
	return insertCredentials(ctx, tx, n.uid, did, n.user, n.realm, n.password, flagLoad)
}

func insertCredentials(ctx context.Context, tx *sqlx.Tx, uid, did, user, realm, password string, flags int) error {
	if len(realm) > maxRealm {
		return fmt.Errorf("the realm %s is longer than %d bytes: choose another with -r", realm, maxRealm)
	}
	h := hash(user, realm, password)
	_, err := tx.ExecContext(ctx, `INSERT INTO credentials (auth_username, did, realm, flags, ha1, ha1_sha256, ha1_sha512_256, uid)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, user, did, realm, flags, h.md5, h.sha256, h.sha512, uid)
	if database.IsDuplicate(err) {
		return fmt.Errorf("credentials of %s in the realm %s exist already", user, realm)
	}
	if err != nil {
		return fmt.Errorf("table credentials: %w", err)
	}
	return nil
}

func (o *options) userList(ctx context.Context, c *cobra.Command, db *database.DB, args []string) error {
	query, params := "SELECT uid FROM uri WHERE scheme = 'sip' AND "+usable, []any{}
	if len(args) > 0 {
		name, err := domainName(args[0])
		if err != nil {
			return err
		}
		did, err := didOf(ctx, db, name)
		if err != nil {
			return err
		}
		query, params = query+" AND did = ?", append(params, did)
	}
	var uids []string
	if err := db.SelectContext(ctx, &uids, query+" GROUP BY uid ORDER BY MIN(did), MIN(username)", params...); err != nil {
		return fmt.Errorf("table uri: %w", err)
	}
	users := []*userInfo{}
	for _, uid := range uids {
		u, err := describe(ctx, db, uid)
		if err != nil {
			return err
		}
		users = append(users, u)
	}
	return o.print(c, users, func(w io.Writer) {
		fmt.Fprintln(w, "ADDRESS\tUID\tREALM\tSTATE\tALIASES")
		for _, u := range users {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Address, u.UID, strings.Join(u.Realms, ","), u.state(), strings.Join(u.Aliases, ","))
		}
	})
}

func userSetCommand(o *options) *cobra.Command {
	var pass passwordFlags
	var enable, disable bool
	var realm string
	c := &cobra.Command{
		Use: "set USER@DOMAIN", Short: "change a user's password, or enable or disable the user", Args: args(1, 1),
		Long: "Changes a user's password, or enables or disables the user. A running router\n" +
			"is told. It keeps the bindings that a disabled user has; to end them, run\n\n" +
			"  sipr ctl registrar.rm USER@DOMAIN",
		RunE: func(c *cobra.Command, args []string) error {
			if enable && disable {
				return usageError("--enable and --disable exclude each other")
			}
			if c.Flags().Changed("realm") {
				if err := identifier("realm", realm, maxRealm); err != nil {
					return err
				}
			}
			return o.withDB(c, func(ctx context.Context, db *database.DB) error {
				row, err := resolveUser(ctx, db, args[0])
				if err != nil {
					return err
				}
				password := ""
				if given(c) || realm != "" || !enable && !disable {
					if password, err = pass.read(c); err != nil {
						return err
					}
				}
				err = db.Tx(ctx, func(tx *sqlx.Tx) error {
					if enable || disable {
						if err := setDisabled(ctx, tx, row.UID, disable); err != nil {
							return err
						}
					}
					if password == "" {
						return nil
					}
					return setPassword(ctx, tx, row, realm, password, disable || row.Flags&flagDisabled != 0 && !enable)
				})
				if err != nil {
					return err
				}
				u, err := describe(ctx, db, row.UID)
				if err != nil {
					return err
				}
				if err := o.print(c, u, func(w io.Writer) { fmt.Fprintf(w, "user %s changed, %s\n", u.Address, u.state()) }); err != nil {
					return err
				}
				return o.tell(c, remoteCall{"auth.flush", row.Username}, remoteCall{"users.flush"})
			})
		},
	}
	pass.bind(c)
	c.Flags().StringVarP(&realm, "realm", "r", "", "set the password in this realm only")
	c.Flags().BoolVar(&enable, "enable", false, "let the user register and call again")
	c.Flags().BoolVar(&disable, "disable", false, "keep the user, but as if it did not exist")
	return c
}

func setDisabled(ctx context.Context, tx *sqlx.Tx, uid string, disabled bool) error {
	flags := "flags & ~2"
	if disabled {
		flags = "flags | 2"
	}
	for _, table := range []string{"uri", "credentials"} {
		if _, err := tx.ExecContext(ctx, "UPDATE "+table+" SET flags = "+flags+" WHERE uid = ?", uid); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}

// setPassword sets the password of a user's credentials: of all, or of those
// of one realm, which are made if they do not exist.
func setPassword(ctx context.Context, tx *sqlx.Tx, row *uriRow, realm, password string, disabled bool) error {
	var creds []struct {
		ID       int64
		Username string `db:"auth_username"`
		Realm    string
	}
	err := tx.SelectContext(ctx, &creds, "SELECT id, auth_username, realm FROM credentials WHERE uid = ? AND (? = '' OR realm = ?)", row.UID, realm, realm)
	if err != nil {
		return fmt.Errorf("table credentials: %w", err)
	}
	for _, cred := range creds {
		h := hash(cred.Username, cred.Realm, password)
		_, err := tx.ExecContext(ctx, "UPDATE credentials SET ha1 = ?, ha1_sha256 = ?, ha1_sha512_256 = ? WHERE id = ?", h.md5, h.sha256, h.sha512, cred.ID)
		if err != nil {
			return fmt.Errorf("table credentials: %w", err)
		}
	}
	if len(creds) > 0 {
		return nil
	}
	if realm == "" {
		if realm, err = realmOf(ctx, tx, row.DID); err != nil {
			return err
		}
	}
	flags := flagLoad
	if disabled {
		flags |= flagDisabled
	}
	return insertCredentials(ctx, tx, row.UID, row.DID, row.Username, realm, password, flags)
}

func (o *options) userRemove(ctx context.Context, c *cobra.Command, db *database.DB, addr string) error {
	row, err := resolveUser(ctx, db, addr)
	if err != nil {
		return err
	}
	location, err := db.HasTable(ctx, "location")
	if err != nil {
		return err
	}
	tables := []string{"uri", "credentials"}
	if attrs, err := db.HasTable(ctx, "user_attrs"); err != nil {
		return err
	} else if attrs {
		tables = append(tables, "user_attrs")
	}
	err = db.Tx(ctx, func(tx *sqlx.Tx) error {
		if location {
			if err := removeBindings(ctx, tx, row.UID); err != nil {
				return err
			}
		}
		for _, table := range tables {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE uid = ?", row.UID); err != nil {
				return fmt.Errorf("table %s: %w", table, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := o.print(c, map[string]string{"removed": addr}, func(w io.Writer) { fmt.Fprintf(w, "user %s removed\n", addr) }); err != nil {
		return err
	}
	// In this order the phone cannot register in between.
	return o.tell(c, remoteCall{"auth.flush", row.Username}, remoteCall{"users.flush"}, remoteCall{"attrs.flush", row.UID},
		remoteCall{"registrar.rm", strings.TrimPrefix(addr, "sip:")})
}

func removeBindings(ctx context.Context, tx *sqlx.Tx, uid string) error {
	rows, err := urisOf(ctx, tx, uid)
	for _, r := range rows {
		_, e := tx.ExecContext(ctx, "DELETE FROM location WHERE did = ? AND username = ?", r.DID, r.Username)
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("table location: %w", err)
	}
	return nil
}
