//go:build !unix

package control

import "os"

// restrict does nothing: files have no modes here.
func restrict(uintptr, os.FileMode) {}
