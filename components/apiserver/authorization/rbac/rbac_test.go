package rbac

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func TestAllows(t *testing.T) {
	pods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods", "*/scale"}}
	named := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ResourceNames: []string{"one"}}
	urls := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/api/*"}}
	on := func(verb, resource, sub, name string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, Resource: resource, Subresource: sub, Name: name, ResourceRequest: true}
	}
	at := func(path string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: "get", Path: path}
	}
	for _, test := range []struct {
		name string
		rule rbacv1.PolicyRule
		ask  authorizer.AttributesRecord
		want bool
	}{
		{"the resource", pods, on("get", "pods", "", "x"), true},
		{"another verb", pods, on("list", "pods", "", ""), false},
		{"a subresource is not the resource", pods, on("get", "pods", "log", "x"), false},
		{"a subresource of anything", pods, on("get", "deployments", "scale", "x"), true},
		{"the name", named, on("delete", "secrets", "", "one"), true},
		{"another name", named, on("delete", "secrets", "", "two"), false},
		{"no name", named, on("create", "secrets", "", ""), false},
		{"everything covers subresources", named, on("get", "pods", "exec", "one"), true},
		{"the path", urls, at("/healthz"), true},
		{"below the path", urls, at("/healthz/ping"), false},
		{"below an open path", urls, at("/api/v1"), true},
		{"paths are no resources", pods, at("/pods"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Allows(&test.rule, test.ask); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
