package cluster

import (
	"fmt"
	"maps"
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
	words := ""
	if event.Change == launch.Ended {
		words = c.lastWords(event)
	}
	c.mu.Lock()
	c.events = append(c.events, event)
	c.note(event, words)
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
		err := fmt.Errorf("%s on %s has ended %d times, at last: %s%s", event.Component, event.Machine, ends, event.Detail, words)
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
	const lines, longest = 10, 300 // some programs log a stack in one line
	data, err := os.ReadFile(running.LogPath())
	if err != nil || len(data) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		if len(line) > longest {
			all[i] = line[:longest] + "..."
		}
	}
	return "\nits log, " + running.LogPath() + ", ends with:\n  " + strings.Join(all, "\n  ")
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

// mishap is what is known of a component that ended without being asked to.
type mishap struct {
	ends  int
	last  launch.Event
	words string // how its log ended then
	asked bool   // it was killed, and is to end
}

// note keeps account of components that end by themselves. The caller holds mu.
func (c *Cluster) note(event launch.Event, words string) {
	key := event.Machine + "/" + event.Component
	m := c.mishaps[key]
	switch event.Change {
	case launch.Stopped:
		m = mishap{}
	case launch.Killed:
		m.asked = true
	case launch.Ended:
		if !m.asked {
			m.ends, m.last, m.words = m.ends+1, event, words
		}
		m.asked = false
	}
	c.mishaps[key] = m
}

// Troubles says what is wrong with the cluster as far as its owner can tell: components that
// ended without being asked to, and a disk that is full.
func (c *Cluster) Troubles() []string {
	var all []string
	c.mu.Lock()
	for _, key := range slices.Sorted(maps.Keys(c.mishaps)) {
		if m := c.mishaps[key]; m.ends > 0 {
			ago := time.Since(m.last.Time).Round(time.Second)
			all = append(all, fmt.Sprintf("%s on %s has ended %d times by itself, at last %s ago: %s%s", m.last.Component, m.last.Machine, m.ends, ago, m.last.Detail, m.words))
		}
	}
	c.mu.Unlock()
	if full := fullDisk(); full != nil {
		all = append(all, remedied(full).Error())
	}
	return all
}
