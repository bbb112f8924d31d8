package domain

import (
	"hash/maphash"
	"strings"
)

// texts keeps many short texts in few blocks of memory, and a text that comes
// again and again only once. A hundred thousand domains have a million values.
type texts struct {
	block  *strings.Builder
	seed   maphash.Seed
	recent [1 << recentBits]string
	names  map[string]string
}

const (
	recentBits = 12
	blockSize  = 16 << 10
)

func newTexts() *texts {
	return &texts{block: new(strings.Builder), seed: maphash.MakeSeed(), names: map[string]string{}}
}

// name keeps a text of which there are few different ones.
func (t *texts) name(s string) string {
	kept, ok := t.names[s]
	if !ok {
		kept = strings.Clone(s)
		t.names[kept] = kept
	}
	return kept
}

// value keeps a text.
func (t *texts) value(s string) string {
	r := &t.recent[maphash.String(t.seed, s)>>(64-recentBits)]
	if *r != s {
		*r = t.add(s)
	}
	return *r
}

func (t *texts) add(s string) string {
	if len(s) > blockSize/8 {
		return strings.Clone(s)
	}
	// A block never grows beyond its capacity, so what was given out stays.
	if t.block.Cap()-t.block.Len() < len(s) {
		t.block = new(strings.Builder)
		t.block.Grow(blockSize)
	}
	start := t.block.Len()
	t.block.WriteString(s)
	return t.block.String()[start:]
}
