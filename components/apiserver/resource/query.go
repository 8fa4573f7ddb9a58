package resource

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// isOptions says whether t is the query of an endpoint, such as PodLogOptions.
func isOptions(t reflect.Type) bool {
	_, hasMeta := t.FieldByName("ObjectMeta")
	return strings.HasSuffix(t.Name(), "Options") && !hasMeta
}

// decodeQuery fills an options object from a query by the fields' JSON names.
// Only kinds of field that options have are known.
func decodeQuery(query url.Values, into any) error {
	target := reflect.ValueOf(into).Elem()
	for i := range target.NumField() {
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		values, given := query[name]
		if name == "" || !given || len(values) == 0 {
			continue
		}
		if err := setFromQuery(target.Field(i), values); err != nil {
			return fmt.Errorf("query parameter %q: %w", name, err)
		}
	}
	return nil
}

func setFromQuery(field reflect.Value, values []string) error {
	if field.Type() == reflect.TypeFor[metav1.Time]() {
		t, err := time.Parse(time.RFC3339, values[0])
		if err != nil {
			return err
		}
		field.Set(reflect.ValueOf(metav1.NewTime(t)))
		return nil
	}
	switch field.Kind() {
	case reflect.Pointer:
		if values[0] == "" {
			return nil
		}
		elem := reflect.New(field.Type().Elem())
		if err := setFromQuery(elem.Elem(), values); err != nil {
			return err
		}
		field.Set(elem)
	case reflect.Slice:
		slice := reflect.MakeSlice(field.Type(), len(values), len(values))
		for i := range values {
			if err := setFromQuery(slice.Index(i), values[i:i+1]); err != nil {
				return err
			}
		}
		field.Set(slice)
	case reflect.String:
		field.SetString(values[0])
	case reflect.Bool:
		// A parameter that is merely present is true; "false" and "0" are false.
		low := strings.ToLower(values[0])
		field.SetBool(low != "false" && low != "0")
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(values[0], 10, field.Type().Bits())
		if err != nil {
			return err
		}
		field.SetInt(n)
	default:
		return fmt.Errorf("a %s cannot be given in a query", field.Type())
	}
	return nil
}
