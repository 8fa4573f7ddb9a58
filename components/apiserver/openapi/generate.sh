#!/bin/sh
# Writes zz_generated.openapi.go from the served types of k8s.io/api.
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
: >"$out/header"
api() { for p in "$@"; do echo "k8s.io/api/$p"; done; }
machinery() { for p in "$@"; do echo "k8s.io/apimachinery/pkg/$p"; done; }
go tool openapi-gen \
	--output-dir . --output-pkg github.com/plumbline/plumbline/components/apiserver/openapi \
	--output-file zz_generated.openapi.go --go-header-file "$out/header" --report-filename "$out/report" \
	$(api admissionregistration/v1 apps/v1 authentication/v1 authorization/v1 autoscaling/v1 autoscaling/v2 \
		batch/v1 certificates/v1 coordination/v1 core/v1 discovery/v1 events/v1 flowcontrol/v1 networking/v1 \
		node/v1 policy/v1 rbac/v1 resource/v1 scheduling/v1 scheduling/v1alpha3 scheduling/v1beta1 storage/v1 storagemigration/v1) \
	$(machinery apis/meta/v1 api/resource runtime util/intstr version)
