package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sipr/core"
)

// stubsHead declares what does not come from modules: selects, attributes and
// the library.
//
//go:embed stubs.lua
var stubsHead string

func stubsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stubs", Short: "Print declarations of the script's functions for editors (LuaLS)", Args: args(0, 0),
		Long: `Prints declarations of every function, select and attribute of the script for the
Lua language server, with which editors complete names and show their meaning.`,
		Example: "  sipr stubs > etc/.stubs.lua",
		Run:     func(c *cobra.Command, _ []string) { writeStubs(c.OutOrStdout(), specs()) },
	}
}

func writeStubs(w io.Writer, list []core.Spec) {
	fmt.Fprint(w, stubsHead)
	for _, s := range list {
		for _, e := range s.Exports {
			stub(w, e)
		}
	}
	for _, s := range list {
		if len(s.Exports) == 0 {
			continue
		}
		// A name that is a select too is declared in stubs.lua.
		fmt.Fprintf(w, "\n---%s\n---@class sipr.%s\n", s.Summary, s.Name)
		for _, e := range s.Exports {
			fmt.Fprintf(w, "---@field %s fun(%s): boolean, string?\n", e.Name, stubFields(e))
		}
		if s.Name != "auth" {
			fmt.Fprintf(w, "%s = {}\n", s.Name)
		}
	}
}

// stub declares one export as a global function.
func stub(w io.Writer, e core.Export) {
	fmt.Fprintf(w, "\n---%s\n---\n---Allowed in: %s.\n", oneLine(e.Doc), routeKinds(e.Routes))
	var names []string
	for _, a := range e.Args {
		opt := ""
		if a.Optional {
			opt = "?"
		}
		fmt.Fprintf(w, "---@param %s%s %s %s\n", luaName(a.Name), opt, stubType(a.Kind), oneLine(a.Doc))
		names = append(names, luaName(a.Name))
	}
	fmt.Fprintf(w, "---@return boolean ok\n---@return string? why\nfunction %s(%s) end\n", e.Name, strings.Join(names, ", "))
}

func stubFields(e core.Export) string {
	var fields []string
	for _, a := range e.Args {
		name := luaName(a.Name)
		if a.Optional {
			name += "?"
		}
		fields = append(fields, name+": "+stubType(a.Kind))
	}
	return strings.Join(fields, ", ")
}

func stubType(k core.ArgKind) string {
	switch k {
	case core.ArgText:
		return "sipr.text"
	case core.ArgString:
		return "string|number"
	case core.ArgInt:
		return "integer|string"
	case core.ArgBool:
		return "boolean"
	}
	return "string"
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// luaName makes a name of an argument fit for Lua, where some are keywords.
func luaName(s string) string {
	if slices.Contains([]string{"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
		"local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"}, s) {
		return s + "_"
	}
	return s
}
