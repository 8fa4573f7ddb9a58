// Package resources lists every resource that the API server serves.
package resources

import "github.com/plumbline/plumbline/components/apiserver/resource"

// All lists the resources in the order in which their groups are preferred. Adding
// a resource is one file and one line here.
func All() []resource.Entry {
	return withProvisional([]resource.Entry{})
}
