package workload

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Mistake is one thing that is wrong with a file.
type Mistake struct {
	File string
	// Line is where it stands, or 0 where the file has no line for it.
	Line int
	// Field leads to it: "[0].workloadTemplate[1].count".
	Field string
	// Problem says what is wrong and what would be right.
	Problem string
}

// Error is the mistake on one line, as compilers write theirs.
func (m *Mistake) Error() string {
	text := m.File
	if m.Line > 0 {
		text = fmt.Sprintf("%s:%d", m.File, m.Line)
	}
	if m.Field != "" {
		text += ": " + m.Field
	}
	return text + ": " + m.Problem
}

// mistakes are all that is wrong, each told once however many workloads share it.
type mistakes struct{ list []*Mistake }

func (m *mistakes) add(mistake Mistake) {
	if !slices.ContainsFunc(m.list, func(known *Mistake) bool { return *known == mistake }) {
		m.list = append(m.list, &mistake)
	}
}

// err joins the mistakes in the order of the files' lines, or is nil.
func (m *mistakes) err() error {
	slices.SortStableFunc(m.list, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	var all []error
	for _, mistake := range m.list {
		all = append(all, mistake)
	}
	return errors.Join(all...)
}
