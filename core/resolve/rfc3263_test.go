package resolve

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sipr/core"
	"sipr/core/sipmsg"
)

// everything is a domain with NAPTR, SRV and addresses.
var everything = []string{
	`example.com. 300 IN NAPTR 50 50 "s" "SIPS+D2T" "" _sips._tcp.example.com.`,
	`example.com. 300 IN NAPTR 90 50 "s" "SIP+D2T" "" _sip._tcp.example.com.`,
	`example.com. 300 IN NAPTR 100 50 "s" "SIP+D2U" "" _sip._udp.example.com.`,
	`_sips._tcp.example.com. 300 IN SRV 0 0 5071 tls.example.com.`,
	`_sip._tcp.example.com. 300 IN SRV 0 0 5072 tcp.example.com.`,
	`_sip._udp.example.com. 300 IN SRV 0 0 5073 udp.example.com.`,
	`tls.example.com. 300 IN A 192.0.2.1`,
	`tcp.example.com. 300 IN A 192.0.2.2`,
	`udp.example.com. 300 IN A 192.0.2.3`,
	`example.com. 300 IN A 192.0.2.9`,
}

func only(list ...core.Proto) func(*Config) {
	return func(c *Config) {
		c.Supports = func(p core.Proto, v6 bool) bool { return !v6 && slices.Contains(list, p) }
	}
}

func TestRFC3263_4_1_TransportSelection(t *testing.T) {
	z := newZone(t, 1, everything...)
	z.add(t,
		// no NAPTR
		"_sip._udp.srv.example.com. 60 IN SRV 0 0 5080 udp.example.com.",
		"_sip._tcp.srv.example.com. 60 IN SRV 0 0 5081 tcp.example.com.",
		"_sips._tcp.srv.example.com. 60 IN SRV 0 0 5082 tls.example.com.",
		"srv.example.com. 60 IN A 192.0.2.10",
		"_sip._tcp.tcponly.example.com. 60 IN SRV 0 0 5081 tcp.example.com.",
		// addresses only
		"plain.example.com. 60 IN A 192.0.2.11",
		// NAPTR of something else
		`enum.example.com. 60 IN NAPTR 10 10 "u" "E2U+sip" "!^.*$!sip:a@b!" .`,
		"enum.example.com. 60 IN A 192.0.2.12",
		// same order, by preference
		`pref.example.com. 60 IN NAPTR 10 20 "s" "SIP+D2U" "" _sip._udp.example.com.`,
		`pref.example.com. 60 IN NAPTR 10 10 "S" "sip+d2t" "" _sip._tcp.example.com.`,
		`pref.example.com. 60 IN NAPTR 5 10 "s" "SIP+D2S" "" _sip._sctp.example.com.`,
		// straight to a host
		`a.example.com. 60 IN NAPTR 10 10 "a" "SIP+D2T" "" tcp.example.com.`,
		// only what we do not speak
		`sctp.example.com. 60 IN NAPTR 10 10 "s" "SIP+D2S" "" _sip._sctp.example.com.`,
		"sctp.example.com. 60 IN A 192.0.2.13",
		// NAPTR whose SRV does not exist
		`hollow.example.com. 60 IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.hollow.example.com.`,
		"hollow.example.com. 60 IN A 192.0.2.14",
		// WebSocket
		`ws.example.com. 60 IN NAPTR 10 10 "s" "SIPS+D2W" "" _sips._ws.example.com.`,
		`ws.example.com. 60 IN NAPTR 10 20 "s" "SIP+D2W" "" _sip._ws.example.com.`,
		"_sips._ws.example.com. 60 IN SRV 0 0 8443 tls.example.com.",
		"_sip._ws.example.com. 60 IN SRV 0 0 8080 tcp.example.com.",
	)
	all := only(core.UDP, core.TCP, core.TLS)
	for _, tt := range []struct {
		rule, uri string
		config    func(*Config)
		want      string
	}{
		{"NAPTR: the lowest order that we can use", "sip:example.com", all, "TLS 192.0.2.1:5071"},
		{"NAPTR: services of transports that we lack are discarded", "sip:example.com", only(core.UDP, core.TCP), "TCP 192.0.2.2:5072"},
		{"NAPTR: only UDP", "sip:example.com", only(core.UDP), "UDP 192.0.2.3:5073"},
		{"NAPTR: sips takes SIPS services only", "sips:example.com", all, "TLS 192.0.2.1:5071"},
		{"NAPTR: preference within an order", "sip:pref.example.com", all, "TCP 192.0.2.2:5072, UDP 192.0.2.3:5073"},
		{"NAPTR: flag a", "sip:a.example.com", all, "TCP 192.0.2.2:5060"},
		{"NAPTR: those of other services do not count", "sip:enum.example.com", all, "UDP 192.0.2.12:5060"},
		{"NAPTR: nothing in common", "sip:sctp.example.com", all, ErrNoTransport.Error()},
		{"NAPTR without its SRV: the addresses of the domain", "sip:hollow.example.com", all, "TCP 192.0.2.14:5060"},
		{"NAPTR: WebSocket (RFC 7118 §5.6)", "sip:ws.example.com", only(core.UDP, core.WS, core.WSS), "WSS 192.0.2.1:8443, WS 192.0.2.2:8080"},
		{"NAPTR: WebSocket for sips", "sips:ws.example.com", only(core.TLS, core.WS, core.WSS), "WSS 192.0.2.1:8443"},
		{"no NAPTR: SRV of each transport in our order", "sip:srv.example.com", all, "UDP 192.0.2.3:5080, TCP 192.0.2.2:5081, TLS 192.0.2.1:5082"},
		{"no NAPTR: our order is a setting", "sip:srv.example.com", func(c *Config) { c.Prefer = []core.Proto{core.TCP, core.UDP} }, "TCP 192.0.2.2:5081, UDP 192.0.2.3:5080"},
		{"no NAPTR, sips: SRV of TLS", "sips:srv.example.com", all, "TLS 192.0.2.1:5082"},
		{"no NAPTR, SRV for TCP only", "sip:tcponly.example.com", all, "TCP 192.0.2.2:5081"},
		{"neither: UDP", "sip:plain.example.com", all, "UDP 192.0.2.11:5060"},
		{"neither, sips: TLS", "sips:plain.example.com", all, "TLS 192.0.2.11:5061"},
		{"neither, and no UDP here", "sip:plain.example.com", only(core.TCP), "TCP 192.0.2.11:5060"},
		{"the URI's transport", "sip:example.com;transport=tcp", all, "TCP 192.0.2.2:5072"},
		{"the URI's transport is not ours", "sip:example.com;transport=tcp", only(core.UDP), ErrNoTransport.Error()},
		{"sips with transport=tcp is TLS", "sips:example.com;transport=tcp", all, "TLS 192.0.2.1:5071"},
		{"sips and we have no TLS", "sips:plain.example.com", only(core.UDP), ErrNoTransport.Error()},
		{"a port without transport: UDP", "sip:example.com:5099", all, "UDP 192.0.2.9:5099"},
		{"a port without transport, sips: TLS", "sips:example.com:5099", all, "TLS 192.0.2.9:5099"},
		{"an address: UDP", "sip:192.0.2.77", all, "UDP 192.0.2.77:5060"},
		{"an address, sips: TLS", "sips:192.0.2.77", all, "TLS 192.0.2.77:5061"},
		{"maddr is the target", "sip:example.org;maddr=plain.example.com", all, "UDP 192.0.2.11:5060"},
		{"maddr is an address", "sip:example.org:5070;maddr=192.0.2.78;transport=tcp", all, "TCP 192.0.2.78:5070"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			newFixture(t, tt.config, z).want(tt.uri, tt.want)
		})
	}
}

func TestRFC3263_4_1_UnknownTransport(t *testing.T) {
	for uri, want := range map[string]error{
		"sip:example.com;transport=sctp": ErrNoTransport, "tel:+123": ErrName, "sip:example.com;transport=WS": nil,
	} {
		u, err := sipmsg.ParseURI([]byte(uri))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := QueryOf(&u); err != want {
			t.Errorf("%s: %v, want %v", uri, err, want)
		}
	}
}

// The URI alone: what is sent where before, or without, any look-up.
func TestRFC3263_4_1_ProtocolAndLiteral(t *testing.T) {
	for uri, want := range map[string]string{
		"sip:192.0.2.1": "UDP 192.0.2.1:5060", "sips:192.0.2.1": "TLS 192.0.2.1:5061", "sips:192.0.2.1;transport=ws": "WSS 192.0.2.1:443",
		"sip:[2001:db8::1]:5070;transport=tcp": "TCP [2001:db8::1]:5070", "sip:x.org;maddr=192.0.2.2": "UDP 192.0.2.2:5060",
		"sip:x.org": "", "sip:192.0.2.1;transport=sctp": " 192.0.2.1:5060",
	} {
		u, err := sipmsg.ParseURI([]byte(uri))
		if err != nil {
			t.Fatal(err)
		}
		p := Protocol(&u)
		got := ""
		if a, ok := Literal(&u, p); ok {
			got = p.String() + " " + a.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}

// What a domain leaves to us is asked no further than needed.
func TestRFC3263_4_1_Questions(t *testing.T) {
	z := newZone(t, 1, everything...)
	f := newFixture(t, nil, z)
	for _, tt := range []struct{ uri, asked string }{
		{"sip:example.com:5060", "example.com A"},
		{"sip:example.com", "example.com NAPTR, _sips._tcp.example.com SRV, tls.example.com A"},
		{"sip:example.com;transport=udp", "_sip._udp.example.com SRV, udp.example.com A"},
		{"sip:EXAMPLE.com.;transport=udp", ""}, // names have no case, and may end with a dot
		{"sip:nothing.example.com", "nothing.example.com NAPTR, nothing.example.com A"},
		{"sip:x.df7jal23ls0d.invalid", ""},
		{"sip:192.0.2.1", ""},
	} {
		f.look(tt.uri)
		if got := strings.Join(z.questions(), ", "); got != tt.asked {
			t.Errorf("%s asks %q, want %q", tt.uri, got, tt.asked)
		}
	}
}

func TestRFC3263_4_2_PortAndAddress(t *testing.T) {
	z := newZone(t, 1,
		"_sip._udp.prio.example.com. 60 IN SRV 20 0 5062 b.example.com.",
		"_sip._udp.prio.example.com. 60 IN SRV 10 0 5061 a.example.com.",
		"_sip._udp.prio.example.com. 60 IN SRV 30 0 5063 missing.example.com.",
		"_sip._udp.prio.example.com. 60 IN SRV 40 0 5064 alias.example.com.",
		"a.example.com. 60 IN A 192.0.2.1",
		"a.example.com. 60 IN A 192.0.2.2",
		"b.example.com. 60 IN A 192.0.2.3",
		"alias.example.com. 60 IN CNAME alias2.example.com.",
		"alias2.example.com. 60 IN CNAME c.example.com.",
		"c.example.com. 60 IN A 192.0.2.4",
		"_sip._udp.none.example.com. 60 IN SRV 0 0 0 .",
		"none.example.com. 60 IN A 192.0.2.5",
		"_sip._udp.same.example.com. 60 IN SRV 10 0 5061 a.example.com.",
		"_sip._udp.same.example.com. 60 IN SRV 20 0 5061 a.example.com.",
		"_sip._udp.lost.example.com. 60 IN SRV 10 0 5061 missing.example.com.",
		"loop.example.com. 60 IN CNAME loop2.example.com.",
		"loop2.example.com. 60 IN CNAME loop.example.com.",
	)
	f := newFixture(t, nil, z)
	for _, tt := range []struct{ rule, uri, want string }{
		{"priorities, all addresses of each, aliases", "sip:prio.example.com",
			"UDP 192.0.2.1:5061, UDP 192.0.2.2:5061, UDP 192.0.2.3:5062, UDP 192.0.2.4:5064"},
		{"a target of . is no service", "sip:none.example.com", ErrNoService.Error()},
		{"with a port there is no SRV", "sip:none.example.com:5060", "UDP 192.0.2.5:5060"},
		{"a place stands once", "sip:same.example.com", "UDP 192.0.2.1:5061, UDP 192.0.2.2:5061"},
		{"servers without address", "sip:lost.example.com", ErrNotFound.Error()},
		{"no SRV: the default port", "sip:a.example.com;transport=tcp", "TCP 192.0.2.1:5060, TCP 192.0.2.2:5060"},
		{"the default port of TLS", "sip:b.example.com;transport=tls", "TLS 192.0.2.3:5061"},
		{"aliases in a circle", "sip:loop.example.com:5060", ErrNotFound.Error()},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f.t = t
			f.want(tt.uri, tt.want)
		})
	}
}

// RFC 7984: both families, as far as we have sockets.
func TestRFC3263_4_2_DualStack(t *testing.T) {
	z := newZone(t, 1,
		"dual.example.com. 60 IN AAAA 2001:db8::1",
		"dual.example.com. 60 IN A 192.0.2.1",
		"six.example.com. 60 IN AAAA 2001:db8::2",
	)
	both := func(core.Proto, bool) bool { return true }
	for _, tt := range []struct {
		name, uri string
		config    func(*Config)
		want      string
	}{
		{"IPv4 first", "sip:dual.example.com:5060", func(c *Config) { c.Supports = both }, "UDP 192.0.2.1:5060, UDP [2001:db8::1]:5060"},
		{"IPv6 first", "sip:dual.example.com:5060", func(c *Config) { c.Supports, c.PreferV6 = both, true }, "UDP [2001:db8::1]:5060, UDP 192.0.2.1:5060"},
		{"no IPv6 here", "sip:dual.example.com:5060", nil, "UDP 192.0.2.1:5060"},
		{"IPv6 for TCP only", "sip:dual.example.com:5060;transport=tcp", func(c *Config) {
			c.Supports = func(p core.Proto, v6 bool) bool { return v6 == (p == core.TCP) }
		}, "TCP [2001:db8::1]:5060"},
		{"IPv6 there, not here", "sip:six.example.com:5060", nil, ErrNotFound.Error()},
		{"an IPv6 address", "sip:[2001:db8::7]", func(c *Config) { c.Supports = both }, "UDP [2001:db8::7]:5060"},
		{"an IPv6 address, not here", "sip:[2001:db8::7]", nil, ErrNoTransport.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.config, z)
			f.want(tt.uri, tt.want)
		})
	}
}

// RFC 2782: each call draws its own order from the same answer, by weight
// within a priority.
func TestRFC3263_4_2_Weights(t *testing.T) {
	z := newZone(t, 1,
		"_sip._udp.example.com. 60 IN SRV 10 60 5060 a.example.com.",
		"_sip._udp.example.com. 60 IN SRV 10 30 5060 b.example.com.",
		"_sip._udp.example.com. 60 IN SRV 10 10 5060 c.example.com.",
		"_sip._udp.example.com. 60 IN SRV 10 0 5060 d.example.com.",
		"_sip._udp.example.com. 60 IN SRV 20 1000 5060 e.example.com.",
		"a.example.com. 60 IN A 192.0.2.1", "b.example.com. 60 IN A 192.0.2.2", "c.example.com. 60 IN A 192.0.2.3",
		"d.example.com. 60 IN A 192.0.2.4", "e.example.com. 60 IN A 192.0.2.5",
	)
	rng := rand.New(rand.NewPCG(1, 2))
	f := newFixture(t, func(c *Config) { c.Rand = rng.IntN }, z)
	f.look("sip:example.com;transport=udp")
	q := query(t, "sip:example.com;transport=udp")
	const rounds = 20000
	var firsts, seconds [6]int
	buf := make([]Target, 0, MaxTargets)
	for range rounds {
		list, err, known := f.Cached(q, buf)
		if err != nil || !known || len(list) != 5 || list[4].Addr.Addr().As4()[3] != 5 {
			t.Fatalf("%v %v %v", list, err, known)
		}
		firsts[list[0].Addr.Addr().As4()[3]]++
		seconds[list[1].Addr.Addr().As4()[3]]++
	}
	// One of 101 draws falls to the record of weight 0, which stands first.
	for i, want := range []float64{1: 60. / 101, 2: 30. / 101, 3: 10. / 101, 4: 1. / 101} {
		if got := float64(firsts[i]) / rounds; got < want-0.015 || got > want+0.015 {
			t.Errorf("server %d comes first in %.3f of the lists, want %.3f", i, got, want)
		}
	}
	for i, n := range seconds[1:5] {
		if n == 0 {
			t.Errorf("server %d never comes second", i+1)
		}
	}
	if n := f.Stats().Questions; n != 6 {
		t.Errorf("%d questions for %d lists", n, rounds)
	}
}

func TestRFC3263_4_2_WeightsAllZero(t *testing.T) {
	z := newZone(t, 1,
		"_sip._udp.example.com. 60 IN SRV 10 0 5060 a.example.com.",
		"_sip._udp.example.com. 60 IN SRV 10 0 5060 b.example.com.",
		"a.example.com. 60 IN A 192.0.2.1", "b.example.com. 60 IN A 192.0.2.2",
	)
	rng := rand.New(rand.NewPCG(1, 2))
	f := newFixture(t, func(c *Config) { c.Rand = rng.IntN }, z)
	n := 0
	for range 1000 {
		if strings.HasPrefix(f.look("sip:example.com;transport=udp"), "UDP 192.0.2.1") {
			n++
		}
	}
	if n < 400 || n > 600 {
		t.Errorf("one of two equal servers comes first %d times of 1000", n)
	}
}

// Addresses that come along with SRV and NAPTR need no question of their own,
// and serve nobody else's name.
func TestRFC3263_4_2_AdditionalSection(t *testing.T) {
	z := newZone(t, 1,
		`example.com. 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.example.com.`,
		"_sip._udp.evil.example.net. 60 IN SRV 0 0 5060 good.example.com.",
		"good.example.com. 60 IN A 192.0.2.1",
	)
	z.set(func() {
		z.extra["example.com NAPTR"] = parse(t, []string{
			"_sip._udp.example.com. 60 IN SRV 0 0 5070 a.example.com.",
			"a.example.com. 60 IN A 192.0.2.8",
		})
		z.extra["_sip._udp.evil.example.net SRV"] = parse(t, []string{"good.example.com. 60 IN A 192.0.2.66"})
	})
	f := newFixture(t, nil, z)
	f.want("sip:example.com", "UDP 192.0.2.8:5070")
	f.asked(z, "example.com NAPTR")
	f.want("sip:evil.example.net;transport=udp", "UDP 192.0.2.66:5060")
	f.want("sip:good.example.com:5060", "UDP 192.0.2.1:5060")
}

// RFC 3263 §4.3: what has failed goes to the end of the list for a while.
func TestRFC3263_4_3_DeadGoLast(t *testing.T) {
	z := newZone(t, 1,
		"_sip._udp.example.com. 600 IN SRV 10 0 5060 a.example.com.",
		"_sip._udp.example.com. 600 IN SRV 20 0 5060 b.example.com.",
		"_sip._udp.example.com. 600 IN SRV 30 0 5060 c.example.com.",
		"a.example.com. 600 IN A 192.0.2.1", "b.example.com. 600 IN A 192.0.2.2", "c.example.com. 600 IN A 192.0.2.3",
	)
	f := newFixture(t, nil, z)
	const uri = "sip:example.com;transport=udp"
	f.want(uri, "UDP 192.0.2.1:5060, UDP 192.0.2.2:5060, UDP 192.0.2.3:5060")
	f.Fail(core.UDP, addr("192.0.2.1:5060"))
	f.Fail(core.TCP, addr("192.0.2.2:5060")) // another transport
	f.want(uri, "UDP 192.0.2.2:5060, UDP 192.0.2.3:5060, UDP 192.0.2.1:5060")
	f.clock.Advance(30e9)
	f.Fail(core.UDP, addr("192.0.2.2:5060"))
	f.want(uri, "UDP 192.0.2.3:5060, UDP 192.0.2.1:5060, UDP 192.0.2.2:5060")
	if f.Alive(core.UDP, addr("192.0.2.1:5060")) || !f.Alive(core.UDP, addr("192.0.2.3:5060")) {
		t.Error("Alive is wrong")
	}
	if d := f.Dead(10); len(d) != 3 || d[0].Addr != addr("192.0.2.1:5060") || d[0].Left != 30e9 {
		t.Errorf("dead: %v", d)
	}
	f.clock.Advance(31e9) // the first is back
	f.want(uri, "UDP 192.0.2.1:5060, UDP 192.0.2.3:5060, UDP 192.0.2.2:5060")
	f.Revive(core.UDP, addr("192.0.2.2:5060"))
	f.want(uri, "UDP 192.0.2.1:5060, UDP 192.0.2.2:5060, UDP 192.0.2.3:5060")
	for i := 1; i <= 3; i++ {
		f.Fail(core.UDP, addr("192.0.2."+string(rune('0'+i))+":5060"))
	}
	f.want(uri, "UDP 192.0.2.1:5060, UDP 192.0.2.2:5060, UDP 192.0.2.3:5060")
	f.clock.Advance(61e9)
	if !f.Alive(core.UDP, addr("192.0.2.1:5060")) || f.dead.any() {
		t.Error("the marks have not ended")
	}
}

func TestRFC3263_4_3_DeadIsBoundedAndCanBeOff(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 3 * maxDead {
		f.Fail(core.UDP, addrOf(i))
	}
	if n := f.Stats().Dead; n != maxDead {
		t.Errorf("%d dead destinations", n)
	}
	f = newFixture(t, func(c *Config) { c.DeadFor = 0 })
	f.Fail(core.UDP, addrOf(1))
	if !f.Alive(core.UDP, addrOf(1)) {
		t.Error("dead although it is off")
	}
}
