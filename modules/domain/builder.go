package domain

import "sipr/core"

// builder makes a snapshot of rows that come in any order. What is in the
// snapshot lies together: a set has one list of just its size, and texts lie
// in blocks.
type builder struct {
	snap  *snapshot
	texts *texts
	// attrs are the attributes in the order of rows, in blocks so that they
	// need not be copied while there come more; counts says how many each
	// virtual domain has.
	attrs  [][]pending
	counts []int
	latest *virtual // the owner of the last attribute: rows of one come together
}

// pending is an attribute that waits for its set. There may be a million, so
// it is smaller than a core.Attr.
type pending struct {
	owner int // in snapshot.order
	name  string
	text  string // the value, if it is text
	num   int64  // the value, if it is a number
	isNum bool
}

const pendingBlock = 4096

func newBuilder() *builder { return &builder{snap: newSnapshot(), texts: newTexts()} }

// add adds a name to a virtual domain. It reports false if the name belongs to
// a domain already: the first row wins.
func (b *builder) add(r row) bool {
	s := b.snap
	if s.names[r.name] != nil {
		return false
	}
	v := s.dids[r.did]
	if v == nil {
		v = &virtual{did: b.texts.add(r.did), place: len(s.order)}
		s.dids[v.did] = v
		s.order = append(s.order, v)
		b.counts = append(b.counts, 0)
	}
	n := name{b.texts.add(r.name), r.flags}
	v.names = append(v.names, n)
	s.names[n.text] = v
	return true
}

// addAttr adds an attribute of a virtual domain; those of a did that has no
// name are left out.
func (b *builder) addAttr(did string, a *core.Attr) {
	v := b.latest
	if v == nil || v.did != did {
		if v = b.snap.dids[did]; v == nil {
			return
		}
		b.latest = v
	}
	last := len(b.attrs) - 1
	if last < 0 || len(b.attrs[last]) == pendingBlock {
		b.attrs = append(b.attrs, make([]pending, 0, pendingBlock))
		last++
	}
	p := pending{owner: v.place, name: b.texts.name(a.Name), isNum: a.Value.Kind == core.KindInt, num: a.Value.Num}
	if !p.isNum {
		p.text = b.texts.value(a.Value.Str)
	}
	b.counts[v.place]++
	b.attrs[last] = append(b.attrs[last], p)
}

// finish gives every virtual domain its set of attributes.
func (b *builder) finish() *snapshot {
	// places lists the attributes owner by owner, those of one in the order of
	// rows; next is where the next one of an owner goes.
	next, total := make([]int, len(b.counts)), 0
	for i, n := range b.counts {
		next[i] = total
		total += n
	}
	places := make([]uint32, total)
	for i, block := range b.attrs {
		for j := range block {
			owner := block[j].owner
			places[next[owner]] = uint32(i*pendingBlock + j)
			next[owner]++
		}
	}
	var list []core.Attr // which a set does not keep
	for i, v := range b.snap.order {
		list = append(list[:0], didOf(v.did))
		for _, p := range places[next[i]-b.counts[i] : next[i]] {
			list = append(list, b.attrs[p/pendingBlock][p%pendingBlock].attr())
		}
		v.set = core.NewAttrSet(list)
	}
	return b.snap
}

func (p *pending) attr() core.Attr {
	if p.isNum {
		return core.Attr{Name: p.name, Value: core.IntValue(p.num)}
	}
	return core.Attr{Name: p.name, Value: core.TextValue(p.text)}
}
