// Package etcd runs the key-value store that the API server keeps its objects in: upstream's
// etcd, as a library, under upstream's command line.
package etcd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/pkg/v3/flags"
	"go.etcd.io/etcd/server/v3/embed"
)

// Command is etcd's command line.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:           "etcd",
		Short:         "Store the cluster's objects",
		SilenceUsage:  true,
		SilenceErrors: true,
		// etcd's flags are of the standard library's kind, with one dash or two.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := Parse(args)
			if errors.Is(err, flag.ErrHelp) {
				return cmd.Usage()
			}
			if err != nil {
				return err
			}
			return Run(cmd.Context(), config)
		},
	}
}

// Parse reads a command line into etcd's own configuration.
func Parse(args []string) (*embed.Config, error) {
	config := embed.NewConfig()
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	config.AddFlags(fs)
	file := fs.String("config-file", "", "Path of a configuration file; other flags are then ignored.")
	state := flags.NewSelectiveStringValue(embed.ClusterStateFlagNew, embed.ClusterStateFlagExisting)
	fs.Var(state, "initial-cluster-state", "new or existing.")
	if err := fs.Parse(args); err != nil {
		if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
			return nil, fmt.Errorf("unknown flag: --%s", strings.TrimPrefix(name, "-"))
		}
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a valid flag", fs.Arg(0))
	}
	if *file != "" {
		return embed.ConfigFromFile(*file)
	}
	config.ClusterState = state.String()
	takeLists(config, fs)
	return config, config.Validate()
}

// takeLists copies the flags that embed parses but does not store by itself.
func takeLists(config *embed.Config, fs *flag.FlagSet) {
	urls := func(name string) []url.URL { return flags.UniqueURLsFromFlag(fs, name) }
	config.ListenPeerUrls = urls("listen-peer-urls")
	config.ListenClientUrls = urls("listen-client-urls")
	config.ListenClientHttpUrls = urls("listen-client-http-urls")
	config.ListenMetricsUrls = urls("listen-metrics-urls")
	config.AdvertisePeerUrls = urls("initial-advertise-peer-urls")
	config.AdvertiseClientUrls = urls("advertise-client-urls")
	config.LogOutputs = flags.UniqueStringsFromFlag(fs, "log-outputs")
	config.CORS = flags.UniqueURLsMapFromFlag(fs, "cors")
	config.HostWhitelist = flags.UniqueStringsMapFromFlag(fs, "host-whitelist")
	config.CipherSuites = flags.StringsFromFlag(fs, "cipher-suites")
	config.MaxConcurrentStreams = flags.Uint32FromFlag(fs, "max-concurrent-streams")
	fs.Visit(func(f *flag.Flag) { config.FlagsExplicitlySet[f.Name] = true })
	if config.FlagsExplicitlySet["listen-client-urls"] && !config.FlagsExplicitlySet["advertise-client-urls"] {
		// Validate then says that clients would be sent to the wrong place.
		config.AdvertiseClientUrls = nil
	}
}

// Run serves until ctx is done.
func Run(ctx context.Context, config *embed.Config) error {
	if config.Dir == "" {
		config.Dir = config.Name + ".etcd"
	}
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-ctx.Done():
		return nil
	case <-server.Server.StopNotify():
		return nil
	case err := <-server.Err():
		return err
	}
}
