package resolve

import (
	"net/netip"

	"sipr/core"
	"sipr/core/sipmsg"
)

// Query is what a URI says about where it leads.
type Query struct {
	// Host is a name in any letter case, with or without a trailing dot, or
	// an IP address: what RFC 3263 calls TARGET.
	Host []byte
	// Port is 0 and Transport ProtoNone where the URI does not say.
	Port      uint16
	Transport core.Proto
	// Secure says that the URI is a sips one: every target is over TLS.
	Secure bool
}

// QueryOf returns the query of a sip or sips URI; the host is a slice of the
// URI's text. ErrNoTransport: the URI asks for a transport that is unknown;
// ErrName: it is of another scheme.
func QueryOf(u *sipmsg.URI) (Query, error) {
	if u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS {
		return Query{}, ErrName
	}
	q := Query{Host: target(u), Port: u.Port, Secure: u.Scheme == sipmsg.SIPS}
	if t, ok := u.Param("transport"); ok {
		if q.Transport = core.ParseProto(t); q.Transport == core.ProtoNone {
			return q, ErrNoTransport
		}
	}
	return q, nil
}

// Protocol returns the transport that a URI asks for, or the one it means if
// nothing else is known: UDP, TLS for sips (RFC 3263 §4.1); ProtoNone for one
// that is unknown.
func Protocol(u *sipmsg.URI) core.Proto {
	p := core.UDP
	if t, ok := u.Param("transport"); ok {
		p = core.ParseProto(t)
	}
	if u.Scheme == sipmsg.SIPS {
		p = secure(p)
	}
	return p
}

// Literal returns the address of a URI whose host, or maddr, is an IP address.
func Literal(u *sipmsg.URI, p core.Proto) (netip.AddrPort, bool) {
	ip, ok := sipmsg.ParseIP(target(u))
	if !ok {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, portOr(u.Port, p)), true
}

func target(u *sipmsg.URI) []byte {
	if maddr, ok := u.Param("maddr"); ok {
		return maddr
	}
	return u.Host
}

func portOr(port uint16, p core.Proto) uint16 {
	if port != 0 {
		return port
	}
	return p.Port()
}

// secure returns the transport that a sips URI means by one (RFC 3261 §26.2.2:
// TLS whatever the transport parameter says; RFC 7118 §5.4 for WebSocket).
func secure(p core.Proto) core.Proto {
	switch p {
	case core.UDP, core.TCP:
		return core.TLS
	case core.WS:
		return core.WSS
	}
	return p
}

// literal answers a query for an IP address (RFC 3263 §4.1 and §4.2: no
// question, UDP or TLS unless the URI says more).
func (r *Resolver) literal(q *Query, ip netip.Addr, buf []Target) ([]Target, error, bool) {
	cfg := r.config.Load()
	ip = ip.Unmap()
	p := q.proto()
	if p == core.ProtoNone {
		p = cfg.usual(q.Secure, func(p core.Proto) bool { return cfg.Supports(p, ip.Is6()) })
	}
	if p == core.ProtoNone || !cfg.Supports(p, ip.Is6()) {
		return buf, ErrNoTransport, true
	}
	return append(buf, Target{Proto: p, Addr: netip.AddrPortFrom(ip, portOr(q.Port, p))}), nil, true
}

// proto returns the transport that the URI asks for.
func (q *Query) proto() core.Proto {
	if q.Secure {
		return secure(q.Transport)
	}
	return q.Transport
}

// usual returns the transport for a URI when neither it nor the domain says:
// UDP, TLS for sips. If we have no UDP, the first that we have and prefer.
func (cfg *Config) usual(sips bool, have func(core.Proto) bool) core.Proto {
	if sips {
		if have(core.TLS) {
			return core.TLS
		}
		return core.ProtoNone
	}
	if have(core.UDP) {
		return core.UDP
	}
	for _, p := range cfg.Prefer {
		if have(p) {
			return p
		}
	}
	return core.ProtoNone
}

// The longest name in text form without the trailing dot, and label (RFC 1035
// §2.3.4).
const (
	maxName  = 253
	maxLabel = 63
	keyTail  = 4
	keySize  = maxName + keyTail
)

// appendKey appends what tells one query from another: the name in lower case,
// the port, the transport and the scheme. It reports whether the host is a name
// that may be asked for.
func (q *Query) appendKey(b []byte) ([]byte, bool) {
	b, ok := appendName(b, q.Host)
	if !ok {
		return b, false
	}
	sips := byte(0)
	if q.Secure {
		sips = 1
	}
	return append(b, byte(q.Port>>8), byte(q.Port), byte(q.Transport), sips), true
}

// appendName appends a host name in lower case, without the trailing dot. It
// refuses what no host is called: the last label must not be a number alone (an
// address gone wrong; RFC 3696 §2). Underscores are found in real names.
func appendName(b, host []byte) ([]byte, bool) {
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if len(host) == 0 || len(host) > maxName {
		return b, false
	}
	label, digits := 0, 0
	for i, c := range host {
		switch {
		case c == '.':
			if label == 0 || label > maxLabel || host[i-1] == '-' {
				return b, false
			}
			label, digits = 0, 0
			b = append(b, c)
			continue
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c >= 'a' && c <= 'z', c == '_':
		case c >= '0' && c <= '9':
			digits++
		case c == '-' && label > 0:
		default:
			return b, false
		}
		label++
		b = append(b, c)
	}
	return b, label > 0 && label <= maxLabel && digits < label && host[len(host)-1] != '-'
}
