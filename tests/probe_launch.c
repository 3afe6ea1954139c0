/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * probe_launch EPERM|ENOSYS|KILL PROGRAM [ARG...]: runs a program under a seccomp filter
 * that refuses userfaultfd(2) in that way, as container profiles do.
 */
#include <stdio.h>
#include <string.h>

#include "probe_filter.h"

int main(int argc, char **argv)
{
	unsigned int action;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "EPERM"))
		action = SECCOMP_RET_ERRNO | EPERM;
	else if (!strcmp(argv[1], "ENOSYS"))
		action = SECCOMP_RET_ERRNO | ENOSYS;
	else if (!strcmp(argv[1], "KILL"))
		action = SECCOMP_RET_KILL_PROCESS;
	else
		return 2;
	if (filter_syscall(SYS_userfaultfd, action, 0)) {
		perror("seccomp");
		return 77;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
