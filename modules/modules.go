// Package modules lists the modules that this sipr is built with.
package modules

import "sipr/core"

// All returns a constructor for each module, by nothing but this list.
func All() []func() core.Module {
	return nil
}
