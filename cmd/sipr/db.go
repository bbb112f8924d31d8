package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"sipr/core/database"
)

// dbCommand is sipr db: the schema of the database.
func dbCommand(o *options) *cobra.Command {
	return o.group("db", "make and update the tables of the database",
		&cobra.Command{
			Use: "init", Short: "make the database and its tables; what exists stays as it is", Args: args(0, 0),
			RunE: func(c *cobra.Command, _ []string) error {
				url, dir, err := o.databaseURL()
				if err != nil {
					return err
				}
				if err := database.Create(c.Context(), url, dir); err != nil {
					return connectError(err)
				}
				return o.migrate(c)
			},
		},
		&cobra.Command{
			Use: "migrate", Short: "bring the tables to the version that this sipr needs", Args: args(0, 0),
			RunE: func(c *cobra.Command, _ []string) error { return o.migrate(c) },
		},
		&cobra.Command{
			Use: "status", Short: "show which steps were applied; fails if one is missing", Args: args(0, 0),
			RunE: func(c *cobra.Command, _ []string) error { return o.status(c) },
		},
	)
}

func (o *options) migrate(c *cobra.Command) error {
	db, err := o.database(c.Context())
	if err != nil {
		return err
	}
	defer db.Close()
	applied, err := database.Migrate(c.Context(), db, o.schema...)
	if err != nil {
		for _, s := range applied {
			fmt.Fprintln(c.ErrOrStderr(), "applied", s)
		}
		return err
	}
	if applied == nil {
		applied = []string{} // JSON's [] rather than null
	}
	return o.print(c, map[string]any{"database": db.Name, "applied": applied}, func(w io.Writer) {
		for _, s := range applied {
			fmt.Fprintln(w, "applied", s)
		}
		fmt.Fprintf(w, "%s is up to date\n", db.Name)
	})
}

// stepState is a database.State as it is printed.
type stepState struct {
	Module  string     `json:"module"`
	Version int        `json:"version"`
	File    string     `json:"file,omitempty"`
	Applied *time.Time `json:"applied"`
}

func (o *options) status(c *cobra.Command) error {
	db, err := o.database(c.Context())
	if err != nil {
		return err
	}
	defer db.Close()
	states, err := database.Status(c.Context(), db, o.schema...)
	if err != nil {
		return err
	}
	out, missing, newer := []stepState{}, 0, 0
	for _, s := range states {
		step := stepState{Module: s.Module, Version: s.Version, File: s.Name}
		if s.Applied.IsZero() {
			missing++
		} else {
			step.Applied = &s.Applied
		}
		if s.Name == "" {
			newer++
		}
		out = append(out, step)
	}
	err = o.print(c, out, func(w io.Writer) {
		fmt.Fprintln(w, "MODULE\tVERSION\tFILE\tAPPLIED")
		for _, s := range out {
			applied, file := "missing", s.File
			if s.Applied != nil {
				applied = s.Applied.UTC().Format(time.DateTime)
			}
			if file == "" {
				file = "(of a newer sipr)"
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", s.Module, s.Version, file, applied)
		}
	})
	switch {
	case err != nil:
		return err
	case newer > 0:
		return fmt.Errorf("database %s was made by a newer sipr: use that", db.Name)
	case missing > 0:
		return fmt.Errorf("database %s lacks %d of %d steps: run sipr db migrate", db.Name, missing, len(states))
	}
	return nil
}
