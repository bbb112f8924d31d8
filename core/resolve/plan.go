package resolve

import (
	"slices"

	"sipr/core"
	"sipr/core/clock"
)

// plan is all that the DNS says about one query. It does not change.
type plan struct {
	host   string
	port   uint16
	proto  core.Proto // what the URI asks for
	secure bool

	// groups are tried in order; the order within a group is drawn by weight.
	groups []group
	// double says that a place is in the plan more than once.
	double bool
	err    error

	expires clock.Time
	// stale is how long the plan serves when the servers fail.
	stale clock.Time
}

// group holds the servers of one priority; those of weight 0 come first, as the
// draw wants it.
type group []server

type server struct {
	weight  uint16
	targets []Target
}

// maxRecords bounds the records used of one answer, maxServers those of a plan.
const (
	maxRecords = 16
	maxServers = 32
)

// appendTargets appends the plan's targets in an order drawn for this call.
func (p *plan) appendTargets(buf []Target, rand func(int) int) []Target {
	start := len(buf)
	for _, g := range p.groups {
		if len(g) == 1 {
			buf = p.appendServer(buf, start, &g[0])
			continue
		}
		var left [maxRecords]uint8 // indexes into g of those not drawn yet
		n := min(len(g), len(left))
		for i := range left[:n] {
			left[i] = uint8(i)
		}
		for ; n > 0 && len(buf)-start < MaxTargets; n-- {
			i := draw(g, left[:n], rand)
			buf = p.appendServer(buf, start, &g[left[i]])
			copy(left[i:], left[i+1:n])
		}
	}
	return buf
}

// draw picks one of those left with a chance by weight (RFC 2782, "Weight"):
// the first whose running sum reaches a random number between 0 and the sum of
// all. Those of weight 0 thus have a small chance beside others.
func draw(g group, left []uint8, rand func(int) int) int {
	sum := 0
	for _, i := range left {
		sum += int(g[i].weight)
	}
	if sum == 0 {
		return rand(len(left))
	}
	mark, running := rand(sum+1), 0
	for n, i := range left {
		if running += int(g[i].weight); running >= mark {
			return n
		}
	}
	return len(left) - 1
}

func (p *plan) appendServer(buf []Target, start int, s *server) []Target {
	for i := range s.targets {
		if len(buf)-start >= MaxTargets {
			break
		}
		if p.double && slices.Contains(buf[start:], s.targets[i]) {
			continue
		}
		buf = append(buf, s.targets[i])
	}
	return buf
}

// mark notes whether a place is in the plan twice, so that a list need not be
// searched for every target.
func (p *plan) mark() {
	seen := map[Target]bool{}
	for _, g := range p.groups {
		for _, s := range g {
			for _, t := range s.targets {
				p.double = p.double || seen[t]
				seen[t] = true
			}
		}
	}
}
