package auth

import (
	"errors"
	"strconv"

	"sipr/core"
	"sipr/core/sipmsg"
)

// Flags of a challenge, as Kamailio has them; bit 1 (no 100 Trying) has
// nothing to switch off here.
const (
	challengeAuth    = 1
	challengeAuthInt = 4
	challengeStale   = 16
)

var errRealmText = errors.New("the realm of a challenge is longer than 255 bytes or contains control characters")

// challenge answers 401 or 407 with one challenge for each algorithm. flags
// below 0 stands for parameter qop.
func (m *Module) challenge(r *core.Request, code int, realm []byte, flags int64) core.Result {
	if r.Msg.Method == sipmsg.ACK {
		r.Decide()
		return core.False("ack")
	}
	w := m.take()
	defer m.give(w)
	realm, err := m.effectiveRealm(w, r, realm)
	if err != nil {
		return core.Fail(err)
	}
	if !realmText(realm) {
		return core.Fail(errRealmText)
	}
	name, reason := "WWW-Authenticate", "Unauthorized"
	if code == 407 {
		name, reason = "Proxy-Authenticate", "Proxy Authentication Required"
	}
	v, _ := recall(r)
	again := v.retry() || flags > 0 && flags&challengeStale != 0
	w.scratch = m.nonces.append(w.scratch[:0], w, realm, m.source(r), r.Now)
	for _, a := range m.offered {
		w.out = append(append(w.out, name...), ": "...)
		w.out = m.appendChallenge(w.out, a, realm, w.scratch, m.qopText(flags), again)
		w.out = append(w.out, "\r\n"...)
	}
	w.reply = core.Answer{Code: code, Reason: reason, Headers: w.out}
	if err := r.Answer(&w.reply); err != nil {
		return core.Fail(err)
	}
	m.sent.Add(1)
	return core.True
}

// appendChallenge appends the value of one header field (RFC 7616 §3.3).
func (m *Module) appendChallenge(dst []byte, a algorithm, realm, nonce []byte, qop string, again bool) []byte {
	dst = append(dst, `Digest realm="`...)
	for _, c := range realm {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	dst = append(append(append(dst, `", nonce="`...), nonce...), '"')
	if qop != "" {
		dst = append(append(append(dst, `, qop="`...), qop...), '"')
	}
	dst = append(append(dst, ", algorithm="...), a.String()...)
	if again {
		dst = append(dst, ", stale=true"...)
	}
	return dst
}

func (m *Module) qopText(flags int64) string {
	switch {
	case flags < 0:
		return m.qop
	case flags&challengeAuth != 0 && flags&challengeAuthInt != 0:
		return "auth,auth-int"
	case flags&challengeAuth != 0:
		return "auth"
	case flags&challengeAuthInt != 0:
		return "auth-int"
	}
	return ""
}

func realmText(realm []byte) bool {
	for _, c := range realm {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return len(realm) <= maxName
}

// lastCheck is the attribute that carries the outcome of the last check from
// one export to the next. It is a global one, since sets of the other classes
// are replaced while a script runs.
var lastCheck = core.AttrRef{Track: core.FromTrack, Class: core.GlobalClass, Name: "auth.last"}

// remember notes the outcome of a check and the header field it was about.
func remember(r *core.Request, v verdict, header int) {
	r.Attrs.Set(&lastCheck, core.IntValue(int64(header)<<8|int64(v)))
}

// recall returns what was noted last; noCredentials where nothing was.
func recall(r *core.Request) (v verdict, header int) {
	value, ok := r.Attrs.Get(&lastCheck)
	if !ok || value.Kind != core.KindInt || value.Num < 0 || value.Num&0xff >= int64(verdicts) {
		return noCredentials, 0
	}
	return verdict(value.Num & 0xff), int(value.Num >> 8)
}

// flagsArg reads an optional argument of flags; -1 where it was not given.
func flagsArg(a *core.Args, i int) int64 { return max(a.Int(i, -1), -1) }

// checkFlags judges flags where the script is loaded.
func checkFlags(s string) error {
	if _, err := strconv.ParseUint(s, 10, 16); err != nil {
		return errors.New("flags are a sum of 1 (qop auth), 4 (qop auth-int) and 16 (stale)")
	}
	return nil
}
