package catalogue

import "testing"

// FuzzFocus chooses by any word. What is chosen is of what there was, and a word that
// chooses nothing is an error.
func FuzzFocus(f *testing.F) {
	all := []Behaviour{
		{ID: "[sig-apps] Deployment should (work) [Conformance]", Suite: Kubernetes, Area: "sig-apps", Components: []string{controllers}},
		{ID: "network.service.port", Suite: Plumbline, Area: "network", Title: "Ports", Promise: "A port is served.", Components: []string{proxy}},
	}
	f.Add("kube-proxy", "1/2")
	f.Add("[sig-apps] Deployment should (work", "2/1")
	f.Add("(?i)PORT$", "-1/-1")
	f.Add("", "/")
	f.Add("\xbe", "0") // neither a regular expression nor text
	f.Fuzz(func(t *testing.T, word, part string) {
		some, err := Focus(all, []string{word})
		if (err == nil) != (len(some) > 0) {
			t.Errorf("%q chooses %d, %v", word, len(some), err)
		}
		parts, err := Parts(all, []string{word}, []string{controllers, proxy})
		if (err == nil) != (len(some) > 0) {
			t.Errorf("%q chooses %d parts, %v", word, len(parts), err)
		}
		shard, err := ParseShard(part)
		if err != nil {
			return
		}
		if again, err := ParseShard(shard.String()); err != nil || again != shard {
			t.Errorf("%q is read as %s and that as %s, %v", part, shard, again, err)
		}
		if chosen := shard.Choose(all); len(chosen) > len(all) {
			t.Errorf("%s of %d are %d", shard, len(all), len(chosen))
		}
	})
}
