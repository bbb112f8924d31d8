package tm

import (
	"bytes"
	"math"
	"slices"
	"strconv"

	"sipr/core"
	"sipr/core/sipmsg"
)

// Serial forking (RFC 3261 §16.6): destinations of equal preference are tried
// together, and the less preferred ones when those have failed. What waits is
// in Request.Later; t_load_contacts and t_next_contacts move it by the script's
// will, a transaction with serial set by itself.

// preferences tells whether the destinations of a request differ in theirs.
func preferences(r *core.Request) bool {
	for i := range r.Targets {
		if r.Targets[i].Q != r.Main.Q {
			return true
		}
	}
	return false
}

// loadContacts makes all destinations of a request wait, the most preferred
// first; among equals the order stays.
func loadContacts(r *core.Request) {
	r.Later = r.Later[:0]
	if r.Main.URI == nil {
		r.Main.URI = r.Keep(r.Msg.RURIText())
	}
	waitFor(r, r.Main)
	for _, t := range r.Targets {
		waitFor(r, t)
	}
	r.ClearTargets()
}

// waitFor adds a destination to those that wait, behind its equals.
func waitFor(r *core.Request, t core.Target) {
	i := len(r.Later)
	for i > 0 && r.Later[i-1].Q < t.Q {
		i--
	}
	r.Later = slices.Insert(r.Later, i, t)
}

// nextContacts makes the most preferred of the waiting destinations the
// request's, at most limit; false says that none waits.
func nextContacts(r *core.Request, limit int) bool {
	if len(r.Later) == 0 {
		return false
	}
	r.ClearTargets()
	n := 1
	for n < len(r.Later) && n < limit && r.Later[n].Q == r.Later[0].Q {
		n++
	}
	r.Main = r.Later[0]
	r.Targets = append(r.Targets, r.Later[1:n]...)
	r.Later = slices.Delete(r.Later, 0, n)
	return true
}

// nextGroup sends the request to the next destinations that wait, if the
// transaction sees to that by itself; false says that there are none.
func (t *tx) nextGroup(r *core.Request) bool {
	if !t.serial {
		return false
	}
	have := max(t.m.breadth(r.Msg), 1)
	for !t.over() && nextContacts(r, have) {
		if made, _ := t.fork(r, have); made > 0 {
			t.m.stats.groups.Add(1)
			return true
		}
	}
	t.serial = false
	r.Later = r.Later[:0]
	return false
}

// goOn is nextGroup after the last branch of a group has failed with msg, which
// may be nil. The response is kept: it takes part in the choice of the best one
// in the end.
func (t *tx) goOn(b *branch, msg *sipmsg.Message) bool {
	if !t.serial || t.r == nil {
		return false
	}
	b.keepReply(msg)
	was := t.mayWait
	t.mayWait = true
	ok := t.nextGroup(t.r)
	t.mayWait = was
	return ok && !t.allFinal() || t.state >= completed
}

// recurses tells whether redirections of r are followed.
func (m *Module) recurses(r *core.Request) bool {
	return r.Recurse > 0 || r.Recurse == 0 && m.recursion.Load()
}

// recurse sends the request to the contacts of a redirection instead of sending
// that on (RFC 3261 §16.7 step 4): those that are SIP URIs of a kind that the
// caller asked for and have not been tried. It returns what is left of the
// response: nil if every contact is being tried.
func (t *tx) recurse(b *branch, msg *sipmsg.Message) *sipmsg.Message {
	r := t.r
	if msg == nil || r == nil || !t.m.recurses(r) || t.over() {
		return msg
	}
	switch msg.Status {
	case 300, 301, 302:
	default: // 305 and 380 are for the caller to judge
		return msg
	}
	own := copyMessage(msg) // the one received may not outlast a wait
	if own == nil {
		return msg
	}
	var list []core.Target
	var rest [][]byte
	for v := own.Values(sipmsg.HContact); v.Next(); {
		if to, ok := t.contact(r, v.Value); ok && len(list) < b.breadth && !slices.ContainsFunc(list, func(o core.Target) bool { return sameURI(o.URI, to.URI) }) {
			list = append(list, to)
		} else {
			rest = append(rest, v.Value)
		}
	}
	slices.SortStableFunc(list, func(a, b core.Target) int { return b.Q - a.Q })
	left := t.redirect(r, b, list)
	if len(left) == len(list) {
		return own
	}
	t.m.stats.recursions.Add(int64(len(list) - len(left)))
	if len(left) == 0 && len(rest) == 0 {
		b.judged = true
		return nil
	}
	own.RemoveAll(sipmsg.HContact)
	for _, v := range rest {
		own.Append([]byte("Contact"), v)
	}
	for _, v := range left {
		own.Append([]byte("Contact"), slices.Concat([]byte("<"), v.URI, []byte(">")))
	}
	return own
}

// contact returns a Contact value as a destination to try.
func (t *tx) contact(r *core.Request, value []byte) (to core.Target, ok bool) {
	n, err := sipmsg.ParseNameAddr(value)
	if err != nil {
		return to, false
	}
	u, err := n.URI()
	if err != nil {
		return to, false
	}
	asked, err := r.Msg.RURI()
	switch {
	case err != nil, u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS,
		asked.Scheme == sipmsg.SIPS && u.Scheme != sipmsg.SIPS,
		len(u.Headers) > 0: // a Request-URI has none (§19.1.1), and what they ask for is not ours to do
		return to, false
	}
	to = core.Target{URI: r.Keep(u.Raw), Q: core.DefaultQ}
	if q, has := n.Param("q"); has {
		to.Q, _ = parseQ(string(q))
	}
	return to, !t.tried(r, u.Raw)
}

// tried tells whether the request has been sent to a URI, or is going to be.
func (t *tx) tried(r *core.Request, uri []byte) bool {
	if sameURI(r.Msg.OriginalRURI(), uri) {
		return true
	}
	for _, b := range t.branches {
		if sent, ok := requestURI(b.req); ok && sameURI(sent, uri) {
			return true
		}
	}
	for i := range r.Later {
		if sameURI(r.Later[i].URI, uri) {
			return true
		}
	}
	return false
}

// redirect tries destinations, together or when their turn comes, and returns
// those that cannot be.
func (t *tx) redirect(r *core.Request, b *branch, list []core.Target) (left []core.Target) {
	if t.m.serialForking.Load() && (t.serial || len(r.Later) == 0) && len(list) > 0 {
		t.serial = true
		for _, to := range list {
			waitFor(r, to)
		}
		return nil
	}
	was := t.mayWait
	t.mayWait = true
	for i := range list {
		if t.over() || t.addBranch(r, &list[i], max(b.breadth/len(list), 1)) != nil {
			left = append(left, list[i])
		}
	}
	t.mayWait = was
	return left
}

// requestURI returns the Request-URI of a request as it was sent.
func requestURI(req []byte) ([]byte, bool) {
	_, rest, ok := bytes.Cut(req, []byte(" "))
	if !ok {
		return nil, false
	}
	uri, _, ok := bytes.Cut(rest, []byte(" "))
	return uri, ok
}

func sameURI(a, b []byte) bool {
	x, err := sipmsg.ParseURI(a)
	if err != nil {
		return false
	}
	y, err := sipmsg.ParseURI(b)
	return err == nil && sipmsg.EqualURI(&x, &y)
}

// parseQ returns a q value in thousandths; false if it is none.
func parseQ(text string) (int, bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return core.DefaultQ, false
	}
	return int(math.Round(f * 1000)), true
}
