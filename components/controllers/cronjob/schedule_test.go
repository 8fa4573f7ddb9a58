package cronjob

import (
	"strings"
	"testing"
	"time"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestNext(t *testing.T) {
	for _, c := range []struct{ schedule, from, want string }{
		{"* * * * *", "2026-01-01 12:00:00", "2026-01-01 12:01:00"},
		{"* * * * *", "2026-01-01 12:00:59", "2026-01-01 12:01:00"},
		{"*/15 8-10 * * *", "2026-01-01 10:45:00", "2026-01-02 08:00:00"},
		{"5,35 0 * * *", "2026-01-01 00:05:00", "2026-01-01 00:35:00"},
		{"0 0 31 * *", "2026-02-01 00:00:00", "2026-03-31 00:00:00"},
		{"0 12 * * mon-fri", "2026-01-02 12:00:00", "2026-01-05 12:00:00"}, // From Friday to Monday.
		{"0 0 * * 7", "2026-01-01 00:00:00", "2026-01-04 00:00:00"},
		{"0 0 13 * 5", "2026-01-01 00:00:00", "2026-01-02 00:00:00"}, // Either the 13th or a Friday.
		{"0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00"},
		{"@monthly", "2026-01-15 00:00:00", "2026-02-01 00:00:00"},
		{"@every 90s", "2026-01-01 12:00:00", "2026-01-01 12:01:30"},
	} {
		plan, err := parseSchedule(c.schedule, time.UTC)
		if err != nil {
			t.Errorf("%s: %v", c.schedule, err)
			continue
		}
		if got := plan.next(at(t, c.from)); !got.Equal(at(t, c.want)) {
			t.Errorf("%s after %s: got %s, want %s", c.schedule, c.from, got, c.want)
		}
	}
	never, err := parseSchedule("0 0 30 2 *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if got := never.next(at(t, "2026-01-01 00:00:00")); !got.IsZero() {
		t.Errorf("the 30th of February: got %s", got)
	}
}

func TestNextInTimeZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zone database: ", err)
	}
	plan, err := parseSchedule("30 2 * * *", berlin)
	if err != nil {
		t.Fatal(err)
	}
	// On 2026-03-29 there is no 02:30 in Berlin.
	if got, want := plan.next(at(t, "2026-03-28 12:00:00")), time.Date(2026, 3, 30, 2, 30, 0, 0, berlin); !got.Equal(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLatest(t *testing.T) {
	plan, err := parseSchedule("*/10 * * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after, now, want string
		many             bool
	}{
		{"2026-01-01 12:00:00", "2026-01-01 12:09:59", "", false},
		{"2026-01-01 12:00:00", "2026-01-01 12:10:00", "2026-01-01 12:10:00", false},
		{"2026-01-01 12:00:00", "2026-01-01 12:35:00", "2026-01-01 12:30:00", false},
		{"2025-01-01 12:00:00", "2026-01-01 12:35:00", "2026-01-01 12:30:00", true},
	} {
		got, many := plan.latest(at(t, c.after), at(t, c.now))
		if many != c.many || (c.want == "") != got.IsZero() || (c.want != "" && !got.Equal(at(t, c.want))) {
			t.Errorf("in (%s, %s]: got %s, %v, want %q, %v", c.after, c.now, got, many, c.want, c.many)
		}
	}
}

func TestBadSchedules(t *testing.T) {
	for schedule, complaint := range map[string]string{
		"* * * *": "expected 5 fields", "60 * * * *": "minute", "* 5-3 * * *": "hour", "* * 0 * *": "day of month",
		"* * * foo *": "month", "*/0 * * * *": "step", "@every 1ms": "duration", "@sometimes": "expected 5 fields",
	} {
		if _, err := parseSchedule(schedule, time.UTC); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%q: got %v, want something about %q", schedule, err, complaint)
		}
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, seed := range []string{"* * * * *", "*/5 1-3,7 ? jan-mar mon", "@every 1h", "@daily", "0-59/61 * * * 7"} {
		f.Add(seed)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		plan, err := parseSchedule(text, time.UTC)
		if err != nil {
			return
		}
		if next := plan.next(start); !next.IsZero() && !next.After(start) {
			t.Errorf("%q: %s is not after %s", text, next, start)
		}
	})
}
