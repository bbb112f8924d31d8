package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sipr/core/database"
)

// The codes that the binary exits with.
const (
	exitFault    = 1
	exitUsage    = 2
	exitConnect  = 3
	exitSettings = 4
	exitTimeout  = 5 // a router that takes too long to answer
)

// exitError is an error with the code that the binary exits with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exitCode returns the code for an error of a subcommand.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFault
}

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// connectError tells a database that does not answer from one whose URL makes
// no sense.
func connectError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*database.URLError](err); ok {
		return &exitError{exitSettings, err}
	}
	return &exitError{exitConnect, err}
}

// format is the flag -o.
type format string

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

func (f *format) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("text or json is expected")
	}
	*f = format(s)
	return nil
}

// group is a command that has subcommands, which print as text or JSON.
func (o *options) group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("%s has no subcommand %q; see %s --help", c.CommandPath(), args[0], c.CommandPath())
			}
			return usageError("%s: a subcommand is expected; see %s --help", c.CommandPath(), c.CommandPath())
		},
	}
	o.output = "text"
	c.PersistentFlags().VarP((*format)(&o.output), "output", "o", "text or json")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%s: %w", c.CommandPath(), err)
	})
	c.AddCommand(subs...)
	return c
}

// args is cobra.RangeArgs with an error that shows the usage.
func args(lo, hi int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < lo || len(args) > hi {
			return usageError("usage: %s", c.UseLine())
		}
		return nil
	}
}

// withDB runs f on the database, whose schema is the one of this sipr.
func (o *options) withDB(c *cobra.Command, f func(context.Context, *database.DB) error) error {
	ctx := c.Context()
	db, err := o.database(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, m := range o.schema {
		if err := db.RequireSchema(ctx, m); err != nil {
			return err
		}
	}
	return f(ctx, db)
}

// print writes v as JSON, or what text writes.
func (o *options) print(c *cobra.Command, v any, text func(io.Writer)) error {
	if o.output == "json" {
		e := json.NewEncoder(c.OutOrStdout())
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	text(w)
	return w.Flush()
}
