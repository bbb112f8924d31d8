package registrar

import (
	"context"
	"errors"
	"time"

	"sipr/core"
	"sipr/core/clock"
	"sipr/core/sipmsg"
)

// ulCommands are the commands of Kamailio's usrloc: their parameters begin with
// the name of the table, and their answers have its names.
func (m *Module) ulCommands() []core.Command {
	return []core.Command{
		{Name: "ul.dump", Args: "[brief] [count [offset]]", Doc: "Lists registered users as Kamailio does, at most 1000 a call; brief leaves their contacts out.", Run: m.cmdULDump},
		{Name: "ul.lookup", Args: "<table> <aor>", Doc: "Shows the contacts of a user as Kamailio does.", Run: m.cmdULLookup},
		{Name: "ul.add", Args: "<table> <aor> <contact> [expires [q [path [flags [cflags [methods]]]]]]", Doc: "Registers a contact. Flags and methods are taken and not used.", Run: m.cmdULAdd},
		{Name: "ul.rm", Args: "<table> <aor>", Doc: "Removes all contacts of a user.", Run: m.cmdULRm},
		{Name: "ul.rm_contact", Args: "<table> <aor> <contact>", Doc: "Removes a contact of a user.", Run: m.cmdULRmContact},
		{Name: "ul.flush", Doc: "Does nothing: what is registered is in the database before the 200 leaves.", Run: func(context.Context, *core.Call) error { return nil }},
	}
}

// unset is what Kamailio shows for what a binding does not have.
const unset = "[not set]"

// tableArg checks the name of the table, which must be ours; Kamailio's own
// name for it will do, however the table is called.
func (m *Module) tableArg(c *core.Call) error {
	switch name := c.String(0); name {
	case m.table, "location":
		return nil
	case "":
		return &core.Fault{Code: 400, Reason: "the name of the table is expected first: location"}
	default:
		return &core.Fault{Code: 404, Reason: "there is no table " + name + ": " + m.table + " is"}
	}
}

// aorName is an AoR as operators write it: a name of its domain is known for
// the did alone, since a domain has several.
func aorName(key string) string {
	did, user := splitAoR(key)
	return user + "@" + did
}

// ulContacts is the list of contacts of an AoR; it is empty if all have expired.
func ulContacts(list []binding, now clock.Time) []any {
	out := []any{}
	for i := range list {
		b := &list[i]
		if !b.live(now) {
			continue
		}
		s := &core.Struct{}
		s.Struct("Contact").
			Add("Address", string(b.get(fContact))).
			Add("Expires", int64(b.expires.Sub(now)/time.Second)).
			Add("Q", float64(b.q)/1000).
			Add("Call-ID", string(b.get(fCallID))).
			Add("CSeq", int64(b.cseq)).
			Add("User-Agent", orUnset(string(b.get(fUserAgent)))).
			Add("Received", orUnset(b.receivedText())).
			Add("Path", orUnset(string(b.get(fPath)))).
			Add("State", "CS_SYNC").
			Add("Socket", orUnset(b.socketText())).
			Add("Methods", orUnset(string(b.get(fMethods)))).
			Add("Ruid", string(b.get(fRUID))).
			Add("Instance", orUnset(string(b.get(fInstance)))).
			Add("Reg-Id", int64(b.regID)).
			Add("Last-Modified", int64(b.modified))
		out = append(out, s)
	}
	return out
}

func orUnset(s string) string {
	if s == "" {
		return unset
	}
	return s
}

func (m *Module) cmdULDump(_ context.Context, c *core.Call) error {
	first, brief := 0, false
	switch c.String(0) {
	case "brief":
		first, brief = 1, true
	case "full":
		first = 1
	}
	count, offset := c.Int(first, maxDump), c.Int(first+1, 0)
	if count < 1 || count > maxDump || offset < 0 {
		return &core.Fault{Code: 400, Reason: "count is from 1 to 1000, offset from 0"}
	}
	now, aors := m.host.Clock().Now(), []any{}
	m.mem.page(int(offset), int(count), func(key string, list []binding) {
		contacts := ulContacts(list, now)
		s := &core.Struct{}
		info := s.Struct("Info").Add("AoR", aorName(key))
		if brief {
			info.Add("ContactCount", int64(len(contacts)))
		} else {
			info.Add("Contacts", contacts)
		}
		aors = append(aors, s)
	})
	table := &core.Struct{}
	table.Struct("Domain").Add("Domain", m.table).Add("AoRs", aors).
		Struct("Stats").Add("Records", m.mem.aors.Load()).Add("Contacts", m.mem.contacts.Load())
	c.Struct().Add("Domains", []any{table})
	return nil
}

func (m *Module) cmdULLookup(_ context.Context, c *core.Call) error {
	key, err := m.ulKey(c)
	if err != nil {
		return err
	}
	contacts := ulContacts(m.store.read(key), m.host.Clock().Now())
	if len(contacts) == 0 {
		return &core.Fault{Code: 404, Reason: "AOR not found"}
	}
	c.Struct().Add("AoR", aorName(string(key))).Add("Contacts", contacts)
	return nil
}

// ulKey reads the table and the AoR that most commands begin with.
func (m *Module) ulKey(c *core.Call) ([]byte, error) {
	if err := m.tableArg(c); err != nil {
		return nil, err
	}
	return m.aorKey(c.String(1))
}

func (m *Module) cmdULRm(ctx context.Context, c *core.Call) error {
	key, err := m.ulKey(c)
	if err != nil {
		return err
	}
	err = m.remove(ctx, key, "")
	if fault, ok := errors.AsType[*core.Fault](err); ok && fault.Code == 404 {
		return &core.Fault{Code: 404, Reason: "AOR not found"}
	}
	return err
}

func (m *Module) cmdULRmContact(ctx context.Context, c *core.Call) error {
	key, err := m.ulKey(c)
	if err != nil {
		return err
	}
	if c.String(2) == "" {
		return &core.Fault{Code: 400, Reason: "a contact is expected"}
	}
	return m.remove(ctx, key, c.String(2))
}

func (m *Module) cmdULAdd(ctx context.Context, c *core.Call) error {
	key, err := m.ulKey(c)
	if err != nil {
		return err
	}
	path := c.String(5)
	if path == "0" || path == "." { // what scripts write for none
		path = ""
	}
	if path != "" && !validPath([]byte(path)) {
		return &core.Fault{Code: 400, Reason: "bad path " + path}
	}
	err = m.insert(ctx, c, key, insertion{contact: c.String(2), expires: c.Int(3, -1), q: c.String(4), path: path, callID: "ul.add"})
	c.Reply = nil // Kamailio's answer is empty
	return err
}

// validPath tells whether a text may stand in a Path header field.
func validPath(path []byte) bool {
	if len(path) > sizeOf[fPath] || !printable(path) {
		return false
	}
	var msg sipmsg.Message
	if msg.Parse([]byte("OPTIONS sip:x SIP/2.0\r\nPath: "+string(path)+"\r\n\r\n")) != nil {
		return false
	}
	n := 0
	for v := msg.Values(sipmsg.HPath); v.Next(); n++ {
		if na, err := sipmsg.ParseNameAddr(v.Value); err != nil || !na.Bracketed {
			return false
		}
	}
	return n > 0
}
