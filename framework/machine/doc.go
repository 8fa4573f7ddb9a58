// Package machine makes machines out of Linux namespaces: a network, mount, PID,
// UTS, IPC and control group namespace of their own, with an init process that
// mounts private standard paths, reaps, and starts processes on request.
//
// The init process is this program run again under the name [InitName]; a program
// that starts machines calls [RunIfInit] first thing in main. It is killed by the
// kernel when the thread that started it ends (parent-death signal), and ends by
// itself when its socket to the harness closes. With PID 1 the kernel removes every
// process, mount and network device of the machine, so a harness that is killed
// leaves nothing behind but empty directories.
package machine
