package main

import "testing"

func TestMemoryIsGivenBackOnceItIsCalm(t *testing.T) {
	const mega = 1 << 20
	var c calm
	for i, step := range []struct {
		allocated uint64 // in megabytes, in all
		want      bool
	}{
		{90, true},  // what the start left
		{91, false}, // nothing to speak of
		{140, false},
		{200, false}, // still busy
		{203, true},
		{204, false},
		{209, false}, // little by little ...
		{212, true},  // ... it is worth while again
	} {
		if got := c.after(step.allocated * mega); got != step.want {
			t.Errorf("look %d, after %d MiB: %v", i, step.allocated, got)
		}
	}
}

func TestAllocatedGrows(t *testing.T) {
	before := allocated()
	kept := make([][]byte, 0, 64)
	for range 64 {
		kept = append(kept, make([]byte, 64<<10))
	}
	if after := allocated(); after < before+uint64(len(kept))*64<<10 {
		t.Errorf("%d bytes before, %d after %d allocations of 64 KiB", before, after, len(kept))
	}
}
