package storagemigration

import (
	"slices"
	"testing"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestProgress(t *testing.T) {
	status := func(version string, kinds ...storagemigrationv1.MigrationConditionType) *storagemigrationv1.StorageVersionMigration {
		m := &storagemigrationv1.StorageVersionMigration{Status: storagemigrationv1.StorageVersionMigrationStatus{ResourceVersion: version}}
		for _, kind := range kinds {
			m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{
				Type: string(kind), Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.Now(),
			})
		}
		return m
	}
	const succeeded, failed = storagemigrationv1.MigrationSucceeded, storagemigrationv1.MigrationFailed
	for name, test := range map[string]struct {
		now, was *storagemigrationv1.StorageVersionMigration
		want     []string
	}{
		"begun":           {status("5"), status(""), nil},
		"done":            {status("5", succeeded), status("5"), nil},
		"another version": {status("6"), status("5"), []string{`status.resourceVersion: field is immutable`}},
		"no version":      {status("x"), status(""), []string{`status.resourceVersion: resource version is not well formed: x`}},
		"well and badly": {status("5", succeeded, failed), status("5"), []string{
			"status.conditions: Both success and failed conditions cannot be true at the same time",
		}},
		"undone": {status("5"), status("5", succeeded), []string{"status.conditions: Success condition cannot be set to false once it is true"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range validateProgress(t.Context(), test.now, test.was) {
				got = append(got, err.Field+": "+err.Detail)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%q\nwant\n%q", got, test.want)
			}
		})
	}
}
