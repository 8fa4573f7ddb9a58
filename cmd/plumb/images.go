package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	conformance "github.com/plumbline/plumbline/conformance/images"
	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/images"
)

// conformanceSet is the set that the conformance suites' behaviours run.
const conformanceSet = "conformance"

// imageSets are the sets of images that a description can name.
func imageSets() []images.Set {
	sets := []images.Set{conformance.Set()}
	if own, err := os.Executable(); err == nil {
		sets = append(sets, conformance.RunnerSet(own))
	}
	return sets
}

func isSet(name string) bool {
	return slices.ContainsFunc(imageSets(), func(s images.Set) bool { return s.Name == name })
}

func setNames() string {
	var names []string
	for _, set := range imageSets() {
		names = append(names, set.Name)
	}
	return strings.Join(names, ", ")
}

func imagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Show the sets of images that are made here, or write one to a file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, set := range append(imageSets(), images.Standard()) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s:\n", set.Name)
				for _, recipe := range set.Recipes {
					fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", strings.Join(recipe.Names, " "))
				}
			}
			return nil
		},
	}
	cmd.AddCommand(imagesSaveCommand())
	return cmd
}

func imagesSaveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "save SET FILE",
		Short: "Write a set's images to a tar file as docker save does, making what is not made yet",
		Example: `  plumb images save conformance-runner runner.tar
  docker load -i runner.tar                  # or: kind load image-archive, ctr images import`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sets := append(imageSets(), images.Standard())
			chosen := slices.IndexFunc(sets, func(s images.Set) bool { return s.Name == args[0] })
			if chosen < 0 {
				return fmt.Errorf("%q is no set of images: plumb images shows them", args[0])
			}
			if info, err := os.Stat(filepath.Dir(args[1])); err != nil || !info.IsDir() {
				return fmt.Errorf("%s: there is no directory to write it to", args[1])
			}
			store, err := cache.Default()
			if err != nil {
				return err
			}
			source, err := cache.Source()
			if err != nil {
				return err
			}
			screen := screenOn(cmd)
			defer screen.clear()
			builder := images.Builder{Store: store, Source: source, Progress: screen.step}
			layout, err := builder.Build(cmd.Context(), sets[chosen])
			if err != nil {
				return err
			}
			screen.step("write " + args[1])
			return layout.Save(args[1])
		},
	}
}
