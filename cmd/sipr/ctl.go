package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sipr/core"
	"sipr/core/control"
)

// completionTimeout bounds how long a press of the tab key may hang.
const completionTimeout = time.Second

// ctlOptions are the flags of sipr ctl.
type ctlOptions struct {
	shared  *options
	socket  string
	output  string
	timeout time.Duration
}

// defaultSocket returns the path of the router's control socket: the one of
// the settings, beside which relative names lie.
func defaultSocket(o *options) string {
	path, err := o.setting("ctl_socket")
	if err != nil || path == "" {
		path = "sipr.sock"
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(o.file), path)
}

// ctlCommand is sipr ctl: it calls a management command of a running router.
func ctlCommand(o *options) *cobra.Command {
	x := &ctlOptions{shared: o}
	c := &cobra.Command{
		Use:   "ctl [flags] [COMMAND [ARG...]]",
		Short: "call a management command of a running router",
		Long: `Calls a management command of a running router and prints its answer. Without
COMMAND it lists the commands and what they do.

An ARG that is a decimal number is passed as a number, any other as text; s:1 is
the text "1". Flags go before COMMAND, since an ARG may begin with a dash.

Exit codes: 0 done, 1 refused by the command, 2 wrong usage, 3 cannot connect,
5 no answer in time.`,
		Example: `  sipr ctl domain.dump
  sipr ctl -o table registrar.dump
  sipr ctl -s /run/sipr/sipr.sock cfg.set tm fr_timer 5000`,
		Args:              cobra.ArbitraryArgs,
		RunE:              x.run,
		ValidArgsFunction: x.complete,
		// The flags that fill the usage line are named in Use.
		DisableFlagsInUseLine: true,
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVarP(&x.socket, "socket", "s", "", "control socket of the router, instead of the one in the settings")
	c.Flags().StringVarP(&x.output, "output", "o", "text", "text, json or table")
	c.Flags().DurationVar(&x.timeout, "timeout", 10*time.Second, "how long to wait for the answer")
	c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json", "table"}, cobra.ShellCompDirectiveNoFileComp))
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%s: %w", c.CommandPath(), err)
	})
	return c
}

func (x *ctlOptions) run(c *cobra.Command, args []string) error {
	if x.output != "text" && x.output != "json" && x.output != "table" {
		return usageError("-o %s: text, json or table is expected", x.output)
	}
	if x.timeout <= 0 {
		return usageError("--timeout %s: must be longer than 0", x.timeout)
	}
	ctx, cancel := context.WithTimeout(c.Context(), x.timeout)
	defer cancel()
	if len(args) == 0 {
		return x.list(ctx, c.OutOrStdout())
	}
	result, err := x.call(ctx, args[0], ctlParams(args[1:]))
	if err != nil {
		return x.explain(err)
	}
	text, err := x.format(result)
	if err != nil {
		return fmt.Errorf("%s: answer: %w", args[0], err)
	}
	_, err = fmt.Fprint(c.OutOrStdout(), text)
	return err
}

func (x *ctlOptions) format(result json.RawMessage) (string, error) {
	switch x.output {
	case "table":
		return formatTable(result)
	case "json":
		var b bytes.Buffer
		if err := json.Indent(&b, result, "", "  "); err != nil {
			return "", err
		}
		return b.String() + "\n", nil
	}
	return control.FormatText(result), nil
}

// commandInfo is a command as sipr ctl without one lists it.
type commandInfo struct {
	Usage string `json:"usage"` // name and parameters
	Doc   string `json:"doc"`
}

// list prints all commands with what they do.
func (x *ctlOptions) list(ctx context.Context, w io.Writer) error {
	list, err := x.commands(ctx)
	if err != nil {
		return x.explain(err)
	}
	if x.output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(list)
	}
	for _, i := range list {
		fmt.Fprintf(w, "%s\n    %s\n", i.Usage, i.Doc)
	}
	return nil
}

// commands asks the router for its commands and their help.
func (x *ctlOptions) commands(ctx context.Context) ([]commandInfo, error) {
	client, err := control.Dial(ctx, x.path())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	result, err := client.Call(ctx, "system.listMethods", nil)
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(result, &names); err != nil {
		return nil, fmt.Errorf("system.listMethods: answer: %w", err)
	}
	list := []commandInfo{}
	for _, name := range names {
		result, err := client.Call(ctx, "system.methodHelp", []any{name})
		if err != nil {
			return nil, err
		}
		var help string
		if err := json.Unmarshal(result, &help); err != nil {
			return nil, fmt.Errorf("system.methodHelp %s: answer: %w", name, err)
		}
		usage, doc, _ := strings.Cut(help, "\n")
		list = append(list, commandInfo{usage, doc})
	}
	return list, nil
}

func (x *ctlOptions) path() string {
	if x.socket != "" {
		return x.socket
	}
	return defaultSocket(x.shared)
}

func (x *ctlOptions) call(ctx context.Context, method string, params []any) (json.RawMessage, error) {
	client, err := control.Dial(ctx, x.path())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Call(ctx, method, params)
}

// explain gives an error its exit code and the words that help.
func (x *ctlOptions) explain(err error) error {
	if fault, ok := errors.AsType[*core.Fault](err); ok {
		return &exitError{exitFault, fmt.Errorf("error: %d - %s", fault.Code, fault.Reason)}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &exitError{exitTimeout, fmt.Errorf("%s: no answer within %s; --timeout allows more", x.path(), x.timeout)}
	}
	if _, ok := errors.AsType[*control.ConnectError](err); ok {
		return &exitError{exitConnect, fmt.Errorf("%w; start the router with \"sipr run\", or name its socket with -s", err)}
	}
	return &exitError{exitConnect, fmt.Errorf("%s: %w", x.path(), err)}
}

// complete offers the commands of the running router, with what they do; none
// if there is no router.
func (x *ctlOptions) complete(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	parent := c.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTimeout)
	defer cancel()
	list, err := x.commands(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	for _, i := range list {
		if name, _, _ := strings.Cut(i.Usage, " "); strings.HasPrefix(name, prefix) {
			found = append(found, cobra.CompletionWithDesc(name, i.Doc))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// ctlParams turns arguments into parameters. Only what a number prints as is
// taken for one: 0049 and 1.10 stay text.
func ctlParams(args []string) []any {
	params := make([]any, len(args))
	for i, arg := range args {
		params[i] = ctlParam(arg)
	}
	return params
}

func ctlParam(arg string) any {
	if text, ok := strings.CutPrefix(arg, "s:"); ok {
		return text
	}
	if n, err := strconv.ParseInt(arg, 10, 64); err == nil && strconv.FormatInt(n, 10) == arg {
		return n
	}
	if f, err := strconv.ParseFloat(arg, 64); err == nil && strings.Contains(arg, ".") &&
		strconv.FormatFloat(f, 'f', -1, 64) == arg {
		return f
	}
	return arg
}
