package registrar

import (
	"context"
	"errors"
	"fmt"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// save's flags, which have Kamailio's numbers.
const (
	flagNoReply = 2
	flagSingle  = 4
)

func (m *Module) exports() []core.Export {
	table := core.String("table", "name of the location table: the value of parameter table").Checked(func(s string) error {
		if s != m.table {
			return fmt.Errorf("there is no location table %q: parameter table of module registrar says %q", s, m.table)
		}
		return nil
	})
	uri := core.Text("uri", "an address of record; the Request-URI if it is not given").Opt()
	return []core.Export{
		core.Func("save", m.save, "Carries out a REGISTER and answers it: 200 with all contacts, or the status that the request "+
			"deserves, with which save returns false and a word: contact, contacts, expires, aor, callid, path, extension, domain, stale. "+
			"A database that fails is answered with 500 and ends the script.",
			table, core.Int("flags", "2: send no reply (a 200 that the script sends carries the contacts); 4: only the contacts of this request stay").Opt(),
		).In(core.RequestRoute),
		core.Func("lookup", m.lookup, "Makes the contacts of a registered user the destinations of the request, in the order of their preference. "+
			"False has a word: offline for a user without contacts, unknown if there is no such user.",
			table, uri).In(core.RequestRoute | core.FailureRoute),
		core.Func("registered", m.registered, "Tells whether a user has contacts.", uri),
		core.Func("unregister", m.unregister, "Removes a contact of a user, or all of them. False (offline) if there was none.",
			core.Text("uri", "an address of record"), core.Text("contact", "the contact's URI").Opt()),
	}
}

func (m *Module) save(r *core.Request, a *core.Args) core.Result {
	if r.Msg.Method != sipmsg.REGISTER {
		return core.False("method")
	}
	g := m.getRegistration(r)
	defer m.putRegistration(g)
	flags := a.Int(1, 0)
	g.single = flags&flagSingle != 0
	err := g.parse(r)
	if err == nil {
		err = m.apply(r, g)
	}
	if err != nil {
		if ref, ok := errors.AsType[*refusal](err); ok {
			return m.refuse(r, g, flags, ref)
		}
		m.failed.Add(1)
		if flags&flagNoReply == 0 {
			_ = r.AnswerWith(failure.code, failure.reason)
		}
		if len(g.key) > 0 {
			err = fmt.Errorf("%s: %w", knownAs(string(g.key)), err)
		}
		return core.Fail(fmt.Errorf("save: %w", err))
	}
	m.accepted.Add(1)
	g.headers = appendContacts(g.headers[:0], g.result, g.now)
	if len(g.path) > 0 {
		g.headers = append(append(append(g.headers, "Path: "...), g.path...), "\r\n"...)
	}
	if flags&flagNoReply != 0 {
		r.ReplyHeaders = append(r.ReplyHeaders, g.headers...)
		return core.True
	}
	g.headers = append(g.headers, m.dateLine(g.now)...)
	return m.answer(r, g, 200, "OK", core.True)
}

// dateLine returns the Date header line, which is made once a second.
func (m *Module) dateLine(now clock.Time) []byte {
	if d := m.date.Load(); d != nil && d.second == now.Unix() {
		return d.line
	}
	d := &dateLine{second: now.Unix(), line: now.Std().AppendFormat([]byte("Date: "), "Mon, 02 Jan 2006 15:04:05 GMT\r\n")}
	m.date.Store(d)
	return d.line
}

// dateLine is a Date header line and the second that it belongs to.
type dateLine struct {
	second int64
	line   []byte
}

// apply changes the bindings, or only reads them.
func (m *Module) apply(r *core.Request, g *registration) error {
	if len(g.contacts) == 0 && !g.star {
		g.result = m.store.read(g.key)
		return nil
	}
	if m.committer == nil {
		return m.store.change(context.Background(), g.key, g)
	}
	return m.wait(r, g.key, g)
}

// refuse answers a request that is not granted.
func (m *Module) refuse(r *core.Request, g *registration, flags int64, ref *refusal) core.Result {
	m.refused.Add(1)
	if flags&flagNoReply != 0 {
		return core.False(ref.why)
	}
	if ref == tooBrief {
		g.headers = core.IntValue(int64(m.minExpires.Load().Seconds())).Append(append(g.headers[:0], "Min-Expires: "...))
		g.headers = append(g.headers, "\r\n"...)
	}
	return m.answer(r, g, ref.code, ref.reason, core.False(ref.why))
}

// answer sends a reply with g's headers. What was decided stands even if the
// reply cannot leave: the phone asks again and gets the same answer.
func (m *Module) answer(r *core.Request, g *registration, code int, reason string, res core.Result) core.Result {
	if err := r.Answer(&core.Answer{Code: code, Reason: reason, Headers: g.headers}); err != nil {
		m.host.Log().Debug("reply to REGISTER not sent", "err", err)
	}
	return res
}
