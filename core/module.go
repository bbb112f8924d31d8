package core

import "context"

// Module is a unit that the settings load by name.
type Module interface {
	// Describe returns the module's Spec. It is called once, on a fresh
	// value, and may do nothing but set the value's own defaults.
	Describe() Spec
}

// Spec is everything a module says of itself.
type Spec struct {
	// Name is what loadmodule takes.
	Name string
	// Summary is one sentence.
	Summary string
	// Needs names modules that must be loaded too; Wants names modules that
	// are used when they are loaded. Both are started before this one.
	Needs, Wants []string
	// Also lists the names of modules of SER or Kamailio whose place this
	// one takes, such as "usrloc" for registrar.
	Also     []string
	Params   []Param
	Exports  []Export
	Commands []Command
}

// Configurer is implemented by a module that prepares itself from its
// parameters. Configure checks them, binds other modules' interfaces and
// registers hooks; it must not open, write or send anything, since a check of
// the settings runs it too.
type Configurer interface{ Configure(Host) error }

// Starter is implemented by a module that opens things or starts goroutines. A
// module whose Start failed is not stopped: it must have undone what it did.
type Starter interface{ Start(context.Context) error }

// Reloader is implemented by a module that reads its data anew when the router
// is reloaded. On an error it must keep the old data.
type Reloader interface{ Reload(context.Context) error }

// Stopper is implemented by a module that has something to close. Modules stop
// in the reverse order of their starts; ctx carries the deadline.
type Stopper interface{ Stop(context.Context) error }
