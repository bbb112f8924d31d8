package tm

import (
	"errors"
	"fmt"

	"sipr/core"
	"sipr/core/sipmsg"
)

// API is what tm offers to other modules.
type API interface {
	// Send sends a request of this router's own, whole but for its Via, over
	// a flow, and calls done with each provisional response and then once
	// with the final one: a response that was received, or a nil message and
	// 408 or 503. A 2xx to an INVITE has to be acknowledged by the caller.
	// done runs on a goroutine of tm's choice and must not block or keep the
	// message.
	Send(request []byte, to core.Flow, done func(code int, reply *sipmsg.Message)) error
}

// Send implements API.
func (m *Module) Send(request []byte, to core.Flow, done func(code int, reply *sipmsg.Message)) error {
	msg := new(sipmsg.Message)
	if err := msg.Parse(request); err != nil {
		return fmt.Errorf("request to send: %w", err)
	}
	if !msg.IsRequest() || msg.Method == sipmsg.ACK || !to.Valid() {
		return errors.New("request to send: a request other than ACK and a flow are expected")
	}
	t := m.fresh()
	t.mu.Lock()
	t.key = t.key[:0]
	t.begin(msg.Method, m.clock.Now())
	t.done, t.reliable = done, true
	t.mu.Unlock()
	if !m.client.add(t) {
		t.recycle()
		return errFull
	}
	t.wheel = m.wheels[int(t.index)%len(m.wheels)]
	t.open()
	b := t.freshBranch()
	b.flow = to
	b.id = appendBranch(b.id[:0], t.index, 0, 0)
	mf := msg.MaxForwards()
	if mf <= 0 {
		mf = 70
	}
	b.req = msg.AppendForward(m.buffer(), &sipmsg.Forward{Top: core.AppendVia(nil, to.Socket, b.id), MaxForwards: mf})
	t.mu.Lock()
	t.branches = append(t.branches, b)
	t.mu.Unlock()
	out := m.host.Network().NewSender()
	t.out = out
	b.begin(t.created, m.frTimer.Load())
	t.letGo()
	out.Flush()
	return nil
}
