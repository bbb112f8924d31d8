package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sipr/core"
	"sipr/core/control"
)

// tellTimeout bounds how long a router may take to read its data anew.
const tellTimeout = 30 * time.Second

// remoteCall is a command for a running router, with its parameters.
type remoteCall []any

// tell has a running router take over what was changed in the database, and
// says on standard error how that went. That there is no router is no error;
// that it kept its old data is.
func (o *options) tell(c *cobra.Command, calls ...remoteCall) error {
	if o.quiet {
		return nil
	}
	path := defaultSocket(o)
	note := func(format string, args ...any) error {
		_, err := fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...)
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), tellTimeout)
	defer cancel()
	client, err := control.Dial(ctx, path)
	if err != nil {
		if _, ok := errors.AsType[*control.ConnectError](err); ok {
			return note("no router was told (%v); a running one needs: sipr ctl %s", err, calls[0][0])
		}
		return &exitError{exitTimeout, fmt.Errorf("%s: %w", path, err)}
	}
	defer client.Close()
	for _, call := range calls {
		_, err := client.Call(ctx, call[0].(string), call[1:])
		if fault, ok := errors.AsType[*core.Fault](err); ok {
			if harmless(call, fault) {
				continue
			}
			return fmt.Errorf("it is stored, but the router at %s did not take it over: %s: %d - %s", path, call[0], fault.Code, fault.Reason)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return &exitError{exitTimeout, fmt.Errorf("it is stored, but the router at %s did not answer within %s", path, tellTimeout)}
		}
		if err != nil {
			return &exitError{exitConnect, fmt.Errorf("it is stored, but the router at %s was not told: %w", path, err)}
		}
	}
	return note("the router at %s was told", path)
}

// harmless tells whether a fault means that the router had nothing to do: it has
// no such module, keeps no cache (200), or knows of no such thing (404).
func harmless(call remoteCall, fault *core.Fault) bool {
	return fault.Code == 200 || fault.Code == 404 || fault.Reason == fmt.Sprintf("command %s not found", call[0])
}

// telling adds the flag that keeps a group of commands from calling the router.
func (o *options) telling(c *cobra.Command) *cobra.Command {
	c.PersistentFlags().BoolVar(&o.quiet, "no-reload", false, "do not tell a running router, such as before more changes")
	return c
}
