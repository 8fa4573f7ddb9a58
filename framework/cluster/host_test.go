package cluster

import (
	"slices"
	"testing"
)

func TestTheLastSettingOfAVariableCounts(t *testing.T) {
	got := environment([]string{"PATH=/bin", "HOME=/root"}, nil, []string{"A=1", "PATH=/mine:/bin"})
	if want := []string{"PATH=/mine:/bin", "HOME=/root", "A=1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
