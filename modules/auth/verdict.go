package auth

import (
	"crypto/subtle"

	"sipr/core"
)

// verdict is the outcome of a check.
type verdict uint8

const (
	accepted verdict = iota
	noCredentials
	stale
	unknownUser
	wrongPassword
	badNonce
	// otherKey is a nonce of our form that another key made: the script sees
	// bad_nonce, the client is told that its nonce is stale.
	otherKey
	replay
	badCredentials
	verdicts
)

var verdictNames = [verdicts]string{
	"accepted", "no_credentials", "stale", "unknown_user", "wrong_password",
	"bad_nonce", "bad_nonce", "replay", "bad_credentials",
}

// String returns the word that the script and the statistics have for v.
func (v verdict) String() string { return verdictNames[v] }

func (v verdict) result() core.Result {
	if v == accepted {
		return core.True
	}
	return core.False(v.String())
}

// retry tells whether the client should just try again with a new nonce: it
// may well know the password (RFC 7616 §3.3, stale).
func (v verdict) retry() bool { return v == stale || v == replay || v == otherKey }

func equalSecret(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
