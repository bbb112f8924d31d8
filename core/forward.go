package core

import (
	"errors"
	"strconv"

	"sipr/core/sipmsg"
)

// Problems of forwarding, each with the status that it is answered with.
var (
	ErrTooManyHops   = &sipmsg.Problem{Code: 483, Reason: "Too Many Hops"}
	ErrScheme        = &sipmsg.Problem{Code: 416, Reason: "Unsupported URI Scheme"}
	ErrUnresolvable  = &sipmsg.Problem{Code: 478, Reason: "Unresolvable Destination"}
	ErrExtension     = &sipmsg.Problem{Code: 420, Reason: "Bad Extension"}
	ErrBarrier       = &sipmsg.Problem{Code: 403, Reason: "Not Part Of This Dialog"}
	ErrTooLarge      = &sipmsg.Problem{Code: 513, Reason: "Message Too Large"}
	ErrNoDestination = errors.New("the request has no destination")
)

// Hop is where one branch of a request goes and what its request line says.
type Hop struct {
	// URI is the Request-URI to send.
	URI []byte
	// Next is the URI that the message is sent to: the first Route's, or the
	// Request-URI's (RFC 3261 §16.6 steps 6 and 7).
	Next sipmsg.URI
	// Strict says that the first Route belongs to a strict router: it becomes
	// the Request-URI, and the Request-URI the last Route.
	Strict bool
	// Flow is the way, if the target prescribes it.
	Flow Flow
	// Datagram is the target's.
	Datagram bool
	// Breadth is the Max-Breadth to add to a request that has none (RFC 5393
	// §5.3.3); 0 for no such header field.
	Breadth int
}

// HopFor finds the next hop of a target. The result lasts until the next call.
func (r *Request) HopFor(t *Target) (*Hop, error) {
	h := &r.hop
	*h = Hop{URI: t.URI, Flow: t.Flow, Datagram: t.Datagram}
	if h.URI == nil {
		h.URI = r.Msg.RURIText()
	}
	next := t.NextHop
	if next == nil {
		next = firstURI(t.Path)
	}
	if next == nil {
		if i := r.Msg.First(sipmsg.HRoute); i >= 0 {
			v, _ := sipmsg.NextValue(r.Msg.Value(i))
			n, err := sipmsg.ParseNameAddr(v)
			if err != nil {
				return h, err
			}
			next = n.URIText
			u, err := n.URI()
			if err != nil {
				return h, err
			}
			if _, lr := u.Param("lr"); !lr {
				h.Strict = true
			}
		}
	}
	if next == nil {
		next = h.URI
	}
	var err error
	if h.Next, err = sipmsg.ParseURI(next); err != nil {
		return h, err
	}
	if h.Next.Scheme != sipmsg.SIP && h.Next.Scheme != sipmsg.SIPS && !h.Flow.Valid() {
		return h, ErrScheme
	}
	return h, nil
}

func firstURI(route []byte) []byte {
	if route == nil {
		return nil
	}
	v, _ := sipmsg.NextValue(route)
	n, err := sipmsg.ParseNameAddr(v)
	if err != nil {
		return nil
	}
	return n.URIText
}

// AppendVia appends a Via line of ours.
func AppendVia(dst []byte, s *Socket, branch []byte) []byte {
	dst = append(dst, "Via: SIP/2.0/"...)
	dst = append(dst, s.Proto.String()...)
	dst = append(dst, ' ')
	dst = append(dst, s.SentBy...)
	dst = append(dst, ";branch="...)
	dst = append(dst, branch...)
	return append(dst, "\r\n"...)
}

// MayForward checks what a proxy checks before it sends a request on (RFC 3261
// §16.3 steps 3 and 5).
func (r *Request) MayForward() error {
	if r.Msg.MaxForwards() == 0 {
		return ErrTooManyHops
	}
	if r.Msg.Method != sipmsg.ACK && r.Msg.Method != sipmsg.CANCEL && r.Msg.Has(sipmsg.HProxyRequire) {
		return ErrExtension // no extension of a proxy's is supported
	}
	return nil
}

// MayReach checks the address that a branch is about to be sent to.
func (r *Request) MayReach(f Flow) error {
	if r.Barrier != nil && r.Barrier(f.Remote.Addr()) {
		return ErrBarrier
	}
	return nil
}

// AnswerProblem answers with the status of err: a Problem's own, else 500.
func (r *Request) AnswerProblem(err error) error {
	a := Answer{Code: 500, Reason: "Server Internal Error"}
	var p *sipmsg.Problem
	if errors.As(err, &p) {
		a.Code, a.Reason = p.Code, p.Reason
		if p == ErrExtension {
			a.Headers = appendUnsupported(nil, r.Msg)
		}
	}
	return r.Answer(&a)
}

// appendUnsupported names every extension in one header field: a field for each
// would make the response many times as long as the request.
func appendUnsupported(dst []byte, m *sipmsg.Message) []byte {
	sep := "Unsupported: "
	for v := m.Values(sipmsg.HProxyRequire); v.Next(); sep = ", " {
		dst = append(append(dst, sep...), v.Value...)
	}
	return append(dst, "\r\n"...)
}

// Next returns the way of the branch that is being made.
func (r *Request) Next() Flow { return r.next }

// AppendBranch appends the request as one branch of it is sent on: with the
// given branch parameter, over h.Flow. The message's edits are not changed.
func (r *Request) AppendBranch(dst []byte, h *Hop, t *Target, branch []byte) []byte {
	m := r.Msg
	r.next = h.Flow
	top := AppendVia(r.top[:0], h.Flow.Socket, branch)
	if r.RecordRoute != nil {
		top = r.RecordRoute(top, r, h.Flow.Socket)
	}
	if t.Path != nil {
		top = append(append(append(top, "Route: "...), t.Path...), "\r\n"...)
	}
	if h.Breadth > 0 {
		top = append(strconv.AppendInt(append(top, "Max-Breadth: "...), int64(h.Breadth), 10), "\r\n"...)
	}
	r.top = top
	f := sipmsg.Forward{URI: h.URI, Top: top, MaxForwards: 70}
	if mf := m.MaxForwards(); mf > 0 {
		f.MaxForwards = mf - 1
	}
	if !h.Strict {
		return m.AppendForward(dst, &f)
	}
	var k sipmsg.Mark
	m.Mark(&k)
	f.URI = h.Next.Raw
	m.RemoveTopValue(m.First(sipmsg.HRoute))
	last := append(append([]byte("<"), h.URI...), '>')
	m.Append([]byte("Route"), last)
	dst = m.AppendForward(dst, &f)
	m.Restore(&k)
	return dst
}

// AppendAgain appends a branch as it is sent over another way than before: with
// a Via and a Record-Route of that way. sent is the branch as it was sent; it is
// edited.
func (r *Request) AppendAgain(dst []byte, sent *sipmsg.Message, way Flow, branch []byte) []byte {
	r.next = way
	top := AppendVia(r.top[:0], way.Socket, branch)
	sent.RemoveTopValue(sent.First(sipmsg.HVia))
	if r.RecordRoute != nil {
		for ours := recorded(sent) - recorded(r.Msg); ours > 0; ours-- {
			sent.RemoveTopValue(sent.First(sipmsg.HRecordRoute))
		}
		top = r.RecordRoute(top, r, way.Socket)
	}
	r.top = top
	return sent.AppendForward(dst, &sipmsg.Forward{Top: top, MaxForwards: sent.MaxForwards()})
}

func recorded(m *sipmsg.Message) (n int) {
	for v := m.Values(sipmsg.HRecordRoute); v.Next(); {
		n++
	}
	return n
}
