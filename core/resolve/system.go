package resolve

import (
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"sipr/core/clock"
)

// lookAgain is how often the system's files are looked at for changes.
const lookAgain = 5 * time.Second

// system reads what the machine says about names.
type system struct {
	clock clock.Clock
	mu    sync.Mutex
	conf  watched[[]string]
	names watched[map[string][]netip.Addr]
}

// watched is the content of a file.
type watched[T any] struct {
	path    string
	read    bool
	checked clock.Time
	changed time.Time
	size    int64
	v       T
}

// get reads the file again if it has changed. A file that cannot be read is
// empty.
func (w *watched[T]) get(path string, now clock.Time, parse func(string) T) T {
	if w.read && w.path == path && now < w.checked.Add(lookAgain) {
		return w.v
	}
	var changed time.Time
	size := int64(-1)
	if info, err := os.Stat(path); err == nil {
		changed, size = info.ModTime(), info.Size()
	}
	w.checked = now
	if w.read && w.path == path && changed.Equal(w.changed) && size == w.size {
		return w.v
	}
	text, _ := os.ReadFile(path)
	w.path, w.read, w.changed, w.size = path, true, changed, size
	w.v = parse(string(text))
	return w.v
}

// servers returns the DNS servers to ask.
func (s *system) servers(cfg *Config) []string {
	if len(cfg.Servers) > 0 {
		return cfg.Servers
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf.get(cfg.ResolvConf, s.clock.Now(), parseResolvConf)
}

func parseResolvConf(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if addr, err := ServerAddr(f[1]); err == nil {
			list = append(list, addr)
		}
	}
	if len(list) == 0 {
		list = append(list, "127.0.0.1:53")
	}
	return list
}

// hosts returns the names of the hosts file in lower case. The map must not be
// changed.
func (s *system) hosts(cfg *Config) map[string][]netip.Addr {
	if cfg.Hosts == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names.get(cfg.Hosts, s.clock.Now(), parseHosts)
}

func parseHosts(text string) map[string][]netip.Addr {
	names := map[string][]netip.Addr{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(f[0])
		if err != nil || ip.Zone() != "" {
			continue
		}
		for _, n := range f[1:] {
			if name, ok := dnsName(n); ok {
				names[name] = append(names[name], ip.Unmap())
			}
		}
	}
	return names
}
