package resource

import (
	"net/url"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestDecodeQuery(t *testing.T) {
	var got corev1.PodLogOptions
	query, _ := url.ParseQuery("container=c&follow=true&previous=0&tailLines=10&unknown=x")
	if err := decodeQuery(query, &got); err != nil {
		t.Fatal(err)
	}
	want := corev1.PodLogOptions{Container: "c", Follow: true, TailLines: ptr.To(int64(10))}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var exec corev1.PodExecOptions
	query, _ = url.ParseQuery("command=ls&command=-l&stdout=1")
	if err := decodeQuery(query, &exec); err != nil || !reflect.DeepEqual(exec.Command, []string{"ls", "-l"}) || !exec.Stdout {
		t.Errorf("got %+v, %v", exec, err)
	}
	query, _ = url.ParseQuery("sinceTime=yesterday")
	if err := decodeQuery(query, &got); err == nil {
		t.Error("a time that is none was taken")
	}
}
