package flowcontrol

import (
	"strings"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/utils/ptr"
)

func TestBootstrapObjectsAreValidAndComplete(t *testing.T) {
	for _, s := range append(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas...) {
		s = s.DeepCopy()
		FlowSchemas().Default(s)
		if errs := validateSchema(s); len(errs) > 0 {
			t.Errorf("%s: %v", s.Name, errs)
		}
	}
	for _, l := range append(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations...) {
		l = l.DeepCopy()
		defaultLevel(l)
		if errs := validateLevel(l); len(errs) > 0 {
			t.Errorf("%s: %v", l.Name, errs)
		}
	}
}

func TestMandatoryObjectsAreFixed(t *testing.T) {
	exempt := bootstrap.MandatoryPriorityLevelConfigurationExempt.DeepCopy()
	exempt.Spec.Exempt.LendablePercent = ptr.To[int32](50)
	if errs := validateLevel(exempt); len(errs) > 0 {
		t.Errorf("shares of exempt requests: %v", errs)
	}
	rest := bootstrap.MandatoryPriorityLevelConfigurationCatchAll.DeepCopy()
	rest.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](99)
	if errs := validateLevel(rest); len(errs) != 1 || !strings.Contains(errs[0].Detail, "spec of 'catch-all' must equal the fixed value") {
		t.Errorf("catch-all: %v", errs)
	}
}

func TestSchemaProblems(t *testing.T) {
	s := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: flowcontrolv1.FlowSchemaSpec{
		MatchingPrecedence: 1,
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:         []flowcontrolv1.Subject{{Kind: "User", Group: &flowcontrolv1.GroupSubject{}}},
			ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"get", "*"}, APIGroups: []string{""}, Resources: []string{"pods"}}},
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"look"}, NonResourceURLs: []string{"x", "/a*b"}}},
		}},
	}}
	var got []string
	for _, err := range validateSchema(s) {
		got = append(got, err.Error())
	}
	want := []string{
		`spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1`,
		`spec.priorityLevelConfiguration.name: Required value: must reference a priority level`,
		`spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'`,
		`spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'`,
		`spec.rules[0].resourceRules[0].verbs: Invalid value: ["get","*"]: if '*' is present, must not specify other verbs`,
		`spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace`,
		`spec.rules[0].nonResourceRules[0].verbs: Unsupported value: ["look"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"`,
		`spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "x": must start with slash`,
		`spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "/a*b": wildcard can only do suffix matching`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
