package engine

import (
	"context"
	"time"

	"sipr/core"
	"sipr/core/resolve"
)

// dnsParams are the parameters of the resolver.
type dnsParams struct {
	servers                      []string
	timeout                      time.Duration
	attempts, cacheSize          int
	hosts                        bool
	minTTL, maxTTL               time.Duration
	negativeMin, negativeMax     time.Duration
	errorTTL, stale, deadForTime time.Duration
	preferV6                     bool
}

func (p *dnsParams) defaults() {
	*p = dnsParams{
		timeout: 2 * time.Second, attempts: 2, cacheSize: 10000, hosts: true,
		minTTL: time.Second, maxTTL: 24 * time.Hour, negativeMin: 5 * time.Second, negativeMax: 5 * time.Minute,
		errorTTL: 5 * time.Second, stale: time.Hour, deadForTime: time.Minute,
	}
}

func (p *dnsParams) list() []core.Param {
	day := core.Between(time.Duration(0), 24*time.Hour)
	short := core.Between(time.Second, 24*time.Hour)
	return []core.Param{
		core.ListParam(&p.servers, "dns_servers", "DNS server, an IP address with or without port; may be set several times; none: those of /etc/resolv.conf", checkDNSServer),
		core.DurationParam(&p.timeout, time.Second, "dns_timeout", "how long a DNS server has for one answer", core.Between(10*time.Millisecond, time.Minute)),
		core.IntParam(&p.attempts, "dns_attempts", "how many times all DNS servers are asked", core.Between(1, 10)),
		core.BoolParam(&p.hosts, "dns_hosts", "whether /etc/hosts comes before the DNS"),
		core.IntParam(&p.cacheSize, "dns_cache_size", "DNS answers kept; a quarter as many that say that there is nothing are kept beside them", core.Between(100, 10_000_000)),
		core.DurationParam(&p.minTTL, time.Second, "dns_cache_min_ttl", "a DNS answer is kept so long, even if its records say less", short),
		core.DurationParam(&p.maxTTL, time.Second, "dns_cache_max_ttl", "a DNS answer is kept no longer, even if its records say more", short),
		core.DurationParam(&p.negativeMin, time.Second, "dns_cache_negative_min", "the same for an answer that says that there is nothing", short),
		core.DurationParam(&p.negativeMax, time.Second, "dns_cache_negative_max", "the same for an answer that says that there is nothing", short),
		core.DurationParam(&p.errorTTL, time.Second, "dns_cache_error_ttl", "how long a failure of the DNS servers is believed", short),
		core.DurationParam(&p.stale, time.Second, "dns_stale", "how long an outlived answer is used while the DNS servers fail; 0 for not at all", day),
		core.DurationParam(&p.deadForTime, time.Second, "dst_blacklist_time", "how long an address that did not serve is tried after all others; 0 for not at all", day),
		core.BoolParam(&p.preferV6, "dns_prefer_ipv6", "whether IPv6 addresses of a host come before its IPv4 addresses"),
	}
}

func checkDNSServer(s string) error {
	_, err := resolve.ServerAddr(s)
	return err
}

// config makes the resolver's settings of the parameters.
func (p *dnsParams) config() resolve.Config {
	c := resolve.Config{
		Timeout: p.timeout, Attempts: p.attempts, MaxEntries: p.cacheSize, MinTTL: p.minTTL, MaxTTL: p.maxTTL,
		MinNegative: p.negativeMin, MaxNegative: p.negativeMax, KeepError: p.errorTTL, Stale: p.stale,
		DeadFor: p.deadForTime, PreferV6: p.preferV6,
	}
	if p.stale == 0 {
		c.Stale = -1
	}
	if p.hosts {
		c.Hosts = "/etc/hosts"
	}
	for _, s := range p.servers {
		addr, _ := resolve.ServerAddr(s)
		c.Servers = append(c.Servers, addr)
	}
	return c
}

// dnsCommands are the commands of the resolver.
func (m *coreModule) dnsCommands() []core.Command {
	return []core.Command{
		{Name: "dns.view", Args: "[count]", Doc: "Shows DNS answers in the cache, and how long they are kept.", Run: m.cmdDNSView},
		{Name: "dns.flush", Doc: "Forgets all DNS answers, and which addresses did not serve.", Run: m.cmdDNSFlush},
		{Name: "dns.dead", Args: "[count]", Doc: "Shows the addresses that did not serve lately.", Run: m.cmdDNSDead},
	}
}

func (m *coreModule) cmdDNSFlush(context.Context, *core.Call) error {
	m.e.resolver.Flush()
	return nil
}

func (m *coreModule) cmdDNSView(_ context.Context, c *core.Call) error {
	for _, e := range m.e.resolver.Dump(int(c.Int(0, 1000))) {
		s := c.Struct().Add("host", e.Host).Add("port", int64(e.Port)).Add("transport", e.Transport.String()).Add("ttl", int64(e.TTL/time.Second))
		if e.Err != nil {
			s.Add("error", e.Err.Error())
		}
		for _, t := range e.Targets {
			s.Add("target", t.Proto.String()+":"+t.Addr.String())
		}
	}
	return nil
}

func (m *coreModule) cmdDNSDead(_ context.Context, c *core.Call) error {
	for _, d := range m.e.resolver.Dead(int(c.Int(0, 1000))) {
		c.Struct().Add("destination", d.Proto.String()+":"+d.Addr.String()).Add("seconds", int64(d.Left/time.Second))
	}
	return nil
}
