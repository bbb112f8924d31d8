package engine

import (
	"context"
	"slices"
	"strings"

	"sipr/core"
)

func (m *coreModule) statsCommands() []core.Command {
	which := "[all|group:|group.name …]"
	return []core.Command{
		{Name: "stats", Args: "[prefix]", Doc: "Statistics whose name begins with a text.", Run: m.cmdStats},
		{Name: "stats.get", Args: which, Doc: "Shows statistics: all of them, those of a group, which is a module's name, or single ones.", Run: m.cmdStatsGet},
		{Name: "stats.fetch", Args: which, Doc: "stats.get under Kamailio's name.", Run: m.cmdStatsGet},
		{Name: "stats.get_statistics", Args: which, Doc: "stats.get with a line of text for each, as Kamailio's.", Run: m.cmdStatsText},
		{Name: "stats.reset_statistics", Args: "all|group:|group.name …", Doc: "Lets counters begin at 0 again; levels, such as the transactions at present, stay.", Run: m.cmdStatsReset},
		{Name: "stats.clear_statistics", Args: "all|group:|group.name …", Doc: "stats.get_statistics, then stats.reset_statistics.", Run: m.cmdStatsClear},
	}
}

// statistic is a counter at one moment. Its name is "module.name".
type statistic struct {
	name    string
	value   int64
	counter *core.Counter // nil for what is computed
}

// statistics returns all of them by name.
func (e *Engine) statistics() []statistic {
	var list []statistic
	e.mu.Lock()
	for n, c := range e.counters {
		list = append(list, statistic{n, c.Load(), c})
	}
	e.mu.Unlock()
	alive, old := e.scripts.levels()
	list = append(list, statistic{"core.script_generations", alive, nil}, statistic{"core.script_old_transactions", old, nil})
	if t := e.transport; t != nil {
		for n, c := range map[string]*core.Counter{"received": &t.Stats.Received, "sent": &t.Stats.Sent, "send_errors": &t.Stats.SendErrors,
			"connections": t.Stats.ConnsOpen.Level(), "connections_refused": &t.Stats.ConnsRefused, "queue_full": &t.Stats.QueueFull,
			"handshakes_failed": &t.Stats.HandshakesFailed, "connects_failed": &t.Stats.ConnectsFailed} {
			list = append(list, statistic{"transport." + n, c.Load(), c})
		}
	}
	slices.SortFunc(list, func(a, b statistic) int { return strings.Compare(a.name, b.name) })
	return list
}

// selected returns the statistics that a command's parameters name, each once.
func (e *Engine) selected(c *core.Call) ([]statistic, error) {
	all := e.statistics()
	keep := make([]bool, len(all))
	for i := range max(1, len(c.Params)) {
		want := c.String(i)
		if want == "" && i == 0 {
			want = "all"
		}
		found := false
		for j := range all {
			if all[j].is(want) {
				keep[j], found = true, true
			}
		}
		if !found {
			return nil, &core.Fault{Code: 404, Reason: "there are no statistics " + want}
		}
	}
	out := all[:0]
	for j := range all {
		if keep[j] {
			out = append(out, all[j])
		}
	}
	return out, nil
}

// is tells whether a selector means s: all, a group with a colon or a dot after
// it, the full name, or the name after the group.
func (s *statistic) is(want string) bool {
	group, name, _ := strings.Cut(s.name, ".")
	if want == "all" || want == name || want == s.name {
		return true
	}
	wantGroup, wantName, ok := strings.Cut(want, ":")
	if !ok {
		wantGroup, wantName, ok = strings.Cut(want, ".")
	}
	return ok && wantGroup == group && (wantName == "" || wantName == name)
}

func addStatistics(c *core.Call, list []statistic) {
	s := c.Struct()
	for i := range list {
		s.Add(list[i].name, list[i].value)
	}
}

// cmdStats is stats.get by prefix; no prefix fails.
func (m *coreModule) cmdStats(_ context.Context, c *core.Call) error {
	prefix := c.String(0)
	addStatistics(c, slices.DeleteFunc(m.e.statistics(), func(s statistic) bool { return !strings.HasPrefix(s.name, prefix) }))
	return nil
}

func (m *coreModule) cmdStatsGet(_ context.Context, c *core.Call) error {
	list, err := m.e.selected(c)
	if err == nil {
		addStatistics(c, list)
	}
	return err
}

func (m *coreModule) cmdStatsText(_ context.Context, c *core.Call) error {
	list, err := m.e.selected(c)
	for i := range list {
		c.Add(list[i].text())
	}
	return err
}

// text is "group:name = value".
func (s *statistic) text() string {
	return strings.Replace(s.name, ".", ":", 1) + " = " + core.IntValue(s.value).String()
}

func (m *coreModule) cmdStatsReset(_ context.Context, c *core.Call) error {
	list, err := m.e.toReset(c)
	for i := range list {
		if list[i].counter != nil {
			list[i].counter.Reset()
		}
	}
	return err
}

func (m *coreModule) cmdStatsClear(_ context.Context, c *core.Call) error {
	list, err := m.e.toReset(c)
	for i := range list {
		if list[i].counter != nil {
			c.Add(list[i].text())
			list[i].counter.Reset()
		}
	}
	return err
}

// toReset is selected for commands that must be told what to select.
func (e *Engine) toReset(c *core.Call) ([]statistic, error) {
	if c.String(0) == "" {
		return nil, &core.Fault{Code: 400, Reason: "all, a group or a name is expected"}
	}
	return e.selected(c)
}
