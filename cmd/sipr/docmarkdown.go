package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sipr/core"
	"sipr/core/database"
	"sipr/modules"
)

// generated is the first line of every page that is made.
const generated = "<!-- Made from the source by make generate; changes here are lost. -->\n\n"

// writeMarkdown writes the pages of the modules into dir and removes pages of
// modules that are gone.
func writeMarkdown(dir string, list []core.Spec) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := markdownPages(list)
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if _, ok := pages[filepath.Base(file)]; ok {
			continue
		}
		// Only what was made here goes.
		if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), generated) {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// markdownPages returns the pages by file name.
func markdownPages(list []core.Spec) map[string]string {
	pages := map[string]string{"README.md": markdownIndex(list)}
	schema := map[string]database.Migrations{}
	for _, m := range modules.Migrations() {
		schema[m.Module] = m
	}
	for _, s := range list {
		var b strings.Builder
		b.WriteString(generated)
		markdownModule(&b, s)
		if m, ok := schema[s.Name]; ok {
			markdownSchema(&b, m)
		}
		pages[s.Name+".md"] = b.String()
	}
	return pages
}

func markdownIndex(list []core.Spec) string {
	var b strings.Builder
	b.WriteString(generated + "# Modules\n\n| module | what it is for | takes the place of |\n|---|---|---|\n")
	for _, s := range list {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s |\n", s.Name, s.Name, cell(s.Summary), code(s.Also))
	}
	b.WriteString("\n`sipr doc NAME` prints the same at a terminal, `sipr stubs` writes the functions for an editor.\n\n## Functions\n\n")
	b.WriteString("| function | module |\n|---|---|\n")
	for _, s := range list {
		for _, e := range s.Exports {
			fmt.Fprintf(&b, "| [`%s`](%s.md#%s) | %s |\n", signature(e), s.Name, e.Name, s.Name)
		}
	}
	return b.String()
}

func markdownModule(b *strings.Builder, s core.Spec) {
	fmt.Fprintf(b, "# %s\n\n%s\n", s.Name, s.Summary)
	if s.Name == "core" {
		b.WriteString("\nIt is always there and needs no `loadmodule`.\n")
	}
	for _, line := range []struct {
		label string
		names []string
	}{{"Settings may also call it", s.Also}, {"Needs", s.Needs}, {"Uses, where they are loaded,", s.Wants}} {
		if len(line.names) > 0 {
			fmt.Fprintf(b, "\n%s %s.\n", line.label, code(line.names))
		}
	}
	if len(s.Params) > 0 {
		b.WriteString("\n## Parameters\n\n| parameter | type | default | meaning |\n|---|---|---|---|\n")
		for _, p := range s.Params {
			def := ""
			if p.Default != "" {
				def = "`" + strings.ReplaceAll(p.Default, "|", `\|`) + "`"
			}
			live := ""
			if p.Live {
				live = "; `cfg.set` changes it while the router runs"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s | %s%s |\n", p.Name, p.Type, def, cell(p.Doc), live)
		}
	}
	if len(s.Exports) > 0 {
		b.WriteString("\n## Functions\n")
		for _, e := range s.Exports {
			markdownExport(b, e)
		}
	}
	if len(s.Commands) > 0 {
		b.WriteString("\n## Commands\n\n| command | meaning |\n|---|---|\n")
		for _, x := range s.Commands {
			usage := strings.TrimSpace(x.FullName(s.Name) + " " + x.Args)
			fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(usage, "|", `\|`), cell(x.Doc))
		}
	}
}

func markdownExport(b *strings.Builder, e core.Export) {
	fmt.Fprintf(b, "\n### %s\n\n`%s` — %s\n\nAllowed in: %s.\n", e.Name, signature(e), cell(e.Doc), routeKinds(e.Routes))
	if len(e.Args) == 0 {
		return
	}
	b.WriteString("\n| argument | kind | meaning |\n|---|---|---|\n")
	for _, a := range e.Args {
		name := "`" + a.Name + "`"
		if a.Optional {
			name += " (optional)"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, argKind(a.Kind), cell(a.Doc))
	}
}

// markdownSchema shows the tables as SQLite has them.
func markdownSchema(b *strings.Builder, m database.Migrations) {
	files, _ := fs.Glob(m.FS, "migrations/*.sql")
	b.WriteString("\n## Tables\n\nAs made on SQLite; `sipr db init` makes them on MySQL too.\n")
	for _, file := range files {
		if strings.HasSuffix(file, ".mysql.sql") {
			continue
		}
		text, err := fs.ReadFile(m.FS, file)
		if err != nil {
			continue
		}
		fmt.Fprintf(b, "\n`%s`\n\n```sql\n%s\n```\n", filepath.Base(file), strings.TrimSpace(string(text)))
	}
}

// cell makes text fit for a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "\n", " ").Replace(s)
}

func code(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "`" + strings.Join(names, "`, `") + "`"
}
