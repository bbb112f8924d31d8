package core

import (
	"context"
	"errors"
	"net/netip"

	"sipr/core/clock"
	"sipr/core/sipmsg"
)

func equalFold[A, B ~string | ~[]byte](a A, b B) bool { return sipmsg.EqualFold(a, b) }

// Engine is what a Request needs of the engine that made it.
type Engine interface {
	Network() Network
	// Wait runs f, which may block, after the worker has handed its socket
	// and the rest of its batch to another one. See Request.Wait.
	Wait(r *Request, what string, f func(context.Context) error) error
	// RunRoute runs a named route of the script that the request is pinned
	// to.
	RunRoute(r *Request, kind RouteKind, name string) error
	// IsMyself tells whether a host and port (0: none written) are this
	// router's own.
	IsMyself(host []byte, port uint16) bool
	// ReplyTag appends the To tag of this router's stateless replies to r: a
	// function of the request, so that a retransmission gets the same
	// (RFC 3261 §8.2.7).
	ReplyTag(dst []byte, r *Request) []byte
	// Final tells the observers of a final response to a server transaction.
	Final(e *FinalEvent)
	// Retain keeps r beyond the run that it is in; who calls it must call
	// Release once.
	Retain(r *Request)
	Release(r *Request)
	// Forward sends r to a target without a transaction (RFC 3261 §16.11).
	Forward(r *Request, t *Target) error
	// Resolve finds where a URI leads; it may wait (RFC 3263).
	Resolve(r *Request, uri *sipmsg.URI, prefer *Socket) (Flow, error)
	// ResolveAll appends to buf every way to a URI in the order in which they
	// are to be tried (RFC 3263 §4.3), at least one unless there is an error;
	// it may wait.
	ResolveAll(r *Request, uri *sipmsg.URI, prefer *Socket, buf []Flow) ([]Flow, error)
	// Unreachable notes that one of several ways led to nobody who would
	// serve, so that others are tried first for a while.
	Unreachable(way Flow)
}

// Target is one place that a request may go to: a member of the destination
// set (RFC 3261 §16.5).
type Target struct {
	// URI is the Request-URI; nil for the request's own.
	URI []byte
	// NextHop is the URI to send to instead of URI's (SER's dst_uri), or nil.
	NextHop []byte
	// Path is the value of a Route header field to insert, or nil (RFC 3327).
	Path []byte
	// Flow, if valid, is the only way to go, whatever the URIs say.
	Flow Flow
	// Datagram says that the destination registered over UDP: it gets requests
	// so, however long they are.
	Datagram bool
	// Q is the preference in thousandths, DefaultQ if none was given.
	Q int
}

// DefaultQ is the preference of a destination that was given none.
const DefaultQ = 1000

// Identity is who a request was proven to come from.
type Identity struct {
	// Known tells whether credentials were checked and right.
	Known bool
	// User and Realm are the credentials' names; UID and DID the database's.
	User, Realm, UID, DID string
}

// Transaction is the server transaction of a request; module tm implements it.
type Transaction interface {
	// Reply sends a response through the transaction.
	Reply(r *Request, a *Answer) error
	// Leave is called by the engine when a run of the script on the
	// transaction's request has ended and the request has moved to memory of
	// its own: from now on the transaction may be handled by others.
	Leave(r *Request)
	// Woken is called when a wait of the request has ended, before its run
	// goes on.
	Woken(r *Request)
}

// Answer is a response to send. Its slices are used until the call returns.
type Answer struct {
	Code   int
	Reason string
	// Headers is whole header lines, each with its CRLF.
	Headers []byte
	// ToTag overrides the tag that the router chooses.
	ToTag       []byte
	ContentType string
	Body        []byte
}

// FinalEvent is a final response to a server transaction, told just before it
// is sent.
type FinalEvent struct {
	Request *Request
	Code    int
	Reason  []byte
	// Reply is the response received from downstream, nil for our own.
	Reply *sipmsg.Message
	// ToTag is the To tag of a response of our own.
	ToTag []byte
	Now   clock.Time
}

// Request is a request on its way through the router, with all that modules and
// the script have learned of it. One goroutine owns it at a time. tm keeps it as
// long as its transaction lives, so failure and reply routes see the same
// attributes.
type Request struct {
	Engine Engine
	// Msg is the request.
	Msg *sipmsg.Message
	// Reply is the response that a reply route looks at, or the best one in a
	// failure route; else nil.
	Reply *sipmsg.Message
	// Flow is the way the request came. Dst is the local address it was sent
	// to.
	Flow Flow
	// Now is when the request was received.
	Now clock.Time
	// Out sends on behalf of the goroutine that owns the request now. Fetch it
	// anew after anything that may have waited.
	Out Sender
	// Route is the kind of route that is running.
	Route RouteKind

	Attrs Attrs
	Auth  Identity
	// Trusted says that the source is one of the operator's own
	// (allow_source_address).
	Trusted bool
	// InDialog says that loose_route has found this request to belong to a
	// dialog that was set up through this router.
	InDialog bool
	// Main is the destination that belongs to the Request-URI itself: its
	// URI stays nil. Targets are the further ones.
	Main    Target
	Targets []Target
	// Later is the destinations whose turn has not come yet, the most
	// preferred first (t_load_contacts, or serial forking by itself).
	Later []Target
	// Recurse says whether a redirection of this request is followed instead
	// of sent on (RFC 3261 §16.7 step 4): 1 yes, -1 no, 0 as tm's parameter has
	// it.
	Recurse int8
	// RecordRoute, if set, appends the Record-Route lines for a branch that
	// leaves over out; RRParams is what the script adds to them.
	RecordRoute func(dst []byte, r *Request, out *Socket) []byte
	RRParams    []byte
	// Barrier, if set, names addresses that the request must not reach: a
	// dialog that was set up without a gateway does not open one.
	Barrier func(netip.Addr) bool
	// RouteParams is the parameters of our own Route that was removed.
	RouteParams []byte
	// ReplyHeaders is header lines that this router's own responses carry
	// (append_to_reply).
	ReplyHeaders []byte
	// Dropped says that drop was called in a reply or branch route: the
	// provisional response, or the branch, does not leave.
	Dropped bool
	// Tx is the server transaction, nil while there is none.
	Tx Transaction
	// OnFailure, OnBranch and OnReply name routes for a transaction that the
	// script is about to make.
	OnFailure, OnBranch, OnReply string
	// FRTimer and FRInvTimer, if not 0, are the transaction's final response
	// timers in nanoseconds.
	FRTimer, FRInvTimer int64
	// Script is the generation of the script that the request is pinned to.
	Script any
	// Flags are the script's own (setflag).
	Flags uint32

	decided bool
	arena   []byte
	engine  engineState

	// Memory for calls through interfaces, which would otherwise be
	// allocated each time.
	answer Answer
	final  FinalEvent
	hop    Hop
	resp   Response
	next   Flow
	text   []byte
	top    []byte
}

// engineState is what the engine keeps with a request.
type engineState struct {
	Refs   int32
	Buffer any    // the receive buffer that the message was left in, if any
	Small  []byte // memory for a message that is kept; it stays with r
	// Counted says that r counts among the transactions of its script.
	Counted bool
}

// AsResponse returns the memory of r for handling a response in its message.
func (r *Request) AsResponse(from Flow, now clock.Time, out Sender) *Response {
	r.resp = Response{Msg: r.Msg, Flow: from, Now: now, Out: out}
	return &r.resp
}

// EngineState returns the engine's own fields; nobody else may use them.
func (r *Request) EngineState() *engineState { return &r.engine }

// Reset makes r ready for another request; its memory is kept.
func (r *Request) Reset() {
	msg, targets, later, rr, reply, arena, attrs := r.Msg, r.Targets[:0], r.Later[:0], r.RRParams[:0], r.ReplyHeaders[:0], r.arena[:0], r.Attrs
	attrs.Reset()
	small, text, hops := r.engine.Small, r.text[:0], r.top[:0]
	*r = Request{Msg: msg, Main: Target{Q: DefaultQ}, Targets: targets, Later: later, RRParams: rr, ReplyHeaders: reply, arena: arena, Attrs: attrs, text: text, top: hops}
	r.engine.Small = small
}

// Message returns what selects such as @from look at: the response in a reply
// route, else the request.
func (r *Request) Message() *sipmsg.Message {
	if r.Route == ReplyRoute && r.Reply != nil {
		return r.Reply
	}
	return r.Msg
}

// MethodName returns the request's method; in reply_route, where there is no
// request, the one that the response's CSeq names.
func (r *Request) MethodName() []byte {
	if r.Route == ResponseRoute {
		_, m, _ := r.Msg.CSeq()
		return m
	}
	return r.Msg.MethodText()
}

// Keep copies text into memory that lives as long as r.
func (r *Request) Keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	start := len(r.arena)
	r.arena = append(r.arena, b...)
	return r.arena[start:len(r.arena):len(r.arena)]
}

// Decide notes that the script has decided what happens to the request, so
// that its end is no mistake.
func (r *Request) Decide() { r.decided = true }

// Decided tells whether Decide was called since the last Undecide.
func (r *Request) Decided() bool { return r.decided }

// Undecide is called before a route runs.
func (r *Request) Undecide() { r.decided = false }

// Source returns the address that the request came from.
func (r *Request) Source() netip.AddrPort { return r.Flow.Remote }

// ErrAck says that an ACK cannot be answered.
var ErrAck = errors.New("an ACK is never answered")

// Answer sends a response: through the transaction if there is one, else
// statelessly. Sending a final response is a decision.
func (r *Request) Answer(a *Answer) error {
	if a.Code >= 200 {
		r.Decide()
	}
	if r.Msg.Method == sipmsg.ACK {
		return ErrAck
	}
	if r.Tx != nil {
		r.answer = *a
		return r.Tx.Reply(r, &r.answer)
	}
	return r.AnswerStateless(a)
}

// AnswerStateless sends a response without a transaction (SER's sl_reply).
func (r *Request) AnswerStateless(a *Answer) error {
	if a.Code >= 200 {
		r.Decide()
	}
	if r.Msg.Method == sipmsg.ACK {
		return ErrAck
	}
	tag := a.ToTag
	if len(tag) == 0 && a.Code != 100 {
		r.text = r.Engine.ReplyTag(r.text[:0], r)
		tag = r.text
	}
	msg := r.AppendAnswer(r.Out.Buffer(), a, tag)
	return r.Out.Send(r.ReplyFlow(), msg)
}

// AppendAnswer appends a response to dst.
func (r *Request) AppendAnswer(dst []byte, a *Answer, tag []byte) []byte {
	reply := sipmsg.Reply{
		Code: a.Code, Reason: a.Reason, ToTag: tag, Headers: a.Headers,
		ContentType: a.ContentType, Body: a.Body,
		RecordRoute: a.Code > 100 && a.Code < 300,
	}
	if len(r.ReplyHeaders) > 0 && a.Code != 100 {
		r.ReplyHeaders = append(r.ReplyHeaders, a.Headers...)
		reply.Headers = r.ReplyHeaders
		defer func() { r.ReplyHeaders = r.ReplyHeaders[:len(r.ReplyHeaders)-len(a.Headers)] }()
	}
	return r.Msg.AppendReply(dst, &reply)
}

// AnswerWith is Answer with a code and a reason only.
func (r *Request) AnswerWith(code int, reason string) error {
	return r.Answer(&Answer{Code: code, Reason: reason})
}

// Final tells the observers of a final response to r's transaction.
func (r *Request) Final(e FinalEvent) {
	r.final = e
	r.final.Request = r
	r.Engine.Final(&r.final)
}

// AddReplyHeader makes this router's responses to r carry a header field.
func (r *Request) AddReplyHeader(name, value []byte) {
	r.ReplyHeaders = append(append(append(append(r.ReplyHeaders, name...), ": "...), value...), "\r\n"...)
}

// ReplyFlow returns the way that a response to r goes: back over the same
// connection while it is open, else to the address that the request came from, at
// the port of the topmost Via unless rport asks for the source port (RFC 3261
// §18.2.2, RFC 3581). maddr is not followed: it would let anybody send our responses
// anywhere.
func (r *Request) ReplyFlow() Flow {
	f := r.Flow
	v, err := r.Msg.Via()
	if err != nil {
		return f
	}
	if f.Proto() == UDP {
		if v.HasRPort {
			return f
		}
	} else if r.Engine.Network().Alive(f) {
		return f
	}
	port := v.Port
	if port == 0 {
		port = f.Proto().Port()
	}
	f.Remote, f.Conn = netip.AddrPortFrom(f.Remote.Addr(), port), 0
	return f
}

// Wait runs f, which may block on a database, the DNS or a program, without
// holding up other messages. Slices of the message stay valid; r.Out may be
// another one afterwards. what names the wait in log lines. ctx carries the
// deadline.
func (r *Request) Wait(what string, f func(ctx context.Context) error) error {
	return r.Engine.Wait(r, what, f)
}

// AddTarget adds a destination. Its slices must live as long as r; see Keep.
func (r *Request) AddTarget(t Target) { r.Targets = append(r.Targets, t) }

// ClearTargets forgets every destination but the Request-URI, and not those
// whose turn comes later.
func (r *Request) ClearTargets() {
	r.Targets = r.Targets[:0]
	r.Main = Target{Q: DefaultQ}
}
