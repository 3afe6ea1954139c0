/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

struct outcome {
	int err;
	int written;
	char why[CHILD_WHY];
};

static struct outcome *outcome; /* shared with the child that runs */
static volatile pid_t running;	/* its process group */
static char scratch_dir[80], scratch_file[104];

/* The children are in a group of their own, so a Ctrl-C must be passed on. */
static void end_group_and_exit(int sig)
{
	if (running > 0)
		kill(-running, SIGKILL);
	child_scratch_end();
	_exit(128 + sig);
}

const char *child_scratch(const char *name)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(scratch_dir, sizeof(scratch_dir), "%s/memferry-bench-XXXXXX",
		 tmp && strlen(tmp) < 48 ? tmp : "/tmp");
	if (!mkdtemp(scratch_dir)) {
		scratch_dir[0] = '\0';
		return NULL;
	}
	snprintf(scratch_file, sizeof(scratch_file), "%s/%.16s", scratch_dir, name);
	return scratch_file;
}

/* also called by a signal handler */
void child_scratch_end(void)
{
	if (!scratch_dir[0])
		return;
	unlink(scratch_file);
	rmdir(scratch_dir);
	scratch_dir[0] = '\0';
}

void *shared_alloc(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void shared_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

int child_fail(int err, const char *fmt, ...)
{
	va_list ap;

	/* the first reason is the cause, later ones are its consequences */
	if (__atomic_exchange_n(&outcome->written, 1, __ATOMIC_ACQ_REL))
		return err;
	va_start(ap, fmt);
	vsnprintf(outcome->why, sizeof(outcome->why), fmt, ap);
	va_end(ap);
	return err;
}

pid_t child_fork(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

/* 1 once @pid can be reaped, 0 after @timeout_ms */
static int wait_readable(pid_t pid, unsigned int timeout_ms)
{
	uint64_t end = now_ns() + (uint64_t)timeout_ms * 1000000;
	struct pollfd p = { .events = POLLIN };
	int64_t left;
	int r;

	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0)
		return -errno;
	do {
		left = (int64_t)(end - now_ns()) / 1000000;
		r = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	close(p.fd);
	return r;
}

int child_wait(pid_t pid, unsigned int timeout_ms)
{
	int r = wait_readable(pid, timeout_ms), status;

	if (r < 0)
		return r;
	if (r == 0)
		return -ETIMEDOUT;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

/* Whatever is left of the group, our children by now because we are its subreaper. */
static void sweep(pid_t group)
{
	kill(-group, SIGKILL);
	while (waitpid(-group, NULL, __WALL) > 0)
		;
}

static int prepare(void)
{
	struct sigaction sa = { .sa_handler = end_group_and_exit };

	if (outcome)
		return 0;
	outcome = shared_alloc(sizeof(*outcome));
	if (!outcome)
		return -ENOMEM;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	return 0;
}

static void run_and_exit(int (*fn)(void *arg), void *arg)
{
	setpgid(0, 0);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	/* whatever lies in the buffer is the parent's to print */
	outcome->err = fn(arg);
	_exit(0);
}

int child_run(int (*fn)(void *arg), void *arg, unsigned int timeout_ms, char *why)
{
	int r = prepare(), status = 0;
	pid_t pid;

	if (r)
		return r;
	*outcome = (struct outcome){ .err = -ECHILD };
	fflush(NULL);
	pid = child_fork();
	if (pid < 0)
		return (int)pid;
	if (pid == 0)
		run_and_exit(fn, arg);
	setpgid(pid, pid);
	running = pid;
	r = wait_readable(pid, timeout_ms);
	if (r <= 0)
		kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	sweep(pid);
	running = 0;
	if (r <= 0) {
		snprintf(why, CHILD_WHY, "not finished within %u ms", timeout_ms);
		return -ETIMEDOUT;
	}
	if (WIFSIGNALED(status)) {
		snprintf(why, CHILD_WHY, "ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
		return -ECHILD;
	}
	if (outcome->err)
		snprintf(why, CHILD_WHY, "%s",
			 outcome->why[0] ? outcome->why : strerror(-outcome->err));
	return outcome->err;
}
