// Package table has the pieces that printer columns are made of: column
// definitions, and how ages, containers and flags are written in a cell.
//
// See https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables.
package table

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// None and Unset fill the cells of absent values.
const (
	None  = "<none>"
	Unset = "<unset>"
)

// Name is the column of the object's name.
func Name() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{
		Name: "Name", Type: "string", Format: "name",
		Description: metav1.ObjectMeta{}.SwaggerDoc()["name"],
	}
}

// Age is the column of the time since the object's creation.
func Age() metav1.TableColumnDefinition {
	return String("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
}

// String is a column of text.
func String(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// Integer is a column of numbers.
func Integer(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

// Boolean is a column of flags.
func Boolean(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}
}

// Wide makes columns appear only in wide output.
func Wide(columns ...metav1.TableColumnDefinition) []metav1.TableColumnDefinition {
	for i := range columns {
		columns[i].Priority = 1
	}
	return columns
}

// TemplateColumns are the wide columns of everything that holds a pod template:
// see ContainerCells.
func TemplateColumns() []metav1.TableColumnDefinition {
	return Wide(
		String("Containers", "Names of each container in the template."),
		String("Images", "Images referenced by each container in the template."),
	)
}

// ContainerCells are the values below TemplateColumns.
func ContainerCells(containers []corev1.Container) []any {
	names := make([]string, len(containers))
	images := make([]string, len(containers))
	for i := range containers {
		names[i], images[i] = containers[i].Name, containers[i].Image
	}
	return []any{strings.Join(names, ","), strings.Join(images, ",")}
}

// Since is the time that has passed, as people read it: "5m", "<unknown>" for never.
func Since(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// Flag is an optional boolean in words.
func Flag(value *bool) string {
	switch {
	case value == nil:
		return Unset
	case *value:
		return "True"
	default:
		return "False"
	}
}
