package core

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Param is a module parameter, bound to a field of the module.
type Param struct {
	Name, Doc string
	// Type is "string", "int", "bool", "duration" or "list".
	Type string
	// Default is the default as it would be written.
	Default string
	// Live tells that Set may be called while the router runs, by any
	// goroutine: what reads the value reads it through a Live.
	Live bool
	// Set gives the parameter a value from the settings: a string, an int64
	// or a bool. Its error says what would have been right.
	Set func(any) error
	// Get returns the present value as text. Secret parameters return "***".
	Get func() string
}

// Check judges a value when it is set.
type Check[T any] func(T) error

// StringParam binds a text parameter to p, whose present value is the default.
func StringParam(p *string, name, doc string, checks ...Check[string]) Param {
	return bind(p, name, doc, "string", func(v any) (string, error) {
		switch v := v.(type) {
		case string:
			return v, nil
		case int64:
			return strconv.FormatInt(v, 10), nil
		}
		return "", fmt.Errorf("a string is expected, not %v", v)
	}, func(v string) string { return v }, checks)
}

// SecretParam is a StringParam whose value is never shown.
func SecretParam(p *string, name, doc string, checks ...Check[string]) Param {
	prm := StringParam(p, name, doc, checks...)
	prm.Default = ""
	prm.Get = func() string {
		if *p == "" {
			return ""
		}
		return "***"
	}
	return prm
}

// IntParam binds a whole number.
func IntParam(p *int, name, doc string, checks ...Check[int]) Param {
	return bind(p, name, doc, "int", toInt, strconv.Itoa, checks)
}

func toInt(v any) (int, error) {
	switch v := v.(type) {
	case int64:
		return int(v), nil
	case string:
		if n, err := strconv.Atoi(v); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("a whole number is expected, not %v", v)
}

// BoolParam binds a switch; SER's 0 and 1 are taken as well as false and true.
func BoolParam(p *bool, name, doc string) Param {
	return bind(p, name, doc, "bool", toBool, strconv.FormatBool, nil)
}

func toBool(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	}
	return false, fmt.Errorf("true or false (1 or 0) is expected, not %v", v)
}

// DurationParam binds a time. A bare number counts in unit, which is the unit
// that SER's parameter of that name has; text such as "1.5s" carries its own.
func DurationParam(p *time.Duration, unit time.Duration, name, doc string, checks ...Check[time.Duration]) Param {
	return bind(p, name, doc, "duration", toDuration(unit), time.Duration.String, checks)
}

func toDuration(unit time.Duration) func(any) (time.Duration, error) {
	return func(v any) (time.Duration, error) {
		switch v := v.(type) {
		case int64:
			return inUnits(v, unit)
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return inUnits(n, unit)
			}
			if d, err := time.ParseDuration(v); err == nil {
				return d, nil
			}
		}
		return 0, fmt.Errorf("a number of %v or a time such as \"30s\" is expected, not %v", unit, v)
	}
}

func inUnits(n int64, unit time.Duration) (time.Duration, error) {
	d := time.Duration(n) * unit
	if d/unit != time.Duration(n) {
		return 0, fmt.Errorf("%d is too long a time", n)
	}
	return d, nil
}

// ListParam binds a list; each setting of the parameter adds one entry.
func ListParam(p *[]string, name, doc string, checks ...Check[string]) Param {
	return Param{
		Name: name, Doc: doc, Type: "list", Default: strings.Join(*p, ","),
		Set: func(v any) error {
			s, ok := v.(string)
			if !ok {
				return fmt.Errorf("a string is expected, not %v", v)
			}
			for _, c := range checks {
				if err := c(s); err != nil {
					return err
				}
			}
			*p = append(*p, s)
			return nil
		},
		Get: func() string { return strings.Join(*p, ",") },
	}
}

func bind[T any](p *T, name, doc, typ string, conv func(any) (T, error), text func(T) string, checks []Check[T]) Param {
	return bindTo(func() T { return *p }, func(v T) { *p = v }, name, doc, typ, conv, text, checks)
}

func bindTo[T any](get func() T, set func(T), name, doc, typ string, conv func(any) (T, error), text func(T) string, checks []Check[T]) Param {
	return Param{
		Name: name, Doc: doc, Type: typ, Default: text(get()),
		Set: func(v any) error {
			x, err := conv(v)
			if err != nil {
				return err
			}
			for _, c := range checks {
				if err := c(x); err != nil {
					return err
				}
			}
			set(x)
			return nil
		},
		Get: func() string { return text(get()) },
	}
}

// Between is a check that a value lies from lo to hi.
func Between[T int | time.Duration](lo, hi T) Check[T] {
	return func(v T) error {
		if v < lo || v > hi {
			return fmt.Errorf("%v is out of range: %v to %v is allowed", v, lo, hi)
		}
		return nil
	}
}

// OneOf is a check that a value is one of those listed.
func OneOf[T comparable](values ...T) Check[T] {
	return func(v T) error {
		for _, w := range values {
			if v == w {
				return nil
			}
		}
		return fmt.Errorf("%v is not allowed: one of %v is expected", v, values)
	}
}

// Identifier is a check that a value may stand as the name of a table or
// column.
func Identifier(s string) error {
	for i, c := range s {
		if !(c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9') {
			return fmt.Errorf("%q is not a table or column name: letters, digits and _ are allowed", s)
		}
	}
	if s == "" {
		return fmt.Errorf("a table or column name is expected")
	}
	return nil
}
