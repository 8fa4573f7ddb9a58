package controllers

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func configFor(t *testing.T, args ...string) *Config {
	t.Helper()
	config, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse(append([]string{"--kubeconfig=x"}, args...)); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestSelected(t *testing.T) {
	all := len(catalogue()) - 2 // but those that must be asked for
	for _, c := range []struct {
		flag    string
		count   int
		has     string
		without string
	}{
		{"*", all, "deployment-controller", ""},
		{"*,-garbage-collector-controller", all - 1, "", "garbage-collector-controller"},
		{"*,tokencleaner", all + 1, "token-cleaner-controller", "bootstrap-signer-controller"},
		{"*,-garbagecollector,-job", all - 2, "", "job-controller"},
		{"deployment,replicaset-controller", 2, "deployment-controller", "job-controller"},
		{"-horizontal-pod-autoscaler-controller,*", all, "", ""},
	} {
		config := configFor(t, "--controllers="+c.flag)
		if err := config.Validate(); err != nil {
			t.Errorf("%s: %v", c.flag, err)
			continue
		}
		var names []string
		for _, e := range selected(config) {
			names = append(names, e.name)
		}
		if len(names) != c.count || (c.has != "" && !slices.Contains(names, c.has)) || (c.without != "" && slices.Contains(names, c.without)) {
			t.Errorf("%s: got %v", c.flag, names)
		}
	}
}

func TestCatalogueIsConsistent(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range catalogue() {
		for _, name := range []string{e.name, e.alias} {
			if seen[name] && name != e.name {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		if e.account == "" || e.source == "" || e.build == nil {
			t.Errorf("%s is incomplete", e.name)
		}
	}
	for _, name := range notProvided() {
		if seen[name] {
			t.Errorf("%s is both provided and not", name)
		}
	}
}

func TestValidateNamesTheFlag(t *testing.T) {
	for _, c := range []struct{ arg, complaint string }{
		{"--controllers=nosuch", `"nosuch" is not in the list of known controllers`},
		{"--controllers=ttl-controller", "does not have"},
		{"--secure-port=70000", "--secure-port"},
		{"--tls-cert-file=x", "--tls-private-key-file"},
		{"--cluster-signing-key-file=x", "--cluster-signing-cert-file"},
		{"--leader-elect-renew-deadline=1h", "--leader-elect-lease-duration"},
		{"--allocate-node-cidrs", "--cluster-cidr: required"},
		{"--cluster-cidr=10.88.0.1/16", "--cluster-cidr"},
		{"--node-monitor-period=0s", "--node-monitor-period"},
		{"--concurrent-job-syncs=0", "--concurrent-job-syncs"},
	} {
		if err := configFor(t, c.arg).Validate(); err == nil || !strings.Contains(err.Error(), c.complaint) {
			t.Errorf("%s: got %v, want something about %s", c.arg, err, c.complaint)
		}
	}
}
