package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"sipr/core"
	"sipr/core/sipmsg"
)

var errTooManyEdits = errors.New("the message has been edited too often")

func (m *coreModule) answer(a *core.Args) (core.Answer, error) {
	code := int(a.Int(0, 0))
	if code < 100 || code > 699 {
		return core.Answer{}, fmt.Errorf("status code %d is not from 100 to 699", code)
	}
	reason := a.String(1)
	if strings.ContainsAny(reason, "\r\n") {
		return core.Answer{}, errors.New("the reason phrase holds a line break")
	}
	if reason == "" {
		reason = sipmsg.ReasonPhrase(code)
	}
	return core.Answer{Code: code, Reason: reason}, nil
}

func (m *coreModule) slReply(r *core.Request, a *core.Args) core.Result {
	ans, err := m.answer(a)
	if err != nil {
		return core.Fail(err)
	}
	if r.Tx != nil {
		return answered(r.Answer(&ans))
	}
	return answered(r.AnswerStateless(&ans))
}

func (m *coreModule) reply(r *core.Request, a *core.Args) core.Result {
	ans, err := m.answer(a)
	if err != nil {
		return core.Fail(err)
	}
	return answered(r.Answer(&ans))
}

func answered(err error) core.Result {
	switch {
	case errors.Is(err, core.ErrAck):
		return core.False("ack")
	case err != nil:
		return core.False("not_sent")
	}
	return core.True
}

func (m *coreModule) redirect(r *core.Request, a *core.Args) core.Result {
	code := int(a.Int(0, 302))
	if code < 300 || code > 399 {
		return core.Fail(fmt.Errorf("status code %d is not from 300 to 399", code))
	}
	reason := a.String(1)
	if reason == "" {
		reason = sipmsg.ReasonPhrase(code)
	}
	var h []byte
	add := func(uri []byte, q int) {
		h = append(append(append(h, "Contact: <"...), uri...), '>')
		if q > 0 && q < 1000 {
			h = fmt.Appendf(h, ";q=0.%03d", q)
		}
		h = append(h, "\r\n"...)
	}
	add(r.Msg.RURIText(), r.Main.Q)
	for _, t := range r.Targets {
		if t.URI != nil {
			add(t.URI, t.Q)
		}
	}
	return answered(r.Answer(&core.Answer{Code: code, Reason: reason, Headers: h}))
}

// splitHeader splits "Name: value" and refuses what would break the message.
func splitHeader(line []byte) (name, value []byte, err error) {
	line = bytes.TrimRight(line, "\r\n")
	name, value, ok := bytes.Cut(line, []byte(":"))
	name, value = sipmsg.Trim(name), sipmsg.Trim(value)
	switch {
	case !ok || !sipmsg.IsToken(name):
		return nil, nil, fmt.Errorf("%q is no header field: \"Name: value\" is expected", line)
	case bytes.ContainsAny(value, "\r\n\x00"):
		return nil, nil, fmt.Errorf("the value of %s holds a line break", name)
	}
	return name, value, nil
}

func (m *coreModule) appendToReply(r *core.Request, a *core.Args) core.Result {
	name, value, err := splitHeader(a.Bytes(0))
	if err != nil {
		return core.Fail(err)
	}
	r.AddReplyHeader(name, value)
	return core.True
}

func (m *coreModule) drop(r *core.Request, _ *core.Args) core.Result {
	r.Decide()
	if r.Route&(core.ReplyRoute|core.BranchRoute|core.ResponseRoute) != 0 {
		r.Dropped = true
	}
	return core.Result{Stop: true}
}

func (m *coreModule) exit(*core.Request, *core.Args) core.Result { return core.Result{Stop: true} }

func (m *coreModule) log(_ *core.Request, a *core.Args) core.Result {
	var level slog.Level
	name := a.String(0)
	if err := level.UnmarshalText([]byte(name)); err != nil {
		switch {
		case strings.HasPrefix(name, "L_") && level.UnmarshalText([]byte(name[2:])) == nil:
		default:
			level = slog.LevelInfo
		}
	}
	m.e.log.Log(context.Background(), level, "script", "line", a.String(1))
	return core.Nothing
}

// fixed names header fields that the script may not touch: without them, or
// with others, no response would find its way.
func fixed(id sipmsg.HeaderID) bool {
	switch id {
	case sipmsg.HVia, sipmsg.HCallID, sipmsg.HCSeq, sipmsg.HContentLength, sipmsg.HMaxForwards:
		return true
	}
	return false
}

func checkFixed(name []byte) error {
	if id := sipmsg.LookupHeader(name); fixed(id) {
		return fmt.Errorf("%s is the router's own and cannot be changed", id)
	}
	return nil
}

func (m *coreModule) appendHF(r *core.Request, a *core.Args) core.Result {
	return m.addHF(r, a, (*sipmsg.Message).Append)
}

func (m *coreModule) insertHF(r *core.Request, a *core.Args) core.Result {
	return m.addHF(r, a, (*sipmsg.Message).Insert)
}

func (m *coreModule) addHF(r *core.Request, a *core.Args, add func(*sipmsg.Message, []byte, []byte)) core.Result {
	name, value, err := splitHeader(a.Bytes(0))
	if err == nil {
		err = checkFixed(name)
	}
	if err == nil && !r.Message().Room(len(name)+len(value)+4) {
		err = errTooManyEdits
	}
	if err != nil {
		return core.Fail(err)
	}
	add(r.Message(), name, value)
	return core.True
}

func checkValue(value []byte) error {
	if bytes.ContainsAny(value, "\r\n\x00") {
		return errors.New("the value holds a line break")
	}
	return nil
}

func (m *coreModule) setHF(r *core.Request, a *core.Args) core.Result {
	res := m.replaceHF(r, a)
	if res.Err != nil || res.Value.Num != 0 {
		return res
	}
	if !sipmsg.IsToken(a.Bytes(0)) {
		return core.Fail(fmt.Errorf("%q is not the name of a header field", a.Bytes(0)))
	}
	r.Message().Append(a.Bytes(0), a.Bytes(1))
	return core.True
}

func (m *coreModule) replaceHF(r *core.Request, a *core.Args) core.Result {
	name, value := a.String(0), a.Bytes(1)
	err := checkFixed([]byte(name))
	if err == nil {
		err = checkValue(value)
	}
	if err == nil && !r.Message().Room(len(value)+4) {
		err = errTooManyEdits
	}
	if err != nil {
		return core.Fail(err)
	}
	i := r.Message().Find(name, 0)
	if i < 0 {
		return core.False("none")
	}
	r.Message().Replace(i, value)
	return core.True
}

func (m *coreModule) removeHF(r *core.Request, a *core.Args) core.Result {
	name := a.String(0)
	if err := checkFixed([]byte(name)); err != nil {
		return core.Fail(err)
	}
	msg := r.Message()
	found := false
	for i := msg.Find(name, 0); i >= 0; i = msg.Find(name, i+1) {
		msg.Remove(i)
		found = true
	}
	return core.Is(found)
}

func (m *coreModule) hasHF(r *core.Request, a *core.Args) core.Result {
	return core.Is(r.Message().Find(a.String(0), 0) >= 0)
}

func (m *coreModule) setBody(r *core.Request, a *core.Args) core.Result {
	if err := checkValue(a.Bytes(1)); err != nil {
		return core.Fail(err)
	}
	if !r.Message().Room(len(a.Bytes(0)) + len(a.Bytes(1))) {
		return core.Fail(errTooManyEdits)
	}
	r.Message().SetBody(a.Bytes(1), a.Bytes(0))
	return core.True
}
