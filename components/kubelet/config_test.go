package kubelet

import (
	"context"
	"strings"
	"testing"
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
