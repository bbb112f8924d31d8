//go:build !unix

package transport

// writeFD writes nothing: the writing goroutine does it all.
func writeFD(uintptr, []byte) (int, error) { return 0, nil }
