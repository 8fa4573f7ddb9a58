package hollow

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAgendaKeepsItsAppointments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgenda()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.run(ctx)
		var kept []string
		make := func(name string) *appointment {
			return &appointment{keep: func() { kept = append(kept, name) }}
		}
		begin := time.Now()
		late, moved, dropped, early := make("late"), make("moved"), make("dropped"), make("early")
		a.at(begin.Add(3*time.Second), late)
		a.at(begin.Add(time.Second), moved)
		a.at(begin.Add(2*time.Second), dropped)
		a.at(begin.Add(4*time.Second), moved)
		a.drop(dropped)
		a.drop(dropped)
		synctest.Wait()
		// Sooner than what the timer is set to.
		a.at(begin.Add(500*time.Millisecond), early)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want := []string{"early", "late", "moved"}; !slices.Equal(kept, want) {
			t.Errorf("kept %v, want %v", kept, want)
		}
	})
}
