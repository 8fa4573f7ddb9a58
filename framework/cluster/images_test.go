package cluster

import (
	"strings"
	"testing"

	"github.com/plumbline/plumbline/framework/images"
)

func TestAdditionsTellSetsFromArchives(t *testing.T) {
	known := []images.Set{{Name: "one"}, {Name: "two"}}
	more, err := additions([]string{"two", "/srv/mine.tar"}, known)
	if err != nil || len(more.Sets) != 1 || more.Sets[0].Name != "two" || len(more.Archives) != 1 || more.Archives[0] != "/srv/mine.tar" {
		t.Errorf("%+v %v", more, err)
	}
	for _, c := range []struct {
		known []images.Set
		want  string
	}{
		{known, `spec.images[1]: Invalid value: "three": must be the name of a set of images (one, two) or the path`},
		{nil, `spec.images[0]: Invalid value: "one": must be the path of an OCI image layout or a tar file of images; no set`},
	} {
		if _, err := additions([]string{"one", "three"}, c.known); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}
