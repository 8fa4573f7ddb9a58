package cronjob

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// schedule is a parsed cron expression. https://en.wikipedia.org/wiki/Cron
type schedule struct {
	// every is the period of an @every schedule; the rest is unused then.
	every time.Duration

	minutes, hours, days, months, weekdays set
	// anyDay and anyWeekday: the field begins with a star. If neither does, a day that either field names is a match.
	anyDay, anyWeekday bool
	location           *time.Location
}

// set is the numbers 0 to 63 as bits.
type set uint64

func (s set) has(n int) bool { return s&(1<<n) != 0 }

// field describes the values of one place in an expression.
type field struct {
	name     string
	min, max int
	names    string // of the values from min on, three letters each, space separated
}

func fields() [5]field {
	return [5]field{
		{name: "minute", max: 59}, {name: "hour", max: 23}, {name: "day of month", min: 1, max: 31},
		{name: "month", min: 1, max: 12, names: "jan feb mar apr may jun jul aug sep oct nov dec"},
		{name: "day of week", max: 7, names: "sun mon tue wed thu fri sat"},
	}
}

// parseSchedule reads five fields, a macro like @daily, or @every and a duration.
func parseSchedule(text string, location *time.Location) (*schedule, error) {
	if rest, ok := strings.CutPrefix(text, "@every "); ok {
		every, err := time.ParseDuration(strings.TrimSpace(rest))
		if err != nil || every < time.Second {
			return nil, fmt.Errorf("schedule %q: %q is not a duration of a second or more", text, rest)
		}
		return &schedule{every: every.Truncate(time.Second), location: location}, nil
	}
	macros := map[string]string{
		"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
		"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
	}
	expression := text
	if meaning, ok := macros[text]; ok {
		expression = meaning
	}
	parts := strings.Fields(expression)
	if len(parts) != 5 {
		return nil, fmt.Errorf("schedule %q: expected 5 fields (minute, hour, day of month, month, day of week), found %d", text, len(parts))
	}
	var sets [5]set
	for i, f := range fields() {
		parsed, err := f.parse(parts[i])
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %s: %w", text, f.name, err)
		}
		sets[i] = parsed
	}
	if sets[4].has(7) {
		sets[4] |= 1 // Sunday has two numbers.
	}
	star := func(part string) bool { return strings.HasPrefix(part, "*") || strings.HasPrefix(part, "?") }
	return &schedule{
		minutes: sets[0], hours: sets[1], days: sets[2], months: sets[3], weekdays: sets[4],
		anyDay: star(parts[2]), anyWeekday: star(parts[4]), location: location,
	}, nil
}

func (f field) parse(text string) (set, error) {
	var all set
	for item := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		first, last := f.min, f.max
		if span != "*" && span != "?" {
			from, to, ranged := strings.Cut(span, "-")
			var err error
			if first, err = f.value(from); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if last, err = f.value(to); err != nil {
					return 0, err
				}
			case !stepped:
				last = first
			}
		}
		step := 1
		if stepped {
			var err error
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return 0, fmt.Errorf("step %q is not a positive number", stepText)
			}
		}
		if first < f.min || last > f.max || first > last {
			return 0, fmt.Errorf("%q is not within %d-%d", item, f.min, f.max)
		}
		for n := first; n <= last; n += step {
			all |= 1 << n
		}
	}
	return all, nil
}

func (f field) value(text string) (int, error) {
	for i, name := range strings.Fields(f.names) {
		if strings.EqualFold(name, text) {
			return f.min + i, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return n, nil
}

// next is the first time of the schedule after t; zero if there is none within five years (the 30th of February).
func (s *schedule) next(t time.Time) time.Time {
	if s.every > 0 {
		return t.Add(s.every).Truncate(time.Second)
	}
	at := t.In(s.location).Truncate(time.Minute).Add(time.Minute)
	limit := at.AddDate(5, 0, 0)
	for at.Before(limit) {
		switch {
		case !s.months.has(int(at.Month())):
			at = time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, s.location)
		case !s.onDay(at):
			at = time.Date(at.Year(), at.Month(), at.Day()+1, 0, 0, 0, 0, s.location)
		case !s.hours.has(at.Hour()):
			// By elapsed time: in a night when the clocks change, an hour may be missing or come twice.
			at = at.Add(time.Hour - time.Duration(at.Minute())*time.Minute)
		case !s.minutes.has(at.Minute()):
			at = at.Add(time.Minute)
		default:
			return at
		}
	}
	return time.Time{}
}

func (s *schedule) onDay(at time.Time) bool {
	day, weekday := s.days.has(at.Day()), s.weekdays.has(int(at.Weekday()))
	if s.anyDay || s.anyWeekday {
		return day && weekday
	}
	return day || weekday
}

// latest is the last time of the schedule in (after, now], zero if there is none; many tells that it was preceded by more
// than a hundred others in that span.
func (s *schedule) latest(after, now time.Time) (last time.Time, many bool) {
	const most = 100
	count := 0
	for at := s.next(after); !at.IsZero() && !at.After(now); at = s.next(at) {
		last = at
		if count++; count > most {
			many = true
			break
		}
	}
	if !many || s.every > 0 {
		if many {
			steps := now.Sub(last) / s.every
			last = last.Add(steps * s.every)
		}
		return last, many
	}
	// Too many to walk through: look back from now, further and further.
	for back := time.Minute; ; back *= 2 {
		from := now.Add(-back)
		if from.Before(last) {
			from = last
		}
		found := time.Time{}
		for at := s.next(from); !at.IsZero() && !at.After(now); at = s.next(at) {
			found = at
		}
		if !found.IsZero() {
			return found, true
		}
		if from.Equal(last) {
			return last, true
		}
	}
}
