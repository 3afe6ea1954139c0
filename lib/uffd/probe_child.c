/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Children of the lab: somebody who faults, and somebody in another address space. */
#include <errno.h>
#include <linux/prctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "uffd/probe.h"

#define STACK_BYTES (64 * MF_KIB)
#define TICK_NS ((s64)MF_NSEC_PER_MSEC)

#if defined(__SANITIZE_ADDRESS__)
#define NO_ASAN __attribute__((no_sanitize("address")))
#else
#define NO_ASAN
#endif

/* at the top of a task's stack */
struct task_start {
	mf_child_fn fn;
	void *arg;
	pid_t lab;
};

NO_ASAN static void die_with_lab(pid_t lab)
{
	mf_sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mf_sys(__NR_getppid, 0, 0, 0, 0, 0) != lab)
		mf_sys_exit_group(1);
}

NO_ASAN static int task_entry(void *start)
{
	const struct task_start *st = start;

	die_with_lab(st->lab);
	mf_sys_exit_group(st->fn(st->arg));
}

static void enlist(struct mf_lab *lab, struct mf_child *child, pid_t pid)
{
	int i;

	child->pid = pid;
	child->pidfd = (int)mf_sys_pidfd_open(pid); /* < 0: then by looking every tick */
	for (i = 0; i < MF_LAB_CHILDREN && lab->probe->children[i]; i++)
		;
	if (i < MF_LAB_CHILDREN) {
		child->record = &lab->probe->children[i];
		*child->record = (u32)pid;
	}
}

static int no_child(struct mf_lab *lab, long err)
{
	mf_lab_say(lab, MF_UNKNOWN, "cannot start a helper process: %s",
		   mf_errno_text((int)err));
	mf_lab_advise(lab, "raise ulimit -u or the pids limit of the cgroup");
	return (int)err;
}

int mf_child_fork(struct mf_lab *lab, struct mf_child *child, mf_child_fn fn, void *arg)
{
	pid_t self = (pid_t)mf_sys_getpid();
	long pid = mf_inject(MF_INJECT_CLONE);

	if (!pid)
		pid = mf_sys(__NR_clone, 0, 0, 0, 0, 0);
	if (pid == 0) {
		die_with_lab(self);
		mf_sys_exit_group(fn(arg));
	}
	if (pid < 0)
		return no_child(lab, pid);
	enlist(lab, child, (pid_t)pid);
	return 0;
}

int mf_child_task(struct mf_lab *lab, struct mf_child *child, unsigned long flags,
		  mf_child_fn fn, void *arg)
{
	struct task_start *st;
	long stack = mf_sys_mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	long pid = mf_inject(MF_INJECT_CLONE);

	if (mf_is_err(stack))
		return no_child(lab, stack);
	st = (void *)(stack + STACK_BYTES - mf_align_up(sizeof(*st), 64));
	*st = (struct task_start){ fn, arg, (pid_t)mf_sys_getpid() };
	/* libc's clone() does no more than change stacks, and reports through errno */
	if (!pid)
		pid = clone(task_entry, st, (int)(CLONE_VM | flags), st);
	if (pid < 0) {
		mf_sys_munmap((void *)stack, STACK_BYTES);
		return no_child(lab, pid == -1 ? -errno : pid);
	}
	child->stack = (void *)stack;
	enlist(lab, child, (pid_t)pid);
	return 0;
}

static void forget(struct mf_child *child)
{
	if (child->pidfd >= 0)
		mf_sys_close(child->pidfd);
	if (child->record)
		*child->record = 0;
	if (child->stack)
		mf_sys_munmap(child->stack, STACK_BYTES);
	*child = (struct mf_child)MF_CHILD_INIT;
}

int mf_child_wait(struct mf_child *child, int timeout_ms)
{
	u64 end = mf_now_ns() + (u64)timeout_ms * MF_NSEC_PER_MSEC;
	struct pollfd p = { .fd = child->pidfd, .events = POLLIN };
	int status = 0;

	while (!mf_sys_wait4(child->pid, &status, __WALL | WNOHANG)) {
		if (mf_now_ns() >= end)
			return -ETIMEDOUT;
		mf_sys_ppoll(&p, child->pidfd < 0 ? 0 : 1, TICK_NS);
	}
	forget(child);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

void mf_child_end(struct mf_child *child)
{
	if (!child->pid)
		return;
	mf_sys(__NR_kill, child->pid, SIGKILL, 0, 0, 0);
	mf_sys_wait4(child->pid, NULL, __WALL);
	forget(child);
}

NO_ASAN int mf_touch_run(void *arg)
{
	struct mf_touch *t = arg;

	if (t->write)
		*t->addr = t->write;
	else
		t->seen = *t->addr;
	return 0;
}
