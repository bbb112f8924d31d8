package core

import (
	"strconv"
	"sync/atomic"
	"time"
)

// Live is the value of a parameter that may change while the router runs. Any
// goroutine may read it; a reader sees a change at its next Load. A Live must
// not be copied after its first use.
type Live[T any] struct {
	def T
	set atomic.Pointer[T]
}

// LiveOf returns a Live whose value is v.
func LiveOf[T any](v T) Live[T] { return Live[T]{def: v} }

// Load returns the present value.
func (l *Live[T]) Load() T {
	if p := l.set.Load(); p != nil {
		return *p
	}
	return l.def
}

// Store changes the value.
func (l *Live[T]) Store(v T) { l.set.Store(&v) }

// LiveIntParam is an IntParam that cfg.set can change.
func LiveIntParam(p *Live[int], name, doc string, checks ...Check[int]) Param {
	return bindLive(p, name, doc, "int", toInt, strconv.Itoa, checks)
}

// LiveBoolParam is a BoolParam that cfg.set can change.
func LiveBoolParam(p *Live[bool], name, doc string) Param {
	return bindLive(p, name, doc, "bool", toBool, strconv.FormatBool, nil)
}

// LiveDurationParam is a DurationParam that cfg.set can change.
func LiveDurationParam(p *Live[time.Duration], unit time.Duration, name, doc string, checks ...Check[time.Duration]) Param {
	return bindLive(p, name, doc, "duration", toDuration(unit), time.Duration.String, checks)
}

func bindLive[T any](p *Live[T], name, doc, typ string, conv func(any) (T, error), text func(T) string, checks []Check[T]) Param {
	prm := bindTo(p.Load, p.Store, name, doc, typ, conv, text, checks)
	prm.Live = true
	return prm
}
