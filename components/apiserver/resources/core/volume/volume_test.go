package volume

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func said(errs field.ErrorList) []string {
	var list []string
	for _, e := range errs {
		list = append(list, e.Field+": "+strings.TrimSpace(e.Type.String()+" "+e.Detail))
	}
	return list
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		source corev1.VolumeSource
		want   []string
	}{
		"config map": {source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, Items: []corev1.KeyToPath{{Key: "a", Path: "b/c"}}}}},
		"file outside": {
			corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: "a", Path: "../b", Mode: ptr.To[int32](0o1000)}}}},
			[]string{
				"volumes[0].secret.items[0].path: Invalid value must not contain '..'",
				"volumes[0].secret.items[0].mode: Invalid value must be a number between 0 and 0777 (octal), both inclusive",
			},
		},
		"one file twice": {
			corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Items: []corev1.KeyToPath{{Key: "a", Path: "f"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "f", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
			}}},
			[]string{"volumes[0].projected: Invalid value conflicting duplicate paths"},
		},
		"field that files cannot show": {
			corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "f", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}},
			[]string{"volumes[0].downwardAPI.fieldRef.fieldPath: Unsupported value supported values: " +
				`"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"`},
		},
		"amount of no container": {
			corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "f", ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}}}},
			[]string{"volumes[0].downwardAPI.resourceFieldRef.containerName: Required value"},
		},
		"token for a moment": {
			corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t", ExpirationSeconds: ptr.To[int64](60)}}}}},
			[]string{"volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value may not specify a duration less than 10 minutes"},
		},
		"claim that the pod makes itself": {
			corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}},
			[]string{"volumes[0].ephemeral.volumeClaimTemplate: Required value"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := corev1.Volume{Name: "v", VolumeSource: c.source}
			DefaultSource(&v.VolumeSource)
			_, errs := Validate([]corev1.Volume{v}, field.NewPath("volumes"), Options{PodName: "p"})
			if got := said(errs); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestModesText(t *testing.T) {
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOnce}
	if got := ModesText(modes); got != "RWO,RWX" {
		t.Errorf("got %q", got)
	}
}
