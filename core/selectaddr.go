package core

import "net/netip"

type addrPort struct{ netip.AddrPort }

// addrPortSelect compiles the members of @src and @dst.
func addrPortSelect(get func(*Request) (addrPort, Proto), p []string) (Select, []string) {
	if len(p) == 0 {
		p = []string{"ip"}
	}
	switch p[0] {
	case "ip":
		return func(r *Request) Value {
			a, _ := get(r)
			var tmp [48]byte
			return RawValue(r.Keep(a.Addr().Unmap().AppendTo(tmp[:0])))
		}, p[1:]
	case "port":
		return func(r *Request) Value {
			a, _ := get(r)
			return IntValue(int64(a.Port()))
		}, p[1:]
	case "proto", "transport":
		return func(r *Request) Value {
			_, proto := get(r)
			return TextValue(proto.String())
		}, p[1:]
	}
	return nil, p
}
