package core

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Command is a management command of a module: "module.name" at every door.
type Command struct {
	// Name is the part after the module's name. A name with a dot in it is the
	// full name already, for commands that operators know under a prefix
	// which is not the module's, such as "ul.dump" of the registrar. No two
	// commands of a router may have the same full name.
	Name string
	// Doc says in a sentence what the command does.
	Doc string
	// Args is the usage of the parameters, such as "<aor> [contact]".
	Args string
	Run  func(ctx context.Context, c *Call) error
}

// FullName returns the name of a module's command at the doors.
func (c *Command) FullName(module string) string {
	if strings.Contains(c.Name, ".") {
		return c.Name
	}
	return module + "." + c.Name
}

// Fault is an error that a command answers with a code and a text of its own.
// Other errors are answered with 500.
type Fault struct {
	Code   int
	Reason string
}

func (f *Fault) Error() string { return fmt.Sprintf("%d %s", f.Code, f.Reason) }

// Call is one call of a command: its parameters and the reply that it builds.
//
// A reply is a sequence of values, as in SER: scalars and structs whose members
// keep their order and may repeat. Doors that speak JSON use Data instead,
// where a command sets it.
type Call struct {
	Params []any // string, int64, float64 or bool
	Reply  []any // string, int64, float64, bool, *Struct or []any
	// Data, if not nil, is what JSON doors answer with.
	Data any
}

// Struct is an ordered list of named values.
type Struct struct{ Members []Member }

// Member is one named value of a Struct.
type Member struct {
	Name  string
	Value any // as in Call.Reply
}

// Add adds a value to the reply.
func (c *Call) Add(v any) { c.Reply = append(c.Reply, v) }

// Struct adds an empty struct to the reply and returns it.
func (c *Call) Struct() *Struct {
	s := &Struct{}
	c.Reply = append(c.Reply, s)
	return s
}

// Add adds a member.
func (s *Struct) Add(name string, v any) *Struct {
	s.Members = append(s.Members, Member{name, v})
	return s
}

// Struct adds a member that is a struct and returns that.
func (s *Struct) Struct(name string) *Struct {
	sub := &Struct{}
	s.Add(name, sub)
	return sub
}

// String returns parameter i as text, empty if it was not given.
func (c *Call) String(i int) string {
	if i >= len(c.Params) {
		return ""
	}
	switch v := c.Params[i].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// Int returns parameter i as a number, or def if it was not given or is none.
func (c *Call) Int(i int, def int64) int64 {
	if i >= len(c.Params) {
		return def
	}
	switch v := c.Params[i].(type) {
	case int64:
		return v
	case float64:
		return int64(v)
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	}
	return def
}
