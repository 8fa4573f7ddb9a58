package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/components/apiserver"
	"github.com/plumbline/plumbline/components/controllers"
	"github.com/plumbline/plumbline/components/etcd"
	"github.com/plumbline/plumbline/components/kubelet"
	"github.com/plumbline/plumbline/components/network"
	"github.com/plumbline/plumbline/components/proxy"
	"github.com/plumbline/plumbline/components/scheduler"
	"github.com/plumbline/plumbline/framework/hollow"
)

// components are the programs that this binary also is. Each is made only when it
// is asked for.
func components() map[string]func() *cobra.Command {
	return map[string]func() *cobra.Command{
		"etcd":                    etcd.Command,
		"kube-apiserver":          apiserver.Command,
		"kube-controller-manager": controllers.Command,
		"kube-proxy":              proxy.Command,
		"kube-scheduler":          func() *cobra.Command { return scheduler.Command() },
		"kubelet":                 kubelet.Command,
		"plumb-hollow":            hollow.Command,
		"plumb-network":           network.Command,
	}
}

func componentNamed(name string) func() *cobra.Command { return components()[name] }

func componentCommand() *cobra.Command {
	var names []string
	for name := range components() {
		names = append(names, name)
	}
	return &cobra.Command{
		Use:                "component NAME [FLAGS]",
		Short:              "Be one of the cluster's components: " + strings.Join(names, ", "),
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
				return cmd.Help()
			}
			make := componentNamed(args[0])
			if make == nil {
				return fmt.Errorf("unknown component %q", args[0])
			}
			component := make()
			component.SetArgs(args[1:])
			os.Args = args
			return component.ExecuteContext(cmd.Context())
		},
	}
}
