//go:build !unix

package engine

// dropRoot does nothing where there is no root.
func (e *Engine) dropRoot() error {
	if e.params.user != "" || e.params.group != "" {
		e.log.Warn("user and group are ignored on this system")
	}
	return nil
}
