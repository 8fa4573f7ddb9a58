// Package roleaggregation fills cluster roles that have an aggregation rule with the rules of the roles it selects.
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles
package roleaggregation

import (
	"cmp"
	"context"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const workers = 5

// Controller is the cluster role aggregation controller.
type Controller struct {
	env     *controller.Env
	sources controller.Sources
	roles   rbaclisters.ClusterRoleLister
	queue   *controller.Queue[string]
}

// New makes the cluster role aggregation controller.
func New(env *controller.Env) (controller.Controller, error) {
	roles := env.Informers.Rbac().V1().ClusterRoles()
	c := &Controller{env: env, roles: roles.Lister()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, roles.Informer(), controller.Any(func(*rbacv1.ClusterRole) { c.wakeAll() }))
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "clusterrole-aggregation-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, workers)
	}
	return nil
}

// wakeAll wakes every aggregated role: few are, and any role may have become or ceased to be part of one.
func (c *Controller) wakeAll() {
	all, err := c.roles.List(labels.Everything())
	if err != nil {
		return
	}
	for _, role := range all {
		if role.AggregationRule != nil {
			c.queue.Add(role.Name)
		}
	}
}

func (c *Controller) sync(ctx context.Context, name string) error {
	role, err := c.roles.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if role.AggregationRule == nil {
		return nil
	}
	rules, err := c.aggregate(role)
	if err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(rules, role.Rules) {
		return nil
	}
	updated := role.DeepCopy()
	updated.Rules = rules
	_, err = c.env.Client.RbacV1().ClusterRoles().Update(ctx, updated, metav1.UpdateOptions{})
	return err
}

// aggregate returns the rules of all selected roles, in the order of selectors and names, each once.
func (c *Controller) aggregate(role *rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		selected, err := c.roles.List(selector)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(selected, func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
		for _, part := range selected {
			if part.Name == role.Name {
				continue
			}
			for _, rule := range part.Rules {
				if !slices.ContainsFunc(rules, func(known rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(known, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}
