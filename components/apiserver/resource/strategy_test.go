package resource

import (
	"context"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

func TestFixedSpec(t *testing.T) {
	type object = *certificatesv1.CertificateSigningRequest
	def := &Definition[object]{
		Identity:   Identity{GroupVersion: certificatesv1.SchemeGroupVersion},
		Spec:       func(r object) any { return &r.Spec },
		Status:     func(r object) any { return &r.Status },
		FixedSpec:  true,
		StatusKept: []string{"status.conditions"},
	}
	version := fieldpath.APIVersion(certificatesv1.SchemeGroupVersion.String())
	main := newStrategy(def, nil, nil)
	for what, test := range map[string]struct{ got, want *fieldpath.Set }{
		"main":   {main.GetResetFields()[version], fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status"))},
		"status": {statusStrategy[object]{main}.GetResetFields()[version], fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status", "conditions"))},
	} {
		if !test.got.Equals(test.want) {
			t.Errorf("the %s endpoint leaves alone %v, want %v", what, test.got, test.want)
		}
	}
	old := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "a.b/c"}}
	changed := old.DeepCopy()
	changed.Spec.SignerName = "d.e/f"
	main.PrepareForUpdate(context.Background(), changed, old)
	if changed.Spec.SignerName != "a.b/c" {
		t.Errorf("a fixed spec was changed to %q", changed.Spec.SignerName)
	}
}
