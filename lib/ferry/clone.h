/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clone(2) without libc: the child runs fn(arg) on the stack given and exits with what
 * it returns. libc's own clone() would do for the first task, but a task must also be
 * able to start a second thread of itself, and there libc may not be called.
 */
#ifndef MF_FERRY_CLONE_H
#define MF_FERRY_CLONE_H

#include "base/sys.h"

#ifndef CLONE_VM
#define CLONE_VM 0x00000100
#define CLONE_FS 0x00000200
#define CLONE_FILES 0x00000400
#define CLONE_SIGHAND 0x00000800
#define CLONE_THREAD 0x00010000
#define CLONE_SYSVSEM 0x00040000
#endif

typedef int (*mf_task_fn)(void *arg);

/* Returns the child's tid, or -errno. @top is the end of the child's stack. */
static inline long mf_clone(unsigned long flags, void *top, mf_task_fn fn, void *arg)
{
	u64 *sp = (u64 *)mf_align_down((u64)top, 16);
	long inj = mf_inject(MF_INJECT_CLONE);

	if (inj)
		return inj;
	*--sp = (u64)arg;
	*--sp = (u64)fn;
#if defined(__x86_64__)
	{
		register long r10 __asm__("r10") = 0;
		register long r8 __asm__("r8") = 0;
		long ret;

		__asm__ volatile("syscall\n\t"
				 "test %%rax, %%rax\n\t"
				 "jnz 1f\n\t"
				 "xor %%ebp, %%ebp\n\t"
				 "pop %%rax\n\t"
				 "pop %%rdi\n\t"
				 "call *%%rax\n\t"
				 "mov %%eax, %%edi\n\t"
				 "mov %[exit], %%eax\n\t"
				 "syscall\n\t"
				 "hlt\n"
				 "1:"
				 : "=a"(ret)
				 : "a"(__NR_clone), "D"(flags), "S"(sp), "d"(0), "r"(r10),
				   "r"(r8), [exit] "i"(__NR_exit)
				 : "rcx", "r11", "memory");
		return ret;
	}
#elif defined(__aarch64__)
	{
		register long x8 __asm__("x8") = __NR_clone;
		register long x0 __asm__("x0") = (long)flags;
		register long x1 __asm__("x1") = (long)sp;
		register long x2 __asm__("x2") = 0;
		register long x3 __asm__("x3") = 0;
		register long x4 __asm__("x4") = 0;

		__asm__ volatile("svc #0\n\t"
				 "cbnz x0, 1f\n\t"
				 "mov x29, #0\n\t"
				 "ldp x1, x0, [sp], #16\n\t"
				 "blr x1\n\t"
				 "mov x8, %[exit]\n\t"
				 "svc #0\n\t"
				 "brk #0\n"
				 "1:"
				 : "+r"(x0)
				 : "r"(x8), "r"(x1), "r"(x2), "r"(x3),
				   "r"(x4), [exit] "i"(__NR_exit)
				 : "memory");
		return x0;
	}
#endif
}

#endif /* MF_FERRY_CLONE_H */
