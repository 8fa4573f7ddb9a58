package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// unmapProgram takes the pages of the program's own code and constants out of this
// process. Each that is needed again comes back at a touch, from the file's one copy in
// memory; those that only the start needed, which are most, stay away. A process that
// holds little then shows as one that does.
func unmapProgram() error {
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer file.Close()
	if file.Type != elf.ET_EXEC {
		return nil // loaded somewhere else than the file says
	}
	var errs []error
	for _, part := range file.Progs {
		// What may be written to is more than a copy of the file.
		if part.Type != elf.PT_LOAD || part.Flags&elf.PF_W != 0 {
			continue
		}
		page := uint64(os.Getpagesize())
		from, to := part.Vaddr&^(page-1), (part.Vaddr+part.Memsz)&^(page-1)
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("madvise %#x: %w", from, errno))
		}
	}
	return errors.Join(errs...)
}
