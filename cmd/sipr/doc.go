package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sipr/core"
	"sipr/core/engine"
	"sipr/lua"
	"sipr/modules"
)

// specs returns what every module says of itself, core first.
func specs() []core.Spec {
	list := []core.Spec{engine.CoreSpec()}
	for _, f := range modules.All() {
		list = append(list, f().Describe())
	}
	return list
}

func docCommand() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use: "doc [NAME]", Short: "Print the reference of a module, function, parameter or command", Args: args(0, 1),
		Long: `Prints the reference of a module, or of a function of the script, a parameter or
a management command, with or without the name of its module in front. Without
NAME it lists the modules.`,
		Example: "  sipr doc domain\n  sipr doc lookup_domain\n  sipr doc core.db_url",
		RunE: func(c *cobra.Command, args []string) error {
			if dir != "" {
				return writeMarkdown(dir, specs())
			}
			if len(args) == 0 {
				listModules(c.OutOrStdout(), specs())
				return nil
			}
			return printDoc(c.OutOrStdout(), specs(), args[0])
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return docNames(specs()), cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&dir, "markdown", "", "write a page for each module, and an index, into this folder")
	return c
}

// docNames returns what sipr doc can be asked for, without names of modules in
// front.
func docNames(list []core.Spec) []string {
	var names []string
	for _, s := range list {
		names = append(append(names, s.Name), s.Also...)
		for _, e := range s.Exports {
			names = append(names, e.Name)
		}
		for _, p := range s.Params {
			names = append(names, p.Name)
		}
		for _, x := range s.Commands {
			names = append(names, x.FullName(s.Name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func listModules(w io.Writer, list []core.Spec) {
	for _, s := range list {
		fmt.Fprintf(w, "%-12s %s\n", s.Name, s.Summary)
	}
}

// printDoc prints all that has a name.
func printDoc(w io.Writer, list []core.Spec, name string) error {
	found := false
	for _, s := range list {
		if s.Name == name || slices.Contains(s.Also, name) {
			printModule(w, s)
			return nil
		}
	}
	for _, s := range list {
		is := func(n string) bool { return n == name || s.Name+"."+n == name }
		for _, e := range s.Exports {
			if is(e.Name) {
				found = true
				printExport(w, s.Name, e)
			}
		}
		for _, p := range s.Params {
			if is(p.Name) {
				found = true
				printParam(w, s.Name, p)
			}
		}
		for _, x := range s.Commands {
			if is(x.Name) || name == x.FullName(s.Name) {
				found = true
				printCommand(w, s.Name, x)
			}
		}
	}
	if !found {
		return usageError("there is no module, function, parameter or command %s%s", name, lua.Suggest(name, docNames(list)))
	}
	return nil
}

func printModule(w io.Writer, s core.Spec) {
	fmt.Fprintf(w, "module %s: %s\n", s.Name, s.Summary)
	for _, line := range []struct {
		label string
		names []string
	}{{"also loaded as", s.Also}, {"needs", s.Needs}, {"uses, if loaded", s.Wants}} {
		if len(line.names) > 0 {
			fmt.Fprintf(w, "%s: %s\n", line.label, strings.Join(line.names, ", "))
		}
	}
	for _, p := range s.Params {
		fmt.Fprintln(w)
		printParam(w, s.Name, p)
	}
	for _, e := range s.Exports {
		fmt.Fprintln(w)
		printExport(w, s.Name, e)
	}
	for _, x := range s.Commands {
		fmt.Fprintln(w)
		printCommand(w, s.Name, x)
	}
}

func printParam(w io.Writer, module string, p core.Param) {
	fmt.Fprintf(w, "modparam(%q, %q, …)   %s", module, p.Name, p.Type)
	if p.Default != "" {
		fmt.Fprintf(w, ", default %s", p.Default)
	}
	if p.Live {
		fmt.Fprint(w, ", cfg.set changes it")
	}
	fmt.Fprintf(w, "\n    %s\n", p.Doc)
}

func printExport(w io.Writer, module string, e core.Export) {
	fmt.Fprintf(w, "%s   function of module %s; in %s\n    %s\n", signature(e), module, routeKinds(e.Routes), e.Doc)
	for _, a := range e.Args {
		fmt.Fprintf(w, "    %-12s %s: %s\n", a.Name, argKind(a.Kind), a.Doc)
	}
}

func printCommand(w io.Writer, module string, x core.Command) {
	fmt.Fprintf(w, "sipr ctl %s\n    %s\n", strings.TrimSpace(x.FullName(module)+" "+x.Args), x.Doc)
}

// signature is how an export is called: name(a, [b]).
func signature(e core.Export) string {
	var names []string
	for _, a := range e.Args {
		if a.Optional {
			names = append(names, "["+a.Name+"]")
		} else {
			names = append(names, a.Name)
		}
	}
	return e.Name + "(" + strings.Join(names, ", ") + ")"
}

func routeKinds(k core.RouteKind) string {
	if k&core.AnyRoute == core.AnyRoute {
		return "any route"
	}
	var names []string
	for _, r := range []struct {
		kind core.RouteKind
		name string
	}{{core.RequestRoute, "request"}, {core.FailureRoute, "failure"}, {core.BranchRoute, "branch"}, {core.ReplyRoute, "reply"}} {
		if k&r.kind != 0 {
			names = append(names, r.name)
		}
	}
	if len(names) == 1 {
		return names[0] + " route"
	}
	return strings.Join(names, ", ") + " routes"
}

func argKind(k core.ArgKind) string {
	switch k {
	case core.ArgText:
		return "text, select or attribute"
	case core.ArgString:
		return "text"
	case core.ArgInt:
		return "number"
	case core.ArgBool:
		return "boolean"
	case core.ArgRoute:
		return "name of a route function"
	case core.ArgAttr:
		return "name of an attribute or group"
	}
	return "value"
}
