// Package control is sipr's management: one table of commands, and the doors
// through which operators and programs call them: a unix socket (Unix) and a
// TCP socket (TCP) that speak JSON-RPC 2.0 as well as BINRPC, the protocol of
// kamcmd; a FIFO that speaks SER's protocol (FIFO); and JSON-RPC over HTTP
// (HTTP). Client is the other end of the unix socket.
//
// Every door is bounded in peers, in bytes and in time, so that a peer that
// hangs holds up neither the router nor another peer.
package control

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"sipr/core"
)

// Table holds the commands of the core and of all modules under their full
// names, "module.command". Its methods may be called by any goroutine.
type Table struct {
	mu       sync.RWMutex
	commands map[string]core.Command
}

// NewTable returns a table that holds system.listMethods and
// system.methodHelp.
func NewTable() *Table {
	t := &Table{commands: make(map[string]core.Command)}
	t.commands["system.listMethods"] = core.Command{
		Name: "listMethods",
		Doc:  "Lists the names of all commands.",
		Run:  t.cmdListMethods,
	}
	t.commands["system.methodHelp"] = core.Command{
		Name: "methodHelp",
		Args: "<command>",
		Doc:  "Tells the parameters of a command and what it does.",
		Run:  t.cmdMethodHelp,
	}
	return t
}

// Add enters a command under its full name. A name that is taken is an error,
// and so is a command without a name or without a function.
func (t *Table) Add(module string, c core.Command) error {
	name := c.FullName(module)
	if prefix, rest, _ := strings.Cut(name, "."); prefix == "" || rest == "" {
		return fmt.Errorf("command %q has no full name", name)
	}
	if c.Run == nil {
		return fmt.Errorf("command %s has no function", name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.commands[name]; taken {
		return fmt.Errorf("command %s is already defined", name)
	}
	t.commands[name] = c
	return nil
}

// Names returns the full names of all commands in alphabetical order.
func (t *Table) Names() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := make([]string, 0, len(t.commands))
	for name := range t.commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Help returns a command's usage on one line and what it does on the next;
// false if there is no such command.
func (t *Table) Help(name string) (string, bool) {
	c, ok := t.lookup(name)
	if !ok {
		return "", false
	}
	usage := name
	if c.Args != "" {
		usage += " " + c.Args
	}
	return usage + "\n" + c.Doc, true
}

// Run calls a command with params, which are strings, int64, float64 or bool.
// An unknown name is a *core.Fault with code 500. A command that panics fails
// with an error; the router goes on.
func (t *Table) Run(ctx context.Context, name string, params []any) (*core.Call, error) {
	c, ok := t.lookup(name)
	if !ok {
		return nil, notFound(name)
	}
	call := &core.Call{Params: params}
	if err := runCommand(ctx, name, c, call); err != nil {
		return nil, err
	}
	return call, nil
}

func (t *Table) lookup(name string) (core.Command, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c, ok := t.commands[name]
	return c, ok
}

func notFound(name string) *core.Fault {
	return &core.Fault{Code: 500, Reason: "command " + name + " not found"}
}

// panicError is the failure of a command that panicked. The peer is told what
// happened, the log where.
type panicError struct {
	name  string
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("command %s panicked: %v", e.name, e.value) }

func runCommand(ctx context.Context, name string, c core.Command, call *core.Call) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{name, v, debug.Stack()}
		}
	}()
	return c.Run(ctx, call)
}

// asFault returns what a door answers a command's error with.
func asFault(err error) *core.Fault {
	var f *core.Fault
	if errors.As(err, &f) {
		return f
	}
	return &core.Fault{Code: 500, Reason: err.Error()}
}

func (t *Table) cmdListMethods(_ context.Context, c *core.Call) error {
	names := t.Names()
	for _, name := range names {
		c.Add(name)
	}
	c.Data = names
	return nil
}

func (t *Table) cmdMethodHelp(_ context.Context, c *core.Call) error {
	name := c.String(0)
	if name == "" {
		return &core.Fault{Code: 400, Reason: "the name of a command is missing"}
	}
	help, ok := t.Help(name)
	if !ok {
		return notFound(name)
	}
	c.Add(help)
	return nil
}
