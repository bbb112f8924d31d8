package test

import "syscall"

// leash ends a process with the test, even if that is killed.
func leash() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
