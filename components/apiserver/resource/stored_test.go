package resource

import (
	"reflect"
	"strings"
	"testing"
)

type (
	word    string
	another string

	servedPart struct {
		Word  word            `json:"word"`
		Next  *servedPart     `json:"next,omitempty"`
		Parts []servedPart    `json:"parts,omitempty"`
		Named map[string]word `json:"named,omitempty"`
	}
	storedPart struct {
		Older int                `json:"older,omitempty"`
		Word  another            `json:"word"`
		Next  *storedPart        `json:"next,omitempty"`
		Parts []storedPart       `json:"parts,omitempty"`
		Named map[string]another `json:"named,omitempty"`
	}
	renamed struct {
		Word word `json:"sentence"`
	}
	counted struct {
		Word int `json:"word"`
	}
)

func TestWhatIsStoredUnderAnotherVersionComesBack(t *testing.T) {
	served := servedPart{
		Word: "a", Next: &servedPart{Word: "b", Parts: []servedPart{}},
		Parts: []servedPart{{Word: "c", Named: map[string]word{"d": "e"}}, {}},
	}
	var stored storedPart
	reshape(reflect.ValueOf(&stored).Elem(), reflect.ValueOf(served))
	if stored.Parts[0].Named["d"] != "e" || stored.Next.Parts == nil || stored.Parts[1].Named != nil {
		t.Errorf("stored as %+v", stored)
	}
	stored.Older = 7
	var back servedPart
	reshape(reflect.ValueOf(&back).Elem(), reflect.ValueOf(stored))
	if !reflect.DeepEqual(back, served) {
		t.Errorf("%+v came back as %+v", served, back)
	}
}

func TestATypeThatCannotHoldWhatIsServedIsRefused(t *testing.T) {
	for _, test := range []struct {
		stored, served any
		says           string
	}{
		{storedPart{}, servedPart{}, ""},
		{servedPart{}, storedPart{}, "has no field Older"},
		{renamed{}, servedPart{}, "has no field Word"},
		{counted{}, struct {
			Word word `json:"word"`
		}{}, "is a int"},
	} {
		err := holds(reflect.TypeOf(test.stored), reflect.TypeOf(test.served), map[reflect.Type]bool{})
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%T for %T: error %v, not %q", test.stored, test.served, err, test.says)
		}
	}
}
