//go:build !linux

package main

import (
	"fmt"
	"io"
	"os"
)

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// readHidden reads a line that is typed; here it shows.
func readHidden(f *os.File, out io.Writer, prompt string) (string, error) {
	fmt.Fprint(out, prompt)
	return readLine(f)
}
