package tm

import (
	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// decide chooses the best of the final responses once every branch has one,
// gives the failure route its turn, and answers the caller. b is the branch that
// ended last and msg its response, which is not kept in b.reply yet.
func (t *tx) decide(b *branch, msg *sipmsg.Message, now clock.Time) {
	best := t.best()
	if best == nil { // redirected to contacts that waited, and none can be reached
		b.code, best = 480, b
	}
	for _, o := range t.branches {
		o.judged = true
	}
	var reply *sipmsg.Message
	var scratch *sipmsg.Message
	switch {
	case best == b:
		reply = msg
	case len(best.reply) > 0:
		scratch = t.m.scratch.Get().(*sipmsg.Message)
		if scratch.Parse(best.reply) == nil {
			reply = scratch
		}
	}
	if !t.failureRoute(best, reply, now) {
		t.sendBest(best, reply, now)
	}
	if scratch != nil {
		scratch.Reset()
		t.m.scratch.Put(scratch)
	}
}

// best returns the branch with the best response that was not judged yet (RFC
// 3261 §16.7 step 6): 6xx first, then the lowest class; within 4xx those that
// tell the caller what to change.
func (t *tx) best() *branch {
	var best *branch
	for _, b := range t.branches {
		if b.judged {
			continue
		}
		if best == nil || rank(b.code) < rank(best.code) {
			best = b
		}
	}
	return best
}

func rank(code int) int {
	switch {
	case code >= 600:
		return 0
	case code >= 300 && code < 400:
		return 1000
	case code == 401 || code == 407 || code == 415 || code == 420 || code == 484:
		return 2000
	case code == 408 || code == 487:
		return 2900 // what others say about the callee is worth more
	case code >= 400 && code < 500:
		return 2500
	case code == 503:
		return 3900
	}
	return 3000
}

// failureRoute runs the failure route, if there is one; true says that it has
// dealt with the request.
func (t *tx) failureRoute(best *branch, reply *sipmsg.Message, now clock.Time) bool {
	r := t.r
	if r == nil || r.OnFailure == "" || t.canceled {
		return false
	}
	route := r.OnFailure
	r.OnFailure, r.OnBranch = "", ""
	n := len(t.branches)
	t.failCode = best.code
	r.Reply = reply
	r.ClearTargets()
	t.mayWait = true
	r.Engine.RunRoute(r, core.FailureRoute, route)
	t.mayWait = false
	r.Reply = nil
	t.out = r.Out
	if t.state >= completed {
		return true
	}
	for _, b := range t.branches[n:] {
		if !b.final() {
			return true
		}
	}
	return false
}

// sendBest answers the caller with the best response.
func (t *tx) sendBest(best *branch, reply *sipmsg.Message, now clock.Time) {
	code := best.code
	if reply == nil {
		if code == 503 { // our own view of one next hop (§16.7 step 6)
			code = 500
		}
		if t.canceled {
			code = 487
		}
		if t.unspeakable(code) {
			t.silence(code, now)
			return
		}
		t.reply(&core.Answer{Code: code, Reason: sipmsg.ReasonPhrase(code)})
		return
	}
	if t.unspeakable(code) {
		t.silence(code, now)
		return
	}
	switch code {
	case 401, 407:
		t.collectChallenges(best, reply)
	case 300, 301, 302:
		t.collectContacts(best, reply)
	}
	t.replyRoute(reply)
	if code == 503 {
		t.reply(&core.Answer{Code: 500, Reason: "Service Unavailable Downstream", ToTag: reply.ToTag()})
		return
	}
	t.forwardReply(reply, now)
}

// collectChallenges adds what the other branches ask for to the response that
// is sent on, so that the caller can satisfy all at once (§16.7 step 7).
func (t *tx) collectChallenges(best *branch, reply *sipmsg.Message) {
	other := t.m.scratch.Get().(*sipmsg.Message)
	for _, b := range t.branches {
		if b == best || b.code != 401 && b.code != 407 || len(b.reply) == 0 || other.Parse(b.reply) != nil {
			continue
		}
		for _, id := range [...]sipmsg.HeaderID{sipmsg.HWWWAuthenticate, sipmsg.HProxyAuthenticate} {
			for i := other.First(id); i >= 0; i = other.Next(i) {
				if v := other.Value(i); reply.Room(len(v) + 32) {
					reply.Append(other.Name(i), v)
				}
			}
		}
	}
	other.Reset()
	t.m.scratch.Put(other)
}

// collectContacts adds the contacts of the other branches' redirections to the
// one that is sent on (§16.7 step 6).
func (t *tx) collectContacts(best *branch, reply *sipmsg.Message) {
	other := t.m.scratch.Get().(*sipmsg.Message)
	for _, b := range t.branches {
		if b == best || b.code < 300 || b.code > 302 || len(b.reply) == 0 || other.Parse(b.reply) != nil {
			continue
		}
		for v := other.Values(sipmsg.HContact); v.Next(); {
			if reply.Room(len(v.Value)+32) && !hasContact(reply, v.Value) {
				reply.Append([]byte("Contact"), v.Value)
			}
		}
	}
	other.Reset()
	t.m.scratch.Put(other)
}

func hasContact(m *sipmsg.Message, value []byte) bool {
	n, err := sipmsg.ParseNameAddr(value)
	if err != nil {
		return true // nobody needs it
	}
	for v := m.Values(sipmsg.HContact); v.Next(); {
		if o, err := sipmsg.ParseNameAddr(v.Value); err == nil && sameURI(n.URIText, o.URIText) {
			return true
		}
	}
	return false
}

// unspeakable tells whether a status must not be sent: 408 to a request other
// than INVITE, whose sender has given up itself by then, and would take it for
// a word of the next element's (RFC 4320 §4.2).
func (t *tx) unspeakable(code int) bool {
	return code == 408 && t.method != sipmsg.INVITE && !t.m.nonInvite408.Load()
}

// silence ends the server transaction without a final response.
func (t *tx) silence(code int, now clock.Time) {
	t.r.Final(core.FinalEvent{Code: code, Reason: []byte(sipmsg.ReasonPhrase(code)), ToTag: t.tag[:], Now: now})
	t.mu.Lock()
	t.m.reuse(t.last)
	t.last, t.code, t.state = nil, code, completed
	t.mu.Unlock()
}
