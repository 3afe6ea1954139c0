/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What mf_task_*() promises about a task: what it has, what it survives, what is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ferry/task.h"

/* Task functions: raw system calls only, and nothing that a sanitizer would add. */
#define TASK_FN __attribute__((no_sanitize("address", "undefined"), noinline)) static

#define FDS 1024

struct shared {
	u32 go; /* futex: the task may end */
	u32 up; /* the task runs */
	u32 pid;
	u64 mask;
	u8 open[FDS];
	u8 pattern[4096];
	int helper; /* pidfd */
	int pipe;
};

static struct shared shared;

static struct mf_task *start(int (*fn)(void *), const char *name, const int *keep, size_t n)
{
	struct mf_task_opts o = {
		.size = sizeof(o),
		.name = name,
		.keep_fds = keep,
		.n_keep_fds = n,
	};
	struct mf_task *t = NULL;

	shared.go = shared.up = 0;
	assert_int_equal(mf_task_start(fn, &shared, &o, &t), 0);
	assert_non_null(t);
	return t;
}

TASK_FN int fn_answer(void *arg)
{
	return 42;
}

/* Says where it is and waits; 9 if nobody ever lets it go. */
TASK_FN int fn_stay(void *arg)
{
	struct shared *s = arg;
	int i;

	s->pid = (u32)mf_sys_getpid();
	mf_store(&s->up, 1);
	for (i = 0; i < 300 && !mf_load(&s->go); i++)
		mf_sys_futex_wait(&s->go, 0, 100 * (s64)MF_NSEC_PER_MSEC);
	return mf_load(&s->go) ? 0 : 9;
}

TASK_FN int fn_list_fds(void *arg)
{
	struct shared *s = arg;
	int i;

	for (i = 0; i < FDS; i++)
		s->open[i] = mf_sys(__NR_fcntl, i, F_GETFD, 0, 0, 0) >= 0;
	return 0;
}

TASK_FN int fn_mask(void *arg)
{
	struct shared *s = arg;

	mf_sys(__NR_rt_sigprocmask, SIG_BLOCK, NULL, &s->mask, 8, 0);
	return 0;
}

/* Far beyond any stack it can have been given. */
TASK_FN int fn_overflow(void *arg)
{
	volatile u8 frame[4096];

	frame[0] = 1;
	if (arg)
		return fn_overflow(arg) + frame[0];
	return 0;
}

/* Outlives the process that made it, and then still reads that process's memory. */
TASK_FN int fn_survive(void *arg)
{
	struct pollfd p = { .fd = shared.helper, .events = POLLIN };
	u32 i, sum = 0;

	if (mf_sys_ppoll(&p, 1, 20 * (s64)MF_NSEC_PER_SEC) != 1)
		return 1;
	for (i = 0; i < sizeof(shared.pattern); i++)
		sum += shared.pattern[i];
	if (mf_sys_write(shared.pipe, &sum, sizeof(sum)) != sizeof(sum))
		return 2;
	return 7;
}

static void wait_up(void)
{
	int i;

	for (i = 0; i < 5000 && !mf_load(&shared.up); i++)
		usleep(1000);
	assert_int_equal(mf_load(&shared.up), 1);
}

static void let_go(void)
{
	mf_store(&shared.go, 1);
	mf_sys_futex_wake(&shared.go, 1);
}

static void expect_exit(struct mf_task *t, int code)
{
	int status = -1;

	assert_int_equal(mf_task_wait(t, 10000, &status), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static void no_children(void)
{
	assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static size_t count_lines(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t n = 0;
	int c;

	assert_non_null(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_exit_status(void **state)
{
	struct mf_task *t = start(fn_answer, NULL, NULL, 0);
	int status = 0;

	expect_exit(t, 42);
	assert_int_equal(mf_task_wait(t, 0, &status), 0); /* again: the same */
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_int_equal(mf_task_wait(t, 0, NULL), 0);
	assert_int_equal(mf_task_kill(t), 0); /* there is nothing left to kill */
	mf_task_free(t);
	mf_task_free(NULL);
	no_children();
}

static void test_pid_and_memory(void **state)
{
	struct mf_task *t = start(fn_stay, NULL, NULL, 0);

	wait_up();
	assert_int_equal(mf_task_pid(t), shared.pid); /* it wrote into our memory */
	assert_true(mf_task_pid(t) != getpid());
	assert_true(mf_task_pidfd(t) >= 0);
	let_go();
	expect_exit(t, 0);
	mf_task_free(t);
}

static void test_wait_times_out(void **state)
{
	struct mf_task *t = start(fn_stay, NULL, NULL, 0);
	u64 t0 = mf_now_ns(), took;

	assert_int_equal(mf_task_wait(t, 50, NULL), -ETIMEDOUT);
	took = mf_now_ns() - t0;
	assert_true(took >= 49 * MF_NSEC_PER_MSEC && took < 5 * MF_NSEC_PER_SEC);
	assert_true(strlen(mf_error()) > 0);
	assert_int_equal(mf_task_wait(t, 0, NULL), -ETIMEDOUT);
	let_go();
	expect_exit(t, 0);
	mf_task_free(t);
}

static void test_kill(void **state)
{
	struct mf_task *t = start(fn_stay, NULL, NULL, 0);
	int status = 0;

	assert_int_equal(mf_task_kill(t), 0);
	assert_int_equal(mf_task_wait(t, 5000, &status), 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(mf_task_kill(t), 0);
	mf_task_free(t);
	no_children();
}

static void test_free_ends_it(void **state)
{
	struct mf_task *t = start(fn_stay, NULL, NULL, 0);
	pid_t pid;

	wait_up();
	pid = mf_task_pid(t);
	mf_task_free(t);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	no_children();
}

static void check_open(const int *want, size_t n)
{
	size_t i;
	int fd, kept;

	for (fd = 0; fd < FDS; fd++) {
		for (kept = 0, i = 0; i < n; i++)
			kept |= want[i] == fd;
		if (shared.open[fd] != kept)
			fail_msg("descriptor %d is %s in the task", fd,
				 kept ? "missing" : "open");
	}
}

static void test_descriptors(void **state)
{
	int extra[5], keep[4], i;
	struct mf_task *t;

	for (i = 0; i < 5; i++)
		extra[i] = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 100 * i + 10);
	assert_true(extra[4] >= 410);
	/* not in order, one twice, one that is not there */
	keep[0] = extra[3];
	keep[1] = -1;
	keep[2] = extra[0];
	keep[3] = extra[3];
	t = start(fn_list_fds, NULL, keep, 4);
	expect_exit(t, 0);
	mf_task_free(t);
	check_open(keep, 4);

	t = start(fn_list_fds, NULL, NULL, 0);
	expect_exit(t, 0);
	mf_task_free(t);
	check_open(NULL, 0);
	for (i = 0; i < 5; i++) {
		assert_true(fcntl(extra[i], F_GETFD) >= 0); /* ours stay open */
		close(extra[i]);
	}
}

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	handled++;
}

static void test_signals(void **state)
{
	const int sigs[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGPIPE, SIGRTMIN };
	struct sigaction sa = { .sa_handler = on_signal }, old[ARRAY_SIZE(sigs)];
	u64 unblockable = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
	sigset_t before, after;
	struct mf_task *t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, &old[i]);
	sigprocmask(SIG_SETMASK, NULL, &before);
	t = start(fn_mask, NULL, NULL, 0);
	expect_exit(t, 0);
	mf_task_free(t);
	assert_int_equal(shared.mask | unblockable, ~0ull);
	sigprocmask(SIG_SETMASK, NULL, &after);
	for (i = 1; i < 64; i++)
		assert_int_equal(sigismember(&before, (int)i), sigismember(&after, (int)i));

	t = start(fn_stay, NULL, NULL, 0);
	wait_up();
	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		kill(mf_task_pid(t), sigs[i]);
	assert_int_equal(mf_task_wait(t, 50, NULL), -ETIMEDOUT);
	assert_int_equal(handled, 0);
	let_go();
	expect_exit(t, 0);
	mf_task_free(t);
	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &old[i], NULL);
}

static void test_stack_overflow(void **state)
{
	struct mf_task *t = start(fn_overflow, NULL, NULL, 0);
	int status = 0;

	assert_int_equal(mf_task_wait(t, 10000, &status), 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	mf_task_free(t);
}

static void check_comm(const char *name, const char *expect)
{
	struct mf_task *t = start(fn_stay, name, NULL, 0);
	char path[64], comm[64] = "";
	FILE *f;

	wait_up();
	snprintf(path, sizeof(path), "/proc/%d/comm", mf_task_pid(t));
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(comm, sizeof(comm), f));
	fclose(f);
	comm[strcspn(comm, "\n")] = 0;
	assert_string_equal(comm, expect);
	mf_task_free(t);
}

static void test_comm(void **state)
{
	check_comm(NULL, "mf-task");
	check_comm("ferry-one", "ferry-one");
	check_comm("a-name-that-is-too-long", "a-name-that-is-");
}

/* The application's own wait loop and SIGCHLD handler must not see tasks. */
static void test_does_not_disturb_waitpid(void **state)
{
	struct sigaction sa = { .sa_handler = on_signal }, old;
	struct mf_task *t;
	pid_t child;
	int status;

	sigaction(SIGCHLD, &sa, &old);
	handled = 0;
	t = start(fn_answer, NULL, NULL, 0);
	usleep(50000); /* it has ended and nobody has waited */
	assert_int_equal(waitpid(-1, &status, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(handled, 0);
	child = fork();
	if (!child)
		_exit(5);
	do
		errno = 0;
	while (waitpid(-1, &status, 0) < 0 && errno == EINTR);
	assert_int_equal(errno, 0);
	assert_int_equal(WEXITSTATUS(status), 5);
	expect_exit(t, 42);
	mf_task_free(t);
	sigaction(SIGCHLD, &old, NULL);
}

/* Runs in a process of its own: starts a task that will outlive it. */
static void helper(int pipe_out)
{
	int keep[2];
	struct mf_task_opts o = { .size = sizeof(o), .keep_fds = keep, .n_keep_fds = 2 };
	struct mf_task *t;
	u32 i;

	for (i = 0; i < sizeof(shared.pattern); i++)
		shared.pattern[i] = (u8)(i * 7 + 3);
	shared.helper = keep[0] = (int)mf_sys_pidfd_open(getpid());
	shared.pipe = keep[1] = pipe_out;
	if (mf_task_start(fn_survive, &shared, &o, &t))
		_exit(1);
	mf_task_disown(t);
	kill(getpid(), SIGKILL);
}

static void test_survives_its_process(void **state)
{
	int fds[2], status;
	u32 i, sum = 0, got = 0;
	pid_t pid;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid)
		helper(fds[1]);
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	for (i = 0; i < sizeof(shared.pattern); i++)
		sum += (u8)(i * 7 + 3);
	assert_int_equal(read(fds[0], &got, sizeof(got)), sizeof(got));
	assert_int_equal(got, sum);
	/* nobody else holds the pipe: the task had it alone */
	assert_int_equal(read(fds[0], &got, sizeof(got)), 0);
	close(fds[0]);
	assert_true(waitpid(-1, &status, __WALL) > 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	no_children();
}

static void test_disown(void **state)
{
	struct mf_task *t = start(fn_stay, NULL, NULL, 0);
	pid_t pid = mf_task_pid(t);
	int status;

	wait_up();
	mf_task_disown(t);
	assert_int_equal(kill(pid, 0), 0);
	let_go();
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_refusals(void **state)
{
	int keep[MF_TASK_KEEP_MAX + 1] = { 0 };
	struct mf_task_opts o = { .size = sizeof(o) + 8 };
	struct mf_task *t = NULL;

	assert_int_equal(mf_task_start(fn_answer, NULL, &o, &t), -E2BIG);
	o.size = sizeof(o);
	o.keep_fds = keep;
	o.n_keep_fds = ARRAY_SIZE(keep);
	assert_int_equal(mf_task_start(fn_answer, NULL, &o, &t), -EINVAL);
	assert_non_null(strstr(mf_error(), "64"));
	assert_null(t);
	no_children();
}

static void test_nothing_is_left(void **state)
{
	size_t fds, maps, i;
	struct mf_task *t;

	for (i = 0; i < 100; i++) {
		if (i == 5) {
			fds = count_fds();
			maps = count_lines("/proc/self/maps");
		}
		t = start(i % 2 ? fn_answer : fn_stay, NULL, NULL, 0);
		if (i % 4 == 1)
			expect_exit(t, 42);
		mf_task_free(t);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_lines("/proc/self/maps"), maps);
	no_children();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_status),
		cmocka_unit_test(test_pid_and_memory),
		cmocka_unit_test(test_wait_times_out),
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_free_ends_it),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_stack_overflow),
		cmocka_unit_test(test_comm),
		cmocka_unit_test(test_does_not_disturb_waitpid),
		cmocka_unit_test(test_survives_its_process),
		cmocka_unit_test(test_disown),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_nothing_is_left),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
