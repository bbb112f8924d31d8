// Package core is the contract between sipr's engine and its modules: what a
// module says of itself (Spec), what it offers to the routing script (Export)
// and to operators (Command), what it is given (Host), and the Request that
// all of them work on.
//
// core knows no module, no Lua and no socket.
package core
