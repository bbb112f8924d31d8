package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

func checkCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Check the settings and the script", Args: args(0, 0),
		Long: "Check the settings and the routing script without opening, writing or sending anything. The exit code is 4 if something is wrong.",
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := o.newEngine(slog.New(slog.NewTextHandler(io.Discard, nil)), nil); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is correct\n", o.file)
			return nil
		},
	}
}
