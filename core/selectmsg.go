package core

import (
	"bytes"
	"hash/maphash"
	"net/netip"
	"os"
	"strconv"
	"time"

	"sipr/core/sipmsg"
)

// msgMembers are the parts of a message.
var msgMembers = map[string]buildSelect{
	"first_line": leaf(func(r *Request) Value { return RawValue(firstLine(r.Message())) }),
	"type": leaf(func(r *Request) Value {
		if r.Message().IsRequest() {
			return TextValue("request")
		}
		return TextValue("response")
	}),
	"version": leaf(func(r *Request) Value { return RawValue(r.Message().Version()) }),
	"len":     leaf(func(r *Request) Value { return IntValue(int64(r.Message().Size())) }),
	"body":    leaf(msgBody), "content": leaf(msgBody),
	"header": anyHeader, "h": anyHeader,
	"request": requestLine, "req": requestLine,
	"response": statusLine, "res": statusLine,
}

func msgBody(r *Request) Value { return RawValue(r.Message().Body()) }

func msgSelect(p *selectPath) (Select, error) {
	if p.end() {
		return func(r *Request) Value { return RawValue(r.Message().Bytes()) }, nil
	}
	build, err := pick(p, msgMembers)
	if err != nil {
		return nil, err
	}
	return build(p)
}

// firstLine returns the first line as received, without its end.
func firstLine(m *sipmsg.Message) []byte {
	b := bytes.TrimLeft(m.Bytes(), "\r\n")
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	return bytes.TrimSuffix(b, []byte("\r"))
}

// requestLine compiles msg.request: the request line as received.
func requestLine(p *selectPath) (Select, error) {
	if p.end() {
		return func(r *Request) Value {
			if !r.Message().IsRequest() {
				return Value{}
			}
			return RawValue(firstLine(r.Message()))
		}, nil
	}
	if p.is("uri") {
		return textURI(p, func(r *Request) []byte {
			if !r.Message().IsRequest() {
				return nil
			}
			return r.Message().OriginalRURI()
		})
	}
	return pick(p, map[string]Select{
		"method": func(r *Request) Value {
			if !r.Message().IsRequest() {
				return Value{}
			}
			return RawValue(r.Message().MethodText())
		},
		"version": func(r *Request) Value {
			if !r.Message().IsRequest() {
				return Value{}
			}
			return RawValue(r.Message().Version())
		},
		"uri": nil,
	})
}

// statusLine compiles msg.response: the status line.
func statusLine(p *selectPath) (Select, error) {
	if p.end() {
		return func(r *Request) Value {
			if r.Message().IsRequest() {
				return Value{}
			}
			return RawValue(firstLine(r.Message()))
		}, nil
	}
	status := func(r *Request) Value {
		if m := r.Message(); !m.IsRequest() {
			return IntValue(int64(m.Status))
		}
		return Value{}
	}
	return pick(p, map[string]Select{
		"status": status, "code": status,
		"reason": func(r *Request) Value {
			if m := r.Message(); !m.IsRequest() {
				return RawValue(m.Reason())
			}
			return Value{}
		},
		"version": func(r *Request) Value {
			if m := r.Message(); !m.IsRequest() {
				return RawValue(m.Version())
			}
			return Value{}
		},
	})
}

// selectAddr is an address of a flow.
type selectAddr struct {
	netip.AddrPort
	proto Proto
}

func localAddr(r *Request) selectAddr {
	if r.Flow.Socket == nil {
		return selectAddr{}
	}
	return selectAddr{r.Flow.Socket.Addr, r.Flow.Proto()}
}

// addrMember is a part of an address; they add up.
type addrMember uint8

const (
	withProto addrMember = 1 << iota
	withIP
	withPort
)

var addrMembers = map[string]addrMember{
	"proto": withProto, "transport": withProto, "ip": withIP, "port": withPort,
	"ip_port": withIP | withPort, "proto_ip": withProto | withIP, "proto_ip_port": withProto | withIP | withPort,
}

// addrSelect compiles src and dst; an address by itself is its IP address.
func addrSelect(get func(*Request) selectAddr) buildSelect {
	return func(p *selectPath) (Select, error) {
		m := withIP
		if !p.end() {
			var err error
			if m, err = pick(p, addrMembers); err != nil {
				return nil, err
			}
		}
		return func(r *Request) Value {
			a := get(r)
			if !a.IsValid() {
				return Value{}
			}
			switch m {
			case withProto:
				return TextValue(a.proto.String())
			case withPort:
				return IntValue(int64(a.Port()))
			}
			var tmp [80]byte
			return RawValue(r.Keep(appendAddr(tmp[:0], a, m)))
		}, nil
	}
}

func appendAddr(b []byte, a selectAddr, m addrMember) []byte {
	if m&withProto != 0 {
		for _, c := range []byte(a.proto.String()) {
			b = append(b, c|0x20)
		}
		b = append(b, ':')
	}
	ip := a.Addr().Unmap()
	switch {
	case m&withPort == 0:
		return ip.AppendTo(b)
	case ip.Is6():
		b = append(ip.AppendTo(append(b, '[')), ']')
	default:
		b = ip.AppendTo(b)
	}
	return strconv.AppendUint(append(b, ':'), uint64(a.Port()), 10)
}

// Config is implemented by an Engine whose parameters scripts may read.
type Config interface {
	// Config returns the value of a module's parameter; none for what does
	// not exist and for secrets.
	Config(module, name string) Value
}

func config(r *Request, module, name string) Value {
	if c, ok := r.Engine.(Config); ok {
		return c.Config(module, name)
	}
	return Value{}
}

// configSelect compiles cfg_get.group.variable: a parameter of a module.
func configSelect(p *selectPath) (Select, error) {
	group := p.next()
	if p.end() {
		return nil, p.unknown(nil)
	}
	name := p.next()
	return func(r *Request) Value { return config(r, group, name) }, nil
}

// sysMembers are values of the router.
var sysMembers = map[string]Select{
	"server_id": func(r *Request) Value { return config(r, "core", "server_id") },
	"time":      func(r *Request) Value { return IntValue(r.Now.Unix()) },
	"unique":    unique,
	"pid":       func(*Request) Value { return IntValue(int64(os.Getpid())) },
}

func sysSelect(p *selectPath) (Select, error) {
	if !p.is("now") {
		return pick(p, sysMembers)
	}
	utc := p.is("gmt", "utc")
	if !utc && !p.is("local") {
		return sysMembers["time"], nil
	}
	return func(r *Request) Value {
		t := r.Now.Std()
		if !utc {
			t = t.Local()
		}
		var tmp [40]byte
		return RawValue(r.Keep(t.AppendFormat(tmp[:0], time.RFC3339)))
	}, nil
}

// unique is a text that no other read of any router gets.
func unique(r *Request) Value {
	var tmp [64]byte
	b := strconv.AppendUint(tmp[:0], uint64(r.Now), 36)
	b = strconv.AppendUint(append(b, '-'), uint64(os.Getpid()), 36)
	// A fresh seed is a random number.
	b = strconv.AppendUint(append(b, '-'), maphash.String(maphash.MakeSeed(), ""), 36)
	return RawValue(r.Keep(b))
}
