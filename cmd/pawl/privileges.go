package main

// What a process may never do, from before its first thread on. A flag of prctl(2) is of one thread
// and of those that it makes, and the Go runtime has made some before main: only a constructor of the
// C part comes earlier.
//
//   - No program that it might run gains privileges (PR_SET_NO_NEW_PRIVS).
//   - A file that it makes is closed to others, whatever the umask was, and for the moment too before
//     a mode of its own is set.

/*
#include <sys/prctl.h>
#include <sys/stat.h>

__attribute__((constructor)) static void give_up_privileges(void) {
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)umask(077);
}
*/
import "C"
