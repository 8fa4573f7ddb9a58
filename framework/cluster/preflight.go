package cluster

import (
	"fmt"
	"os"
	"strconv"
	"strings"
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
