/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting, watching and ending ferry tasks. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fail.h"
#include "ferry/task.h"

#define MF_TASK_STACK_DEFAULT (64 * MF_KIB)
#define MF_TASK_GUARD MF_PAGE_SIZE

struct mf_task {
	pid_t pid;
	int pidfd;
	bool reaped;
	int status;
	void *stack;
	size_t stack_bytes;
};

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int fill_start(struct mf_task_start *st, mf_task_fn fn, void *arg,
		      const struct mf_task_opts *opts)
{
	size_t i;

	st->fn = fn;
	st->arg = arg;
	strncpy(st->name, opts->name ? opts->name : "mf-task", sizeof(st->name) - 1);
	if (opts->n_keep_fds > MF_TASK_KEEP_MAX)
		return mf_fail(-EINVAL, "mf_task_start: at most %d descriptors can be kept",
			       MF_TASK_KEEP_MAX);
	for (i = 0; i < opts->n_keep_fds; i++)
		if (opts->keep_fds[i] >= 0)
			st->keep[st->n_keep++] = opts->keep_fds[i];
	qsort(st->keep, st->n_keep, sizeof(st->keep[0]), compare_ints);
	return 0;
}

/* The lowest page stays unmapped for writing: a stack that runs over dies at once. */
static int map_stack(struct mf_task *task, size_t bytes)
{
	long p;

	task->stack_bytes = mf_align_up(bytes, MF_PAGE_SIZE) + MF_TASK_GUARD;
	p = mf_sys_mmap(NULL, task->stack_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (mf_is_err(p))
		return mf_fail((int)p, "no memory for a task's stack");
	task->stack = (void *)p;
	mf_sys_mprotect(task->stack, MF_TASK_GUARD, PROT_NONE);
	/* A fork's child has no use for it, and page table copies cost time. */
	mf_sys_madvise(task->stack, task->stack_bytes, MADV_DONTFORK);
	return 0;
}

/*
 * Every signal is blocked while the task is born, so it starts with all of them blocked:
 * the application's handlers must never run on a stack without libc's thread state.
 */
static long spawn(struct mf_task *task, struct mf_task_start *st)
{
	u64 all = ~(u64)0, old = 0;
	long pid;

	mf_sys(__NR_rt_sigprocmask, SIG_BLOCK, &all, &old, sizeof(all), 0);
	pid = mf_clone(CLONE_VM, st, mf_task_entry, st);
	mf_sys(__NR_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old), 0);
	if (pid > 0)
		task->pid = (pid_t)pid;
	return pid;
}

static int start(struct mf_task *task, mf_task_fn fn, void *arg,
		 const struct mf_task_opts *opts)
{
	struct mf_task_start *st;
	long r;

	r = map_stack(task, opts->stack_bytes ? opts->stack_bytes : MF_TASK_STACK_DEFAULT);
	if (r)
		return (int)r;
	st = (void *)mf_align_down(
		(u64)task->stack + task->stack_bytes - sizeof(struct mf_task_start), 64);
	r = fill_start(st, fn, arg, opts);
	if (r)
		return (int)r;
	r = spawn(task, st);
	if (r < 0)
		return mf_fail((int)r, "cannot start a task: %s", mf_errno_text((int)r));
	r = mf_sys_pidfd_open(task->pid);
	if (r < 0)
		return mf_fail((int)r, "pidfd_open: %s", mf_errno_text((int)r));
	task->pidfd = (int)r;
	return 0;
}

MF_API int mf_task_start(int (*fn)(void *arg), void *arg, const struct mf_task_opts *opts,
			 struct mf_task **ret_task)
{
	struct mf_task_opts defaults = { .size = sizeof(defaults) };
	struct mf_task *task;
	int r;

	if (!opts)
		opts = &defaults;
	if (opts->size != sizeof(*opts))
		return mf_fail(-E2BIG, "mf_task_start: options of another version");
	task = calloc(1, sizeof(*task));
	if (!task)
		return mf_fail(-ENOMEM, "no memory for a task");
	task->pidfd = -1;
	r = start(task, fn, arg, opts);
	if (r) {
		mf_task_free(task);
		return r;
	}
	*ret_task = task;
	return 0;
}

MF_API pid_t mf_task_pid(const struct mf_task *task)
{
	return task->pid;
}

MF_API int mf_task_pidfd(const struct mf_task *task)
{
	return task->pidfd;
}

static int reap(struct mf_task *task, int options)
{
	long r;

	if (task->reaped || !task->pid)
		return 0;
	do
		r = mf_sys_wait4(task->pid, &task->status, __WALL | options);
	while (r == -EINTR);
	if (r == 0)
		return -EAGAIN;
	/* somebody else's wait may have taken it: it is gone all the same */
	task->reaped = true;
	return 0;
}

bool mf_task_ended(struct mf_task *task)
{
	return reap(task, WNOHANG) == 0;
}

MF_API int mf_task_wait(struct mf_task *task, int timeout_ms, int *ret_status)
{
	u64 end = mf_now_ns() + (u64)timeout_ms * MF_NSEC_PER_MSEC;
	struct pollfd p = { .fd = task->pidfd, .events = POLLIN };
	s64 left;
	long r;

	for (;;) {
		left = timeout_ms < 0 ? -1 : (s64)(end - mf_now_ns());
		if (timeout_ms >= 0 && left < 0)
			left = 0;
		r = mf_sys_ppoll(&p, 1, left);
		if (r > 0)
			break;
		if (r == -EINTR && mf_task_ended(task))
			break;
		if (r == 0 || (r == -EINTR && left == 0))
			return mf_fail(-ETIMEDOUT, "the task %d still runs", task->pid);
		if (r != -EINTR)
			return mf_fail((int)r, "poll: %s", mf_errno_text((int)r));
	}
	reap(task, 0);
	if (ret_status)
		*ret_status = task->status;
	return 0;
}

MF_API int mf_task_kill(struct mf_task *task)
{
	long r = mf_sys_pidfd_send_signal(task->pidfd, SIGKILL);

	return r == -ESRCH ? 0 : (int)r;
}

void mf_task_disown(struct mf_task *task)
{
	if (!task)
		return;
	if (task->pidfd >= 0)
		mf_sys_close(task->pidfd);
	free(task);
}

MF_API void mf_task_free(struct mf_task *task)
{
	if (!task)
		return;
	if (task->pid && !task->reaped) {
		mf_sys(__NR_kill, task->pid, SIGKILL, 0, 0, 0);
		reap(task, 0);
	}
	if (task->pidfd >= 0)
		mf_sys_close(task->pidfd);
	if (task->stack)
		mf_sys_munmap(task->stack, task->stack_bytes);
	free(task);
}
