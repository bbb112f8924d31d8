package engine

import "sipr/lua"

// OldScripts is how many generations are kept beside the present one.
const OldScripts = oldScripts

// Program returns the present script.
func (e *Engine) Program() *lua.Program {
	_, p := e.scripts.load()
	return p
}
