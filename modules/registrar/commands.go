package registrar

import (
	"context"
	"errors"
	"slices"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// maxDump is how many AoRs one call of dump returns at most.
const maxDump = 1000

func (m *Module) commands() []core.Command {
	return append([]core.Command{
		{Name: "dump", Doc: "Lists registered users, at most 1000 a call, in an order that stays the same while nobody registers.", Args: "[count [offset]]", Run: m.cmdDump},
		{Name: "lookup", Doc: "Shows the contacts of a user.", Args: "<aor>", Run: m.cmdLookup},
		{Name: "rm", Doc: "Removes a contact of a user, or all of them.", Args: "<aor> [contact]", Run: m.cmdRm},
		{Name: "add", Doc: "Registers a contact that stays for a number of seconds.", Args: "<aor> <contact> [expires]", Run: m.cmdAdd},
		{Name: "stats", Doc: "Counts users and contacts.", Run: m.cmdStats},
	}, m.ulCommands()...)
}

// aorKey reads an AoR, with any name of its domain; the scheme may be missing.
func (m *Module) aorKey(text string) ([]byte, error) {
	if text == "" {
		return nil, &core.Fault{Code: 400, Reason: "an address of record is expected"}
	}
	u, err := sipmsg.ParseURI([]byte(text))
	if err != nil || u.Scheme == sipmsg.SchemeOther {
		u, err = sipmsg.ParseURI([]byte("sip:" + text))
	}
	if err != nil {
		return nil, &core.Fault{Code: 400, Reason: "bad address of record " + text}
	}
	key, local, ok, err := m.appendKey(nil, nil, &u)
	if err != nil {
		return nil, err
	}
	if !local || !ok {
		return nil, &core.Fault{Code: 404, Reason: text + " is no address of record of this router"}
	}
	return key, nil
}

func (m *Module) cmdDump(_ context.Context, c *core.Call) error {
	count, offset := c.Int(0, 100), c.Int(1, 0)
	if count < 1 || count > maxDump || offset < 0 {
		return &core.Fault{Code: 400, Reason: "count is from 1 to 1000, offset from 0"}
	}
	now := m.host.Clock().Now()
	m.mem.page(int(offset), int(count), func(key string, list []binding) { addAoR(c, key, list, now) })
	return nil
}

// page calls f for count AoRs after the first offset ones.
func (s *memory) page(offset, count int, f func(key string, list []binding)) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		if n := len(sh.m); offset >= n {
			offset -= n
			sh.mu.RUnlock()
			continue
		}
		keys := make([]string, 0, len(sh.m))
		for key := range sh.m {
			keys = append(keys, key)
		}
		sh.mu.RUnlock()
		slices.Sort(keys)
		for _, key := range keys[offset:] {
			if count == 0 {
				return
			}
			count--
			f(key, s.read([]byte(key)))
		}
		offset = 0
	}
}

func addAoR(c *core.Call, key string, list []binding, now clock.Time) {
	did, user := splitAoR(key)
	s := c.Struct().Add("did", did).Add("user", user)
	for i := range list {
		b := &list[i]
		if !b.live(now) {
			continue
		}
		s.Struct("contact").
			Add("uri", string(b.get(fContact))).
			Add("q", float64(b.q)/1000).
			Add("expires", int64(b.expires.Sub(now)/time.Second)).
			Add("received", b.receivedText()).
			Add("socket", b.socketText()).
			Add("path", string(b.get(fPath))).
			Add("instance", string(b.get(fInstance))).
			Add("user_agent", string(b.get(fUserAgent))).
			Add("call_id", string(b.get(fCallID))).
			Add("cseq", int64(b.cseq)).
			Add("ruid", string(b.get(fRUID)))
	}
}

func (m *Module) cmdLookup(_ context.Context, c *core.Call) error {
	key, err := m.aorKey(c.String(0))
	if err != nil {
		return err
	}
	list, now := m.store.read(key), m.host.Clock().Now()
	if !anyLive(list, now) {
		return &core.Fault{Code: 404, Reason: c.String(0) + " has no contacts"}
	}
	addAoR(c, string(key), list, now)
	return nil
}

func (m *Module) cmdRm(ctx context.Context, c *core.Call) error {
	key, err := m.aorKey(c.String(0))
	if err != nil {
		return err
	}
	return m.remove(ctx, key, c.String(1))
}

// remove removes a contact of an AoR, or all of them if it is "".
func (m *Module) remove(ctx context.Context, key []byte, contact string) error {
	change := &removal{now: m.host.Clock().Now()}
	if contact != "" {
		u, err := sipmsg.ParseURI([]byte(contact))
		if err != nil {
			return &core.Fault{Code: 400, Reason: "bad contact " + contact}
		}
		change.uri = &u
	}
	if err := m.store.change(ctx, key, change); errors.Is(err, errNothing) {
		return &core.Fault{Code: 404, Reason: "no such contact"}
	} else if err != nil {
		return err
	}
	return nil
}

func (m *Module) cmdAdd(ctx context.Context, c *core.Call) error {
	key, err := m.aorKey(c.String(0))
	if err != nil {
		return err
	}
	return m.insert(ctx, c, key, insertion{contact: c.String(1), expires: c.Int(2, -1), callID: "registrar.add"})
}

// insertion is what a command registers.
type insertion struct {
	contact string
	expires int64 // seconds; -1 for default_expires
	q       string
	path    string
	callID  string
}

// insert registers as a REGISTER would, with a Call-ID of its own. CSeq is the
// time, so that a later call changes what an earlier one made.
func (m *Module) insert(ctx context.Context, c *core.Call, key []byte, in insertion) error {
	if in.contact == "" {
		return &core.Fault{Code: 400, Reason: "a contact is expected"}
	}
	if in.expires == -1 {
		in.expires = int64(m.defaultExpires.Load() / time.Second)
	}
	if in.expires < 1 || in.expires > int64(maxLifetime/time.Second) {
		return &core.Fault{Code: 400, Reason: "expires is from 1 second to 30 days"}
	}
	now := m.host.Clock().Now()
	g := &registration{m: m, now: now, callID: []byte(in.callID), cseq: uint32(now.Unix()), path: []byte(in.path), contacts: make([]contact, 1)}
	text := "<" + in.contact + ">"
	if in.q != "" {
		text += ";q=" + in.q
	}
	if ref := m.parseContact(&g.contacts[0], []byte(text), uint32(in.expires)); ref != nil {
		return &core.Fault{Code: ref.code, Reason: ref.reason}
	}
	if err := m.store.change(ctx, key, g); err != nil {
		if ref, ok := errors.AsType[*refusal](err); ok {
			return &core.Fault{Code: ref.code, Reason: ref.reason}
		}
		return err
	}
	addAoR(c, string(key), g.result, now)
	return nil
}

func (m *Module) cmdStats(_ context.Context, c *core.Call) error {
	c.Struct().
		Add("users", m.mem.aors.Load()).
		Add("contacts", m.mem.contacts.Load()).
		Add("accepted", m.accepted.Load()).
		Add("refused", m.refused.Load()).
		Add("failed", m.failed.Load()).
		Add("expired", m.expired.Load())
	return nil
}
