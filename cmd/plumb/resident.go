package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is this process's copy of its own code and constants.
type program struct {
	parts []span
	// sparse, while it is open, keeps the kernel from mapping more than is touched.
	sparse *os.File
}

// span is a range of addresses, as the kernel wants it.
type span struct{ start, length uint64 }

// unmap takes the program's pages out of this process. Each that is needed again comes
// back at a touch, from the file's one copy in memory; those that only the start needed,
// which are most, stay away. A process that holds little then shows as one that does.
func (p *program) unmap() error {
	if p.parts == nil {
		if err := p.find(); err != nil {
			return err
		}
	}
	var errs []error
	for _, part := range p.parts {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(part.start), uintptr(part.length), unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("madvise %#x: %w", part.start, errno))
		}
	}
	if p.sparse == nil {
		errs = append(errs, p.thin())
	}
	return errors.Join(errs...)
}

// find learns where the program lies.
func (p *program) find() error {
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer file.Close()
	if file.Type != elf.ET_EXEC {
		return nil // loaded somewhere else than the file says
	}
	for _, part := range file.Progs {
		// What may be written to is more than a copy of the file.
		if part.Type != elf.PT_LOAD || part.Flags&elf.PF_W != 0 {
			continue
		}
		page := uint64(os.Getpagesize())
		from, to := part.Vaddr&^(page-1), (part.Vaddr+part.Memsz)&^(page-1)
		p.parts = append(p.parts, span{from, to - from})
	}
	return nil
}

// thin has the kernel bring back single pages. It would bring the sixteen around each,
// and of a program whose functions and their tables are scattered over a hundred
// megabytes, most of them for nothing. Memory whose writes somebody waits for by
// userfaultfd is exempt, and nobody writes to this.
func (p *program) thin() error {
	// From the kernel's linux/userfaultfd.h; writes are only noted, so nothing ever waits.
	const (
		userModeOnly           = 1
		api, writesNoted       = 0xaa, 1 << 15
		ioctlAPI, ioctlEnroll  = 0xc018aa3f, 0xc020aa00
		enrollForWriteProtects = 1 << 1
	)
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|userModeOnly, 0, 0)
	if errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	file := os.NewFile(fd, "userfaultfd")
	control := func(request uintptr, argument unsafe.Pointer) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(argument)); errno != 0 {
			return errors.Join(fmt.Errorf("userfaultfd: ioctl %#x: %w", request, errno), file.Close())
		}
		return nil
	}
	if err := control(ioctlAPI, unsafe.Pointer(&struct{ api, features, ioctls uint64 }{api, writesNoted, 0})); err != nil {
		return err
	}
	for _, part := range p.parts {
		enroll := struct {
			span
			mode, ioctls uint64
		}{part, enrollForWriteProtects, 0}
		if err := control(ioctlEnroll, unsafe.Pointer(&enroll)); err != nil {
			return err
		}
	}
	p.sparse = file
	return nil
}
