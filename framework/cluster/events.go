package cluster

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/framework/launch"
)

// maxEnds is how often a component may end before the boot is given up: it will
// not come up, and its own last words say why.
const maxEnds = 5

// bootTimeout bounds the boot.
func bootTimeout() time.Duration { return scaled(time.Minute) }

// scaled is a usual limit on this machine. The factor is that of package expect, so that
// one setting serves a slow machine; its Scaled would bring the matchers into every program.
func scaled(usual time.Duration) time.Duration {
	factor, err := strconv.ParseFloat(os.Getenv("PLUMB_TIMEOUT_SCALE"), 64)
	if err != nil || factor <= 0 {
		return usual
	}
	return time.Duration(float64(usual) * factor)
}

// observe keeps what happens to components.
func (c *Cluster) observe(event launch.Event) {
	c.mu.Lock()
	c.events = append(c.events, event)
	ends := 0
	for _, e := range c.events {
		if e.Change == launch.Ended && e.Machine == event.Machine && e.Component == event.Component {
			ends++
		}
	}
	down := c.down
	c.mu.Unlock()
	ready := c.reached("nodes")
	if c.options.events != nil {
		c.options.events(event)
	}
	if event.Change == launch.Ended && ends >= maxEnds && !ready && !down {
		err := fmt.Errorf("%s on %s has ended %d times, at last: %s%s", event.Component, event.Machine, ends, event.Detail, c.lastWords(event))
		select {
		case c.failed <- err:
		default:
		}
	}
}

// Events are what has happened to the components, in order.
func (c *Cluster) Events() []launch.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// lastWords is the end of a component's log.
func (c *Cluster) lastWords(event launch.Event) string {
	running := c.Component(event.Machine, event.Component)
	if running == nil {
		return ""
	}
	const lines = 10
	data, err := os.ReadFile(running.LogPath())
	if err != nil || len(data) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "\nits log ends with:\n  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// troubles lists what ended without being asked to, for a boot that takes too long.
func (c *Cluster) troubles() string {
	var lines []string
	for _, event := range c.Events() {
		if event.Change == launch.Ended {
			lines = append(lines, event.String())
		}
	}
	if len(lines) == 0 {
		return "all components are running; their logs are in " + c.state.dir
	}
	return "components that ended meanwhile:\n  " + strings.Join(lines, "\n  ")
}

// Troubles says what is wrong with the cluster as far as its owner can tell: components that
// end without being asked to, and a disk that is full.
func (c *Cluster) Troubles() []string {
	var all []string
	for _, running := range c.Components() {
		if text := c.trouble(running); text != "" {
			all = append(all, text)
		}
	}
	if full := fullDisk(); full != nil {
		all = append(all, remedied(full).Error())
	}
	return all
}

// trouble is about a component that is down, or was a short while ago, by itself.
func (c *Cluster) trouble(running *launch.Running) string {
	const shortWhile = time.Minute
	var last launch.Event
	ends, asked := 0, false
	for _, event := range running.Events() {
		switch event.Change {
		case launch.Killed:
			asked = true
		case launch.Stopped:
			ends, last = 0, launch.Event{}
		case launch.Ended:
			if !asked {
				ends, last = ends+1, event
			}
			asked = false
		}
	}
	if ends == 0 || running.State() != "ended" && time.Since(last.Time) > shortWhile {
		return ""
	}
	return fmt.Sprintf("%s on %s has ended %d times, at last %s ago: %s; its log is %s%s", last.Component, last.Machine, ends,
		time.Since(last.Time).Round(time.Second), last.Detail, running.LogPath(), c.lastWords(last))
}
