// Command plumb-init is the init process of a machine and nothing else. The plumb
// binary can be it as well, but is large: beside a machine's own programs this one
// costs a few megabytes, and starts at once.
package main

import (
	"fmt"
	"os"

	"github.com/plumbline/plumbline/framework/machine"
)

func main() {
	machine.RunIfInit()
	fmt.Fprintln(os.Stderr, "plumb-init is started by plumb, as the first process of a machine")
	os.Exit(1)
}
