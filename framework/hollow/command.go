package hollow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

// Command is the program plumb-hollow.
func Command() *cobra.Command {
	var kubeconfig, config, address string
	nodes := 1
	command := &cobra.Command{
		Use:           "plumb-hollow",
		Short:         "Simulates nodes, thousands of them, whose pods follow a script",
		Example:       "  plumb component plumb-hollow --kubeconfig ~/.kube/config --nodes 100",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if kubeconfig == "" {
				return errors.New("--kubeconfig: required, a file that names the API server and holds credentials of an administrator")
			}
			spec := v1alpha1.New(nodes)
			if config != "" {
				if command.Flags().Changed("nodes") {
					return errors.New("--nodes and --config exclude each other: the file says which nodes there are")
				}
				data, err := os.ReadFile(config)
				if err != nil {
					return fmt.Errorf("--config: %w", err)
				}
				if spec, err = v1alpha1.Read(data); err != nil {
					return fmt.Errorf("--config %s: %w", config, err)
				}
			}
			rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return fmt.Errorf("--kubeconfig: %w", err)
			}
			fleet, err := New(rest, spec)
			if err != nil {
				return err
			}
			stop, err := serveHealth(command.Context(), address)
			if err != nil {
				return fmt.Errorf("--healthz-bind-address: %w", err)
			}
			defer stop()
			return fleet.Run(command.Context())
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that names the API server and holds credentials of an administrator")
	flags.IntVar(&nodes, "nodes", nodes, "number of nodes, where there is no --config")
	flags.StringVar(&config, "config", "", "file with a description of the nodes and what happens on them, "+v1alpha1.APIVersion+" "+v1alpha1.Kind)
	flags.StringVar(&address, "healthz-bind-address", "127.0.0.1:10270", "address of /healthz and /debug/pprof; empty serves neither")
	return command
}

// serveHealth answers whether the process lives, and where its time goes.
func serveHealth(ctx context.Context, address string) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return func() { _ = server.Close() }, nil
}
