/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A seccomp filter that treats one system call in a way of its own, for good. */
#ifndef MF_PROBE_FILTER_H
#define MF_PROBE_FILTER_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * @action: SECCOMP_RET_*. Returns what seccomp(2) does: 0, with
 * SECCOMP_FILTER_FLAG_NEW_LISTENER a descriptor, or -1.
 */
static inline int filter_syscall(long nr, unsigned int action, unsigned long flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

#endif /* MF_PROBE_FILTER_H */
