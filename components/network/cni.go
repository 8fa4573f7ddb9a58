package network

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
)

// configFile sorts first, so that the runtime takes it before any other.
const configFile = "10-plumbline.conflist"

// cniConfig is a network configuration list of the CNI specification 1.0.0
// (https://www.cni.dev/docs/spec/#section-1-network-configuration-format).
type cniConfig struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	Plugins    []any  `json:"plugins"`
}

// bridgePlugin is what the plugin plumb-bridge reads: it does the work of the bridge and
// host-local plugins in one go.
type bridgePlugin struct {
	Type   string         `json:"type"`
	Bridge string         `json:"bridge"`
	MTU    int            `json:"mtu,omitempty"`
	Ranges []netip.Prefix `json:"ranges"`
}

// renderCNI writes the configuration by which the runtime connects this node's pods.
// Pods reach themselves through a Service by hairpin mode; a default route to the
// bridge leads to the node, which has none itself, so what has no destination in
// the cluster is refused at once.
func renderCNI(config Config, ranges []netip.Prefix) ([]byte, error) {
	return json.MarshalIndent(cniConfig{
		CNIVersion: "1.0.0",
		Name:       "plumbline",
		Plugins:    []any{bridgePlugin{Type: "plumb-bridge", Bridge: config.Bridge, MTU: config.MTU, Ranges: ranges}},
	}, "", "  ")
}

// installCNI puts the configuration in place at one stroke, since the runtime watches
// the folder. It reports whether anything changed.
func installCNI(dir string, content []byte) (bool, error) {
	path := filepath.Join(dir, configFile)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	// The runtime passes over names that do not end in .conf or .conflist.
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return false, err
	}
	return true, os.Rename(temporary, path)
}
