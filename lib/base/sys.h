/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The edge to the kernel: every system call that memferry makes, as a function that
 * returns the kernel's own value, -errno included. Nothing above this file reads errno.
 *
 * They are raw on purpose. A ferry task shares its creator's thread-local storage, so
 * it must not go through libc wrappers that write errno there or act on cancellation.
 * The fault path is built from this header alone.
 */
#ifndef MF_BASE_SYS_H
#define MF_BASE_SYS_H

#include <asm/unistd.h>
#include <linux/futex.h>
#include <linux/time_types.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "inject.h"
#include "types.h"

#ifndef __NR_pidfd_send_signal
#define __NR_pidfd_send_signal 424
#endif
#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_process_madvise
#define __NR_process_madvise 440
#endif
#ifndef __NR_close_range
#define __NR_close_range 436
#endif

#if defined(__clang_analyzer__)
/* the analyzer does not see what assembly writes through pointers */
long mf_sys6(long nr, long a, long b, long c, long d, long e, long f);
#elif defined(__x86_64__)
static inline long mf_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long mf_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "memferry knows x86-64 and arm64 system calls; add yours here"
#endif

#define mf_sys(nr, a, b, c, d, e)                                                              \
	mf_sys6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline long mf_sys_ioctl(int fd, unsigned long req, void *arg)
{
	long inj = mf_inject(MF_INJECT_IOCTL);

	return inj ? inj : mf_sys(__NR_ioctl, fd, req, arg, 0, 0);
}

static inline long mf_sys_read(int fd, void *buf, size_t len)
{
	long inj = mf_inject(MF_INJECT_READ);

	return inj ? inj : mf_sys(__NR_read, fd, buf, len, 0, 0);
}

static inline long mf_sys_pread(int fd, void *buf, size_t len, u64 off)
{
	long inj = mf_inject(MF_INJECT_READ);

	return inj ? inj : mf_sys(__NR_pread64, fd, buf, len, off, 0);
}

static inline long mf_sys_write(int fd, const void *buf, size_t len)
{
	return mf_sys(__NR_write, fd, buf, len, 0, 0);
}

static inline long mf_sys_openat(int dir, const char *path, int flags, int mode)
{
	long inj = mf_inject(MF_INJECT_FD);

	return inj ? inj : mf_sys(__NR_openat, dir, path, flags, mode, 0);
}

static inline long mf_sys_close(int fd)
{
	return mf_sys(__NR_close, fd, 0, 0, 0, 0);
}

static inline long mf_sys_close_range(unsigned int first, unsigned int last)
{
	return mf_sys(__NR_close_range, first, last, 0, 0, 0);
}

/* the new descriptor is close-on-exec */
static inline long mf_sys_dup(int fd)
{
	long inj = mf_inject(MF_INJECT_FD);

	return inj ? inj : mf_sys(__NR_fcntl, fd, 1030 /* F_DUPFD_CLOEXEC */, 0, 0, 0);
}

static inline long mf_sys_memfd_create(const char *name, unsigned int flags)
{
	long inj = mf_inject(MF_INJECT_FD);

	return inj ? inj : mf_sys(__NR_memfd_create, name, flags, 0, 0, 0);
}

static inline long mf_sys_eventfd(unsigned int init, int flags)
{
	long inj = mf_inject(MF_INJECT_FD);

	return inj ? inj : mf_sys(__NR_eventfd2, init, flags, 0, 0, 0);
}

static inline long mf_sys_ftruncate(int fd, u64 len)
{
	return mf_sys(__NR_ftruncate, fd, len, 0, 0, 0);
}

static inline long mf_sys_mmap(void *addr, size_t len, int prot, int flags, int fd, u64 off)
{
	long inj = mf_inject(MF_INJECT_MMAP);

	return inj ? inj
		   : mf_sys6(__NR_mmap, (long)addr, (long)len, prot, flags, fd, (long)off);
}

/* mf_sys_mmap() and friends return -errno in the pointer's place */
static inline bool mf_is_err(long ret)
{
	return (unsigned long)ret >= (unsigned long)-4095L;
}

static inline long mf_sys_munmap(void *addr, size_t len)
{
	return mf_sys(__NR_munmap, addr, len, 0, 0, 0);
}

static inline long mf_sys_mprotect(void *addr, size_t len, int prot)
{
	return mf_sys(__NR_mprotect, addr, len, prot, 0, 0);
}

static inline long mf_sys_madvise(void *addr, size_t len, int advice)
{
	long inj = mf_inject(MF_INJECT_MADVISE);

	return inj ? inj : mf_sys(__NR_madvise, addr, len, advice, 0, 0);
}

static inline long mf_sys_process_madvise(int pidfd, const void *iov, u64 n, int advice)
{
	return mf_sys(__NR_process_madvise, pidfd, iov, n, advice, 0);
}

static inline long mf_sys_mlock2(void *addr, size_t len, unsigned int flags)
{
	return mf_sys(__NR_mlock2, addr, len, flags, 0, 0);
}

static inline long mf_sys_munlock(void *addr, size_t len)
{
	return mf_sys(__NR_munlock, addr, len, 0, 0, 0);
}

static inline long mf_sys_process_vm_readv(pid_t pid, const void *local_iov, u64 n_local,
					   const void *remote_iov, u64 n_remote)
{
	return mf_sys6(__NR_process_vm_readv, pid, (long)local_iov, (long)n_local,
		       (long)remote_iov, (long)n_remote, 0);
}

static inline long mf_sys_userfaultfd(int flags)
{
	long inj = mf_inject(MF_INJECT_FD);

	return inj ? inj : mf_sys(__NR_userfaultfd, flags, 0, 0, 0, 0);
}

static inline u64 mf_now_ns(void)
{
	struct __kernel_timespec ts;

	mf_sys(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &ts, 0, 0, 0);
	return (u64)ts.tv_sec * MF_NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* @timeout_ns < 0: for ever */
static inline long mf_sys_ppoll(struct pollfd *fds, unsigned int n, s64 timeout_ns)
{
	struct __kernel_timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
	long inj = mf_inject(MF_INJECT_POLL);

	if (inj)
		return inj;
	return mf_sys(__NR_ppoll, fds, n, timeout_ns < 0 ? NULL : &ts, NULL, 8);
}

/* @timeout_ns < 0: for ever. Not process-private: the word may be in a shared mapping. */
static inline long mf_sys_futex_wait(u32 *word, u32 expect, s64 timeout_ns)
{
	struct __kernel_timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };

	return mf_sys6(__NR_futex, (long)word, FUTEX_WAIT, (long)expect,
		       timeout_ns < 0 ? 0 : (long)&ts, 0, 0);
}

/*
 * ppoll() for the loop of a task. Should it fail, the task must not go round without sleeping:
 * with the priority that some have, nothing else would run on that CPU.
 */
static inline long mf_task_poll(struct pollfd *fds, unsigned int n, s64 timeout_ns)
{
	long r = mf_sys_ppoll(fds, n, timeout_ns);
	u32 word = 0;

	if (unlikely(r < 0))
		mf_sys_futex_wait(&word, 0, (s64)MF_NSEC_PER_MSEC);
	return r;
}

/*
 * Called once a round by a task that may have real-time priority. Rounds that are too short to
 * have done anything mean that something fails again and again: then it sleeps in between.
 */
struct mf_brake {
	u32 rounds;
	u64 since_ns;
};

static inline void mf_brake(struct mf_brake *b)
{
	u64 now;
	u32 word = 0;

	if (++b->rounds % 64)
		return;
	now = mf_now_ns();
	if (now - b->since_ns < 64 * 2 * MF_NSEC_PER_USEC)
		mf_sys_futex_wait(&word, 0, (s64)(500 * MF_NSEC_PER_USEC));
	b->since_ns = now;
}

static inline long mf_sys_futex_wake(u32 *word, int n)
{
	return mf_sys(__NR_futex, word, FUTEX_WAKE, n, 0, 0);
}

static inline long mf_sys_sched_yield(void)
{
	return mf_sys(__NR_sched_yield, 0, 0, 0, 0, 0);
}

static inline long mf_sys_sched_setaffinity(pid_t tid, size_t len, const void *mask)
{
	return mf_sys(__NR_sched_setaffinity, tid, len, mask, 0, 0);
}

static inline long mf_sys_getpid(void)
{
	return mf_sys(__NR_getpid, 0, 0, 0, 0, 0);
}

static inline long mf_sys_pidfd_open(pid_t pid)
{
	long inj = mf_inject(MF_INJECT_FD);

	return inj ? inj : mf_sys(__NR_pidfd_open, pid, 0, 0, 0, 0);
}

static inline long mf_sys_pidfd_send_signal(int pidfd, int sig)
{
	return mf_sys(__NR_pidfd_send_signal, pidfd, sig, NULL, 0, 0);
}

static inline long mf_sys_wait4(pid_t pid, int *status, int options)
{
	return mf_sys(__NR_wait4, pid, status, options, NULL, 0);
}

static inline long mf_sys_prctl(int op, unsigned long a)
{
	return mf_sys(__NR_prctl, op, a, 0, 0, 0);
}

static inline long mf_sys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	long inj = mf_inject(MF_INJECT_SEND);

	return inj ? inj : mf_sys(__NR_sendmsg, fd, msg, flags, 0, 0);
}

static inline long mf_sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
	long inj = mf_inject(MF_INJECT_RECV);

	return inj ? inj : mf_sys(__NR_recvmsg, fd, msg, flags, 0, 0);
}

static inline void __attribute__((noreturn)) mf_sys_exit_group(int status)
{
	for (;;)
		mf_sys(__NR_exit_group, status, 0, 0, 0, 0);
}

static inline void mf_cpu_relax(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause" ::: "memory");
#else
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif /* MF_BASE_SYS_H */
