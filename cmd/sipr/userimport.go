package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"sipr/core/database"
)

func userImportCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "add many users, one a line: USER@DOMAIN PASSWORD", Args: args(1, 1),
		Long: "Adds many users from a file, or from standard input if FILE is -. A line is an\n" +
			"address, white space and the password, which is the rest of the line; empty\n" +
			"lines and lines that start with # are skipped. All are added, or none.",
		RunE: func(c *cobra.Command, args []string) error {
			var in io.Reader = c.InOrStdin()
			name := "standard input"
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in, name = f, args[0]
			}
			return o.withDB(c, func(ctx context.Context, db *database.DB) error { return o.userImport(ctx, c, db, in, name) })
		},
	}
}

func (o *options) userImport(ctx context.Context, c *cobra.Command, db *database.DB, in io.Reader, name string) error {
	n := 0
	err := db.Tx(ctx, func(tx *sqlx.Tx) error {
		lines := bufio.NewScanner(in)
		for line := 1; lines.Scan(); line++ {
			text := strings.TrimSpace(lines.Text())
			if text == "" || text[0] == '#' {
				continue
			}
			if err := importLine(ctx, tx, text); err != nil {
				return fmt.Errorf("%s:%d: %w", name, line, err)
			}
			n++
		}
		return lines.Err()
	})
	if err != nil {
		return err
	}
	if err := o.print(c, map[string]int{"added": n}, func(w io.Writer) { fmt.Fprintf(w, "%d users added\n", n) }); err != nil {
		return err
	}
	return o.tell(c, remoteCall{"auth.flush"}, remoteCall{"users.flush"})
}

func importLine(ctx context.Context, tx *sqlx.Tx, text string) error {
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return fmt.Errorf("there is no password; USER@DOMAIN PASSWORD is expected")
	}
	var n newUser
	var err error
	if n.user, n.domain, err = splitAddress(text[:i]); err != nil {
		return err
	}
	n.password = strings.TrimLeft(text[i:], " \t")
	did, err := didOf(ctx, tx, n.domain)
	if err != nil {
		return err
	}
	if row, err := findURI(ctx, tx, did, n.user); err != nil {
		return err
	} else if row != nil {
		return fmt.Errorf("user %s exists already", text[:i])
	}
	if n.realm, err = realmOf(ctx, tx, did); err != nil {
		return err
	}
	n.uid = n.user + "@" + did
	if len(n.uid) > maxUID {
		return fmt.Errorf("the uid %s is longer than %d bytes", n.uid, maxUID)
	}
	return insertUser(ctx, tx, n, did)
}
