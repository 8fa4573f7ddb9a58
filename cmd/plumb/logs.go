package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/supervisor"
)

func logsCommand() *cobra.Command {
	var name, machine string
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:     "logs COMPONENT",
		Short:   "Print a component's log",
		Example: "  plumb logs kube-apiserver\n  plumb logs kubelet --machine node-1 -f",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < -1 {
				return fmt.Errorf("--tail: %d is neither a number of lines nor -1 for all", tail)
			}
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			path, err := logOf(status, machine, args[0])
			if err != nil {
				return err
			}
			return printLog(cmd.Context(), cmd.OutOrStdout(), logRequest{path: path, tail: tail, follow: follow})
		},
	}
	addName(cmd, &name)
	cmd.Flags().StringVar(&machine, "machine", "", "machine of the component (default: the only one that has it)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows")
	cmd.Flags().IntVar(&tail, "tail", -1, "number of lines from the end; -1 for all")
	return cmd
}

// logOf finds a component's log file.
func logOf(status *supervisor.Status, machine, component string) (string, error) {
	var paths, machines, known []string
	for _, m := range status.Machines {
		for _, c := range m.Components {
			if !slices.Contains(known, c.Name) {
				known = append(known, c.Name)
			}
			if c.Name == component && (machine == "" || machine == m.Name) {
				paths = append(paths, c.Log)
				machines = append(machines, m.Name)
			}
		}
	}
	switch {
	case len(paths) == 1:
		return paths[0], nil
	case len(paths) > 1:
		return "", fmt.Errorf("%s runs on several machines: add --machine with one of %s", component, strings.Join(machines, ", "))
	case slices.Contains(known, component):
		return "", fmt.Errorf("machine %q has no component %s", machine, component)
	default:
		return "", fmt.Errorf("no component %q; there are %s", component, strings.Join(known, ", "))
	}
}

type logRequest struct {
	path   string
	tail   int
	follow bool
}

func printLog(ctx context.Context, w io.Writer, r logRequest) error {
	file, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer file.Close()
	var changes *fsnotify.Watcher
	if r.follow {
		if changes, err = fsnotify.NewWatcher(); err != nil {
			return err
		}
		defer changes.Close()
		if err := changes.Add(r.path); err != nil {
			return err
		}
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	if _, err := w.Write(lastLines(data, r.tail)); err != nil || !r.follow {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-changes.Errors:
			return err
		case event, ok := <-changes.Events:
			if !ok {
				return errors.New("the log's watch ended")
			}
			if event.Has(fsnotify.Remove) {
				return nil
			}
			if _, err := io.Copy(w, file); err != nil {
				return err
			}
		}
	}
}

// lastLines cuts data down to its last n lines; -1 means all.
func lastLines(data []byte, n int) []byte {
	if n < 0 {
		return data
	}
	lines := strings.SplitAfter(string(data), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return []byte(strings.Join(lines[max(0, len(lines)-n):], ""))
}
