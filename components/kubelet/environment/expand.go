package environment

import "strings"

// Expand replaces each $(NAME) in text by its variable. $$ stands for a single $,
// and a reference to an unknown variable stays as it is.
// See https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/.
func Expand(text string, lookup func(name string) (string, bool)) string {
	if !strings.Contains(text, "$") {
		return text
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "("):
			name, rest, closed := strings.Cut(after[1:], ")")
			if !closed {
				out.WriteString("$(")
				text = after[1:]
				continue
			}
			if value, known := lookup(name); known {
				out.WriteString(value)
			} else {
				out.WriteString("$(" + name + ")")
			}
			text = rest
		default:
			out.WriteByte('$')
			text = after
		}
	}
}

// ExpandAll expands each text of a list.
func ExpandAll(texts []string, lookup func(name string) (string, bool)) []string {
	if len(texts) == 0 {
		return nil
	}
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = Expand(text, lookup)
	}
	return out
}
