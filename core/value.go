package core

import (
	"strconv"

	"sipr/core/sipmsg"
)

// Kind is the type of a Value.
type Kind uint8

// The types of value.
const (
	KindNil Kind = iota
	KindBool
	KindInt
	KindText
)

// Value is an argument, a result, or the value of an attribute or select. Text
// lies either in Str or, where it belongs to a message, in Raw.
type Value struct {
	Kind Kind
	Num  int64
	Str  string
	Raw  []byte
}

// TextValue makes a text value of a string.
func TextValue(s string) Value { return Value{Kind: KindText, Str: s} }

// RawValue makes a text value of bytes, which are not copied.
func RawValue(b []byte) Value {
	if b == nil {
		return Value{}
	}
	return Value{Kind: KindText, Raw: b}
}

// IntValue makes a number.
func IntValue(n int64) Value { return Value{Kind: KindInt, Num: n} }

// BoolValue makes a boolean.
func BoolValue(b bool) Value {
	if b {
		return Value{Kind: KindBool, Num: 1}
	}
	return Value{Kind: KindBool}
}

// String returns v as text; empty for no value.
func (v Value) String() string {
	switch v.Kind {
	case KindText:
		if v.Raw != nil {
			return string(v.Raw)
		}
		return v.Str
	case KindInt:
		return strconv.FormatInt(v.Num, 10)
	case KindBool:
		return strconv.FormatBool(v.Num != 0)
	}
	return ""
}

// Append appends v as text.
func (v Value) Append(dst []byte) []byte {
	switch v.Kind {
	case KindText:
		if v.Raw != nil {
			return append(dst, v.Raw...)
		}
		return append(dst, v.Str...)
	case KindInt:
		return strconv.AppendInt(dst, v.Num, 10)
	case KindBool:
		return strconv.AppendBool(dst, v.Num != 0)
	}
	return dst
}

// Int returns v as a number; decimal text counts.
func (v Value) Int() (int64, bool) {
	switch v.Kind {
	case KindInt, KindBool:
		return v.Num, true
	case KindText:
		if v.Raw != nil {
			n, ok := sipmsg.ParseUint(v.Raw, 1<<62)
			return int64(n), ok
		}
		n, err := strconv.ParseInt(v.Str, 10, 64)
		return n, err == nil
	}
	return 0, false
}
