// Command sipr is a scriptable SIP router: proxy, registrar and redirect
// server.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sipr/modules"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(exitCode(err))
}

func rootCommand() *cobra.Command {
	o := &options{schema: modules.Migrations()}
	root := &cobra.Command{
		Use: "sipr", Short: "A scriptable SIP router",
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("sipr has no command %q; see sipr --help", args[0])
			}
			return usageError("a command is expected, such as sipr run; see sipr --help")
		},
	}
	o.flags(root)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%s: %w", c.CommandPath(), err)
	})
	root.AddCommand(
		runCommand(o), checkCommand(o), ctlCommand(o), dbCommand(o),
		userCommand(o), domainCommand(o), aliasCommand(o), docCommand(), stubsCommand(), versionCommand(),
	)
	return root
}
