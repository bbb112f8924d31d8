//go:build !unix

package control

import (
	"context"
	"log/slog"
	"os"

	"sipr/core/clock"
)

// FIFO needs named pipes in the file system, which this system has not.
type FIFO struct{}

// ListenFIFO returns ErrUnsupported.
func ListenFIFO(string, os.FileMode, string, *Table, *slog.Logger, clock.Clock) (*FIFO, error) {
	return nil, ErrUnsupported
}

// Path returns the empty string.
func (*FIFO) Path() string { return "" }

// Close does nothing.
func (*FIFO) Close(context.Context) error { return nil }
