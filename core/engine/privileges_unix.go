//go:build unix

package engine

import (
	"fmt"
	"os/user"
	"strconv"
	"syscall"
)

// dropRoot becomes the user and group of the settings. Sockets stay open.
func (e *Engine) dropRoot() error {
	uid, gid := -1, -1
	if name := e.params.user; name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return fmt.Errorf("user: %w", err)
		}
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
	}
	if name := e.params.group; name != "" {
		g, err := user.LookupGroup(name)
		if err != nil {
			return fmt.Errorf("group: %w", err)
		}
		gid, _ = strconv.Atoi(g.Gid)
	}
	if syscall.Getuid() != 0 {
		if uid >= 0 && uid != syscall.Getuid() {
			e.log.Warn("user is ignored: only root can change it")
		}
		return nil
	}
	if gid >= 0 {
		if err := syscall.Setgroups([]int{gid}); err != nil {
			return fmt.Errorf("group: %w", err)
		}
		if err := syscall.Setgid(gid); err != nil {
			return fmt.Errorf("group: %w", err)
		}
	}
	if uid >= 0 {
		if err := syscall.Setuid(uid); err != nil {
			return fmt.Errorf("user: %w", err)
		}
	}
	return nil
}
