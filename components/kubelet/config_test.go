package kubelet

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/plumbline/plumbline/components/kubelet/eviction"
)

func TestDecodeConfiguration(t *testing.T) {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	tests := []struct {
		name, text, wantErr string
	}{
		{"good", head + "maxPods: 5\n", ""},
		{"unknown field", head + "maxPodz: 5\n", `unknown field "maxPodz"`},
		{"unknown nested field", head + "authentication: {x509: {clientCA: a}}\n", `unknown field "authentication.x509.clientCA"`},
		{"duplicate field", head + "maxPods: 5\nmaxPods: 6\n", "already set"},
		{"wrong type", head + "maxPods: many\n", "maxPods"},
		{"other kind", "apiVersion: v1\nkind: Pod\n", `expected apiVersion "kubelet.config.k8s.io/v1beta1"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config, err := decodeConfiguration([]byte(test.text))
			switch {
			case test.wantErr == "" && (err != nil || config.MaxPods != 5):
				t.Errorf("config %+v, error %v", config, err)
			case test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)):
				t.Errorf("error %v, want %q", err, test.wantErr)
			}
		})
	}
}

func TestCommandRefusesBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		args    []string
		wantErr string
	}{
		"unknown flag": {[]string{"--nonsense"}, "unknown flag: --nonsense"},
		"no such file": {[]string{"--config=/nowhere"}, "--config: open /nowhere"},
		"bad address":  {[]string{"--node-ip=10.0.0.300"}, `--node-ip: "10.0.0.300" is not an IP address`},
		"bad taint":    {[]string{"--register-with-taints=a=b:Never"}, `invalid taint effect "Never"`},
		"bad name":     {[]string{"--hostname-override=a_b"}, `--hostname-override: invalid node name "a_b"`},
		"bad label":    {[]string{"--hostname-override=a", "--node-labels=x=a b"}, `--node-labels: invalid value "a b"`},
		"bad port":     {[]string{"--hostname-override=a", "--port=70000"}, "port: Invalid value: 70000"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := Command()
			cmd.SetArgs(test.args)
			err := cmd.ExecuteContext(context.Background())
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("error %v, want %q", err, test.wantErr)
			}
		})
	}
}

// FuzzConfiguration reads any file as a KubeletConfiguration, as far as to its settings of
// eviction: it is taken or refused, never a panic.
func FuzzConfiguration(f *testing.F) {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	f.Add([]byte(head + "clusterDNS: [10.96.0.10]\nevictionHard: {memory.available: 100Mi, nodefs.available: 5%}\n"))
	f.Add([]byte(head + "userNamespaces: {idsPerPod: 65536}\nevictionHard: {pid.available: NaN%}\n"))
	f.Add([]byte(head + "evictionSoft: {imagefs.available: 1Gi}\nevictionSoftGracePeriod: {imagefs.available: 90s}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		kc, err := decodeConfiguration(raw)
		if err != nil {
			return
		}
		SetDefaults(kc)
		if len(validateConfiguration(kc)) > 0 {
			return
		}
		settings := eviction.Settings{Hard: kc.EvictionHard, Soft: kc.EvictionSoft, SoftGrace: kc.EvictionSoftGracePeriod, MinimumReclaim: kc.EvictionMinimumReclaim}
		thresholds, err := settings.Thresholds()
		if err != nil {
			return
		}
		for _, threshold := range thresholds {
			if share := threshold.Limit.Share; !(share >= 0 && share <= 1) {
				t.Errorf("a share of %v was taken for %s", share, threshold.Signal)
			}
		}
	})
}

// FuzzTaint reads any text as a taint of --register-with-taints.
func FuzzTaint(f *testing.F) {
	f.Add("key=value:NoSchedule")
	f.Add("=:NoExecute")
	f.Fuzz(func(t *testing.T, text string) {
		taint, err := parseTaint(text)
		if err != nil {
			return
		}
		if len(validation.IsQualifiedName(taint.Key)) > 0 || len(validation.IsValidLabelValue(taint.Value)) > 0 {
			t.Errorf("%q was taken, which no node can have", text)
		}
		if again, err := parseTaint(taint.ToString()); err != nil || again != taint {
			t.Errorf("%q is read as %v, and that as %v, %v", text, taint, again, err)
		}
	})
}
