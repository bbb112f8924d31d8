package auth

import (
	"sipr/core"
	"sipr/core/sipmsg"
)

// claimed returns the URI that a request claims to come from: To of a
// REGISTER, else From.
func claimed(r *core.Request) (*sipmsg.URI, error) {
	if r.Msg.Method == sipmsg.REGISTER {
		return r.Msg.ToURI()
	}
	return r.Msg.FromURI()
}

// owns tells whether the credentials that r was accepted with own the AoR of a
// URI. With module users, their uid must be its owner: the name in credentials
// may differ from the user's, and may even be that of somebody else's address.
// Without it, they must have its name in its domain.
func (m *Module) owns(r *core.Request, u *sipmsg.URI, err error) core.Result {
	if r.Msg.Method == sipmsg.ACK || r.Msg.Method == sipmsg.CANCEL {
		return core.True
	}
	if !r.Auth.Known {
		return core.False("no_credentials")
	}
	if err != nil || len(u.Host) == 0 || len(u.User) == 0 || u.Scheme != sipmsg.SIP && u.Scheme != sipmsg.SIPS {
		return core.False("not_owner")
	}
	w := m.take()
	defer m.give(w)
	w.buf = sipmsg.AppendUnescaped(w.buf[:0], u.User)
	user := w.buf
	did, ok, err := m.claimedDID(w, r, u.Host)
	switch {
	case err != nil:
		return core.Fail(err)
	case !ok:
		return core.False("not_owner")
	case m.owners == nil:
		// A did that is a host name, for want of module domain, may have been
		// written in any letter case.
		same := did == r.Auth.DID || m.domains == nil && sipmsg.EqualFold(did, r.Auth.DID)
		if same && string(user) == r.Auth.User {
			return core.True
		}
		return core.False("not_owner")
	case r.Auth.UID == "":
		return core.False("not_owner")
	}
	uid, ok, err := m.owners.Owner(r, did, user)
	if err != nil {
		return core.Fail(err)
	}
	if !ok || uid != r.Auth.UID {
		return core.False("not_owner")
	}
	return core.True
}

// claimedDID returns the did of a host. Without module domain that is the host
// in lower case.
func (m *Module) claimedDID(w *work, r *core.Request, host []byte) (did string, ok bool, err error) {
	if m.domains != nil {
		return m.domains.Lookup(r, host)
	}
	w.realm = appendLower(w.realm[:0], host)
	if string(w.realm) == r.Auth.DID { // the usual case, which costs no new string
		return r.Auth.DID, true, nil
	}
	return string(w.realm), true, nil
}
