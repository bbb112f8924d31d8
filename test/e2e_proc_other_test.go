//go:build !linux

package test

import "syscall"

func leash() *syscall.SysProcAttr { return nil }
