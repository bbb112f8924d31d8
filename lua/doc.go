// Package lua runs the operator's settings and routing script. It is the only
// package that knows gopher-lua.
//
// A script is rewritten before it is compiled: selects such as ruri.host
// become calls of compiled getters, loops charge an instruction budget, and
// what could hide state between requests is refused with file and line. So a
// script that passes pays for its safety only where it loops.
package lua
