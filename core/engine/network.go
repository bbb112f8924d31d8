package engine

import (
	"net/netip"

	"sipr/core"
)

// lateNetwork is the network as a module gets it when it is configured: the
// sockets are opened later.
type lateNetwork struct{ e *Engine }

func (n lateNetwork) Sockets() []*core.Socket { return n.e.Sockets() }
func (n lateNetwork) Route(p core.Proto, to netip.AddrPort, prefer *core.Socket) (core.Flow, error) {
	return n.e.network.Route(p, to, prefer)
}

// NewSender hides that the transport's sender is a worker: who has no socket to
// hand on needs no run slot after a wait, and would never give it back.
func (n lateNetwork) NewSender() core.Sender { return sender{n.e.network.NewSender()} }
func (n lateNetwork) Alive(f core.Flow) bool { return n.e.network.Alive(f) }

// sender is a core.Sender and nothing else.
type sender struct{ core.Sender }
