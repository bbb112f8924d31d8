package auth

import (
	"sipr/core"
	"sipr/core/sipmsg"
)

func (m *Module) exports() []core.Export {
	const realmDoc = "The realm. If it is empty, it is the canonical name of the domain that is in To of a REGISTER, else in From; for a foreign domain it is the host there."
	realm, ownRealm := core.Text("realm", realmDoc).Opt(), core.Text("realm", realmDoc)
	flags := core.Int("flags", "A sum of 1 (qop auth), 4 (qop auth-int) and 16 (stale), 0 for no qop; parameter qop if left out.").Opt().Checked(checkFlags)
	password := core.Text("password", "The password of whoever the credentials name.")
	form := core.Int("flags", "1: password is an HA1 in hex.").Opt()
	const why = " False with no_credentials, stale, unknown_user, wrong_password, bad_nonce, replay or bad_credentials."
	const passes = " ACK and CANCEL pass, since they cannot be challenged."
	const judging = core.RequestRoute | core.FailureRoute
	const editing = judging | core.BranchRoute
	return []core.Export{
		core.Func("www_authorize", m.wwwAuthorize, "Checks Authorization against the database."+passes+why, realm).In(judging),
		core.Func("proxy_authorize", m.proxyAuthorize, "Checks Proxy-Authorization against the database."+passes+why, realm).In(judging),
		core.Func("www_challenge", m.wwwChallenge, "Answers 401 with a challenge for each algorithm, stale if that is what the last check said.", realm, flags).In(judging),
		core.Func("proxy_challenge", m.proxyChallenge, "Answers 407 with a challenge for each algorithm, stale if that is what the last check said.", realm, flags).In(judging),
		core.Func("auth_challenge", m.authChallenge, "Is www_challenge for REGISTER, else proxy_challenge.", realm, flags).In(judging),
		core.Func("consume_credentials", m.consume, "Removes the header field that the last check accepted, so that it is not sent on. False with no_credentials where there was none.").In(editing),
		core.Func("pv_www_authorize", m.pvWWWAuthorize, "Checks Authorization against a password that the script gives."+passes+why, ownRealm, password, form).In(judging),
		core.Func("pv_auth_check", m.pvAuthCheck, "Checks Authorization of a REGISTER, else Proxy-Authorization, against a password that the script gives."+passes+why, ownRealm, password, form).In(judging),
		core.Func("check_identity", m.checkIdentity, "Tells whether the accepted credentials own the address in To (for REGISTER) or From: by their uid with module users, else by their name. False with not_owner or no_credentials.").In(editing),
		core.Func("check_to", m.checkTo, "Tells whether the accepted credentials own the address in To. False with not_owner or no_credentials.").In(editing),
		core.Func("check_from", m.checkFrom, "Tells whether the accepted credentials own the address in From. False with not_owner or no_credentials.").In(editing),
	}
}

func (m *Module) wwwAuthorize(r *core.Request, a *core.Args) core.Result {
	return m.authorize(r, sipmsg.HAuthorization, a.Bytes(0), nil)
}

func (m *Module) proxyAuthorize(r *core.Request, a *core.Args) core.Result {
	return m.authorize(r, sipmsg.HProxyAuthorization, a.Bytes(0), nil)
}

func (m *Module) wwwChallenge(r *core.Request, a *core.Args) core.Result {
	return m.challenge(r, 401, a.Bytes(0), flagsArg(a, 1))
}

func (m *Module) proxyChallenge(r *core.Request, a *core.Args) core.Result {
	return m.challenge(r, 407, a.Bytes(0), flagsArg(a, 1))
}

func (m *Module) authChallenge(r *core.Request, a *core.Args) core.Result {
	if r.Msg.Method == sipmsg.REGISTER {
		return m.wwwChallenge(r, a)
	}
	return m.proxyChallenge(r, a)
}

func (m *Module) pvWWWAuthorize(r *core.Request, a *core.Args) core.Result {
	return m.pvAuthorize(r, a, sipmsg.HAuthorization)
}

func (m *Module) pvAuthCheck(r *core.Request, a *core.Args) core.Result {
	if r.Msg.Method == sipmsg.REGISTER {
		return m.pvAuthorize(r, a, sipmsg.HAuthorization)
	}
	return m.pvAuthorize(r, a, sipmsg.HProxyAuthorization)
}

// pvAuthorize treats a password that is not there, such as an attribute
// without value, as one that nobody knows.
func (m *Module) pvAuthorize(r *core.Request, a *core.Args, id sipmsg.HeaderID) core.Result {
	g := &given{password: a.Bytes(1), isHA1: a.Int(2, 0)&1 != 0}
	if len(g.password) == 0 {
		g = &given{password: []byte(m.decoy)}
	}
	return m.authorize(r, id, a.Bytes(0), g)
}

// consume implements consume_credentials (RFC 3261 §22.3: a proxy need not
// pass on what was meant for it).
func (m *Module) consume(r *core.Request, _ *core.Args) core.Result {
	v, i := recall(r)
	if v != accepted || !r.Auth.Known || i >= r.Msg.Len() || r.Msg.Removed(i) {
		return core.False("no_credentials")
	}
	if id := r.Msg.HeaderID(i); id != sipmsg.HAuthorization && id != sipmsg.HProxyAuthorization {
		return core.False("no_credentials")
	}
	r.Msg.Remove(i)
	return core.True
}

func (m *Module) checkIdentity(r *core.Request, _ *core.Args) core.Result {
	u, err := claimed(r)
	return m.owns(r, u, err)
}

func (m *Module) checkTo(r *core.Request, _ *core.Args) core.Result {
	u, err := r.Msg.ToURI()
	return m.owns(r, u, err)
}

func (m *Module) checkFrom(r *core.Request, _ *core.Args) core.Result {
	u, err := r.Msg.FromURI()
	return m.owns(r, u, err)
}
