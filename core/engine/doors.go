package engine

import (
	"context"
	"errors"
	"fmt"

	"sipr/core/control"
)

// door is a management door that is open.
type door struct {
	name string // such as "unix socket /run/sipr/sipr.sock"
	closer
}

// closer is what every kind of door has.
type closer interface{ Close(context.Context) error }

// openDoors opens the management doors that the settings ask for.
func (e *Engine) openDoors() error {
	p := &e.params
	open := func(name, what, where string, d closer, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.doors = append(e.doors, door{what + " " + where, d})
		return nil
	}
	if p.socket != "" {
		d, err := control.ListenUnix(e.path(p.socket), 0o600, e.control, e.log, e.clock)
		if err := open("ctl_socket", "unix socket", e.path(p.socket), d, err); err != nil {
			return err
		}
	}
	if p.fifo != "" {
		d, err := control.ListenFIFO(e.path(p.fifo), 0o600, p.fifoReplies, e.control, e.log, e.clock)
		if err := open("fifo", "FIFO", e.path(p.fifo), d, err); err != nil {
			return err
		}
	}
	if p.ctlTCP != "" {
		d, err := control.ListenTCP(p.ctlTCP, false, e.control, e.log, e.clock)
		if err := open("ctl_tcp", "TCP", p.ctlTCP, d, err); err != nil {
			return err
		}
	}
	if p.http != "" {
		d, err := control.ListenHTTP(p.http, p.httpToken, p.httpOrigins, e.control, e.log, e.clock)
		if err := open("http", "HTTP", p.http, d, err); err != nil {
			return err
		}
	}
	return nil
}

// openedDoors returns the doors that are open; the first answers already while
// others are being opened.
func (e *Engine) openedDoors() []door {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.doors
}

func (e *Engine) closeDoors(ctx context.Context) error {
	var errs []error
	for _, d := range e.openedDoors() {
		errs = append(errs, d.Close(ctx))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doors = nil
	return errors.Join(errs...)
}
