package cluster

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/cache"
)

const (
	watchLimitFile = "/proc/sys/fs/inotify/max_user_instances"
	// watchLimit is enough for dozens of nodes; a fresh machine allows 128, which a
	// few exhaust.
	watchLimit = 8192
)

// raiseWatchLimit lets many components watch files at once.
func raiseWatchLimit() error {
	data, err := os.ReadFile(watchLimitFile)
	if err != nil {
		return err
	}
	if now, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && now >= watchLimit {
		return nil
	}
	if err := os.WriteFile(watchLimitFile, []byte(strconv.Itoa(watchLimit)), 0o644); err != nil {
		return fmt.Errorf("several nodes need more inotify instances than %s allows: run sysctl fs.inotify.max_user_instances=%d on the host: %w",
			strings.TrimSpace(string(data)), watchLimit, err)
	}
	return nil
}

// remedied adds to an error that the kernel gave what whoever meets it can do.
func remedied(err error) error {
	var remedy string
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		remedy = fmt.Sprintf("free some space there, or move the clusters' state with %s and the cache with %s", StateVariable, cache.Env)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		remedy = "root here lacks a privilege that clusters need: plumb doctor says which, and what to do"
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EAFNOSUPPORT),
		errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENODEV):
		remedy = "the kernel lacks something that clusters need: plumb doctor says what, and what to do"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, remedy)
}
