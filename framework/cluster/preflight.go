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

// packetFilter asks whether the kernel has one that netlink reaches. Nodes come up without
// it, but not one Service of theirs leads anywhere.
func packetFilter() error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("the kernel's packet filter: netlink socket: %w", err)
	}
	return unix.Close(socket)
}

// remedied adds to an error that the kernel gave what whoever meets it can do.
func remedied(err error) error {
	if err == nil {
		return nil
	}
	if full := fullDisk(); full != nil && !isFull(err) {
		// What a program dies of on a full disk it cannot even write into its log.
		err = fmt.Errorf("%w\n%w", err, full)
	}
	var remedy string
	switch {
	case isFull(err):
		remedy = fmt.Sprintf("free some space there, or move the clusters' state with %s and the cache with %s", StateVariable, cache.Env)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		remedy = "root here lacks a privilege that clusters need: plumb doctor says which, and what to do"
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EAFNOSUPPORT),
		errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENODEV):
		remedy = "the kernel lacks something that clusters need: plumb doctor says what, and what to do"
	default:
		return err
	}
	between := ": "
	if strings.HasSuffix(err.Error(), "\n") { // what a program printed
		between = ""
	}
	return fmt.Errorf("%w%s%s", err, between, remedy)
}

// isFull says whether an error is about a full disk, also where a program told of it.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || strings.Contains(err.Error(), unix.ENOSPC.Error())
}

// fullDisk is an error if a file system that clusters write to has no room left.
func fullDisk() error {
	places := []string{StateRoot()}
	if store, err := cache.Default(); err == nil {
		places = append(places, store.Dir)
	}
	for _, place := range places {
		var stat unix.Statfs_t
		if unix.Statfs(place, &stat) != nil {
			continue // not there yet
		}
		const least = 256 << 10
		if stat.Bavail*uint64(stat.Bsize) < least || stat.Files > 0 && stat.Ffree == 0 {
			return fmt.Errorf("%s: %w", place, unix.ENOSPC)
		}
	}
	return nil
}
