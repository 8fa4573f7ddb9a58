package scheduler

import (
	"testing"

	"github.com/spf13/pflag"
)

// FuzzCommandLine gives the scheduler any two arguments: they are taken or refused, never a panic.
func FuzzCommandLine(f *testing.F) {
	f.Add("--feature-gates=GenericWorkload=true", "--leader-elect-lease-duration=15s")
	f.Add("--feature-gates=AllAlpha=,GenericWorkload=x=y,=", "--kube-api-qps=NaN")
	f.Add("--bind-address=::1%lo", "--secure-port=-1")
	f.Fuzz(func(t *testing.T, first, second string) {
		config, err := DefaultConfig()
		if err != nil {
			t.Fatal(err)
		}
		var line flags
		set := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
		set.Usage = func() {}
		line.register(set, config)
		if set.Parse([]string{first, second}) != nil || line.config != "" { // which names a file of this host
			return
		}
		if line.apply(set, config) == nil {
			_ = config.Validate()
		}
	})
}
