package lua

import (
	"fmt"
	"sort"
	"strings"

	"sipr/core"
)

// Binding is what a script may call: the exports of the loaded modules.
type Binding struct {
	funcs   map[string]*core.Export // by name, and by "module.name"
	modules map[string]bool
	// Shared is the data that scripts share; nil for none.
	Shared *Shared
	// Log receives what print prints.
	Log func(line string)
}

// NewBinding returns an empty binding.
func NewBinding() *Binding {
	return &Binding{funcs: map[string]*core.Export{}, modules: map[string]bool{}, Log: func(string) {}}
}

// Add makes a module's exports callable, under their own names and as fields
// of the module. A name that another module has taken is an error.
func (b *Binding) Add(module string, exports []core.Export) error {
	b.modules[module] = true
	for i := range exports {
		e := &exports[i]
		if _, taken := b.funcs[e.Name]; taken {
			return fmt.Errorf("module %s exports %s, which another module exports already", module, e.Name)
		}
		if len(e.Args) > core.MaxArgs {
			return fmt.Errorf("module %s: export %s has more than %d arguments", module, e.Name, core.MaxArgs)
		}
		b.funcs[e.Name] = e
		b.funcs[module+"."+e.Name] = e
	}
	return nil
}

// nearest returns the known name that is most like name, or "".
func nearest(name string, known []string) string {
	best, dist := "", len(name)/2+1
	sort.Strings(known)
	for _, k := range known {
		if d := distance(name, k); d < dist {
			best, dist = k, d
		}
	}
	return best
}

// Suggest returns " (did you mean X?)" or "".
func Suggest(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf(" (did you mean %s?)", n)
	}
	return ""
}

// distance is the edit distance of two names.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur := make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
		}
		prev = cur
	}
	return prev[len(b)]
}
