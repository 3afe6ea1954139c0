/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ring between two processes: the test is the monitor, a forked child runs the
 * ferry's loop on memory of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ferry/ring.h"
#include "uffd/open.h"
#include "uffd/op.h"

#define PAGES 16
#define ARENA_LEN (PAGES * MF_PAGE_SIZE)
#define SECOND ((s64)MF_NSEC_PER_SEC)

static u8 *arena; /* here never touched; each ferry has its own copy */

struct rig {
	struct mf_ring_page *page;
	struct mf_ring ring;
	pid_t pid;
};

struct rig_opts {
	bool locked;
	bool watch_monitor;
	u64 uffd_features;
	bool uffd;
	u32 spin_ns;
};

/* The child: an arena in which the first half is populated, and the loop. */
static int be_ferry(struct mf_ring_page *page, const struct rig_opts *o, int monitor, int ready)
{
	struct mf_ferry_range range[2] = {
		{ (u64)arena, (u64)arena + ARENA_LEN / 2 },
		{ (u64)arena + ARENA_LEN / 2, (u64)arena + ARENA_LEN },
	};
	struct mf_ferry f = {
		.page = page,
		.uffd = -1,
		.monitor_pidfd = o->watch_monitor ? monitor : -1,
		.spin_ns = o->spin_ns,
		.n_ranges = 2,
		.range = range,
	};
	u64 i;

	prctl(PR_SET_PDEATHSIG, o->watch_monitor ? 0 : SIGKILL);
	for (i = 0; i < PAGES / 2; i++)
		memset(arena + i * MF_PAGE_SIZE, (int)i + 1, MF_PAGE_SIZE);
	if (o->uffd) {
		if (mf_uffd_create(o->uffd_features, 0, 0, &f.uffd, NULL) ||
		    mf_op_register(f.uffd, (u64)arena, ARENA_LEN, UFFDIO_REGISTER_MODE_MISSING,
				   NULL))
			return 101;
	}
	if (o->locked && mlock(arena, ARENA_LEN / 2))
		return 102;
	if (write(ready, "", 1) != 1)
		return 103;
	return mf_ferry_loop(&f);
}

static void rig_up(struct rig *rig, const struct rig_opts *o)
{
	int ready[2], monitor = (int)mf_sys_pidfd_open(getpid());
	char c;

	rig->page = mmap(NULL, MF_RING_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(rig->page != MAP_FAILED);
	assert_int_equal(pipe(ready), 0);
	rig->pid = fork();
	assert_true(rig->pid >= 0);
	if (!rig->pid)
		_exit(be_ferry(rig->page, o, monitor, ready[1]));
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(monitor);
	mf_ring_init(&rig->ring, rig->page, (int)mf_sys_pidfd_open(rig->pid), o->spin_ns);
	assert_true(rig->ring.pidfd >= 0);
}

/* Ends the child if it still runs; its status as waitpid() gives it. */
static int rig_down(struct rig *rig, bool by_force)
{
	int status = -1;

	if (by_force)
		kill(rig->pid, SIGKILL);
	assert_int_equal(waitpid(rig->pid, &status, 0), rig->pid);
	close(rig->ring.pidfd);
	munmap(rig->page, MF_RING_BYTES);
	return status;
}

static s64 order(struct rig *rig, u32 op, u64 addr, u64 len, u64 arg, u32 flags)
{
	struct mf_ring_order o = { op, flags, addr, len, arg };
	s64 result = 1;

	assert_int_equal(mf_ring_call(&rig->ring, &o, 5 * SECOND, &result), 0);
	return result;
}

static u8 byte_at(struct rig *rig, u64 page)
{
	struct iovec local, remote = { arena + page * MF_PAGE_SIZE + 17, 1 };
	u8 b = 0xee;

	local.iov_base = &b;
	local.iov_len = 1;
	assert_int_equal(mf_sys_process_vm_readv(rig->pid, &local, 1, &remote, 1), 1);
	return b;
}

static void check_exit(struct rig *rig)
{
	int status;

	assert_int_equal(order(rig, MF_RING_EXIT, 0, 0, 0, 0), 0);
	status = rig_down(rig, false);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), MF_FERRY_EXITED);
}

static void test_drop(void **state)
{
	struct rig_opts o = { .spin_ns = 1000, .locked = *state != NULL };
	struct rig rig;

	rig_up(&rig, &o);
	assert_int_equal(byte_at(&rig, 1), 2);
	assert_int_equal(order(&rig, MF_RING_DROP, (u64)arena + 4096, 4096, 0, 0), 0);
	assert_int_equal(byte_at(&rig, 0), 1);
	assert_int_equal(byte_at(&rig, 1), 0);
	assert_int_equal(byte_at(&rig, 2), 3);
	check_exit(&rig);
}

/* Consent: nothing outside of what the ferry's own process named. */
static void test_ranges(void **state)
{
	static const struct {
		u64 off, len;
	} bad[] = {
		{ -(u64)4096, 4096 },
		{ -(u64)4096, 8192 },
		{ 0, 0 },
		{ ARENA_LEN, 4096 },
		{ ARENA_LEN - 4096, 8192 },
		{ 4096, -(u64)4096 },
		{ 0, (u64)1 << 63 },
		{ ARENA_LEN / 2 - 4096, 8192 /* both, not one */ },
	};
	struct rig_opts o = { .spin_ns = 1000, .uffd = true };
	struct rig rig;
	size_t i;

	rig_up(&rig, &o);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		if (order(&rig, MF_RING_DROP, (u64)arena + bad[i].off, bad[i].len, 0, 0) !=
		    -EPERM)
			fail_msg("drop %zu was not refused", i);
		if (order(&rig, MF_RING_MOVE, (u64)arena + bad[i].off, bad[i].len, (u64)arena,
			  0) != -EPERM)
			fail_msg("move to %zu was not refused", i);
		if (order(&rig, MF_RING_MOVE, (u64)arena, bad[i].len, (u64)arena + bad[i].off,
			  0) != -EPERM)
			fail_msg("move from %zu was not refused", i);
	}
	assert_int_equal(order(&rig, 99, (u64)arena, 4096, 0, 0), -ENOSYS);
	assert_int_equal(order(&rig, MF_RING_MOVE, (u64)arena, 4096, (u64)arena, 4), -EINVAL);
	assert_int_equal(byte_at(&rig, 0), 1);
	assert_int_equal(byte_at(&rig, PAGES / 2 - 1), PAGES / 2);
	check_exit(&rig);
}

static void test_move(void **state)
{
	struct rig_opts o = { .spin_ns = 1000, .uffd = true };
	u64 half = ARENA_LEN / 2;
	struct rig rig;
	s64 r;

	rig_up(&rig, &o);
	r = order(&rig, MF_RING_MOVE, (u64)arena + half, 2 * 4096, (u64)arena, 0);
	if (r == -EINVAL || r == -ENOTTY) {
		check_exit(&rig);
		print_message("# no UFFDIO_MOVE on this kernel\n");
		skip();
	}
	assert_int_equal(r, 2 * 4096);
	assert_int_equal(byte_at(&rig, PAGES / 2), 1);
	assert_int_equal(byte_at(&rig, PAGES / 2 + 1), 2);
	/* the source is a hole now; part of it, all of it */
	r = order(&rig, MF_RING_MOVE, (u64)arena + half + 2 * 4096, 2 * 4096,
		  (u64)arena + half - 4096, 0);
	assert_int_equal(r, -EPERM); /* across two ranges */
	r = order(&rig, MF_RING_MOVE, (u64)arena + half + 2 * 4096, 4096, (u64)arena, 0);
	assert_int_equal(r, -ENOENT);
	r = order(&rig, MF_RING_MOVE, (u64)arena + half, 4096, (u64)arena + 2 * 4096, 0);
	assert_int_equal(r, -EEXIST);
	check_exit(&rig);
}

#define CALLERS 4
#define CALLS 2000

static void *caller(void *arg)
{
	struct mf_ring_order o = { .op = MF_RING_NOP };
	struct rig *rig = arg;
	s64 result;
	long i, ok = 0;

	for (i = 0; i < CALLS; i++) {
		/* every 16th is one that fails, so that answers cannot be mixed up */
		o.op = i % 16 ? MF_RING_NOP : MF_RING_DROP;
		result = 1;
		if (mf_ring_call(&rig->ring, &o, 5 * SECOND, &result) == 0 &&
		    result == (i % 16 ? 0 : -EPERM))
			ok++;
	}
	return (void *)ok;
}

static void test_many_callers(void **state)
{
	struct rig_opts o = { .spin_ns = 20000 };
	pthread_t thread[CALLERS];
	struct rig rig;
	void *ok;
	int i;

	rig_up(&rig, &o);
	for (i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, caller, &rig), 0);
	for (i = 0; i < CALLERS; i++) {
		pthread_join(thread[i], &ok);
		assert_int_equal((long)ok, CALLS);
	}
	check_exit(&rig);
}

/*
 * Nobody spins, so each call goes through both sleeps. A lost wake-up costs the ferry a
 * tick of 500 ms.
 */
static void test_no_wakeup_is_lost(void **state)
{
	struct rig_opts o = { .spin_ns = 0 };
	u64 start, took, worst = 0;
	struct rig rig;
	int i, late = 0;

	rig_up(&rig, &o);
	for (i = 0; i < 3000; i++) {
		start = mf_now_ns();
		order(&rig, MF_RING_NOP, 0, 0, 0, 0);
		took = mf_now_ns() - start;
		worst = mf_max(worst, took);
		late += took > 400 * MF_NSEC_PER_MSEC;
	}
	print_message("# slowest of 3000 calls: %llu us\n", (unsigned long long)worst / 1000);
	assert_int_equal(late, 0);
	check_exit(&rig);
}

static void test_full(void **state)
{
	struct rig_opts o = { .spin_ns = 0 };
	struct mf_ring_order nop = { .op = MF_RING_NOP };
	u32 ticket[MF_RING_SLOTS], extra;
	struct rig rig;
	s64 result;
	int i;

	rig_up(&rig, &o);
	for (i = 0; i < MF_RING_SLOTS; i++)
		assert_int_equal(mf_ring_post(&rig.ring, &nop, &ticket[i]), 0);
	assert_int_equal(mf_ring_post(&rig.ring, &nop, &extra), -EAGAIN);
	for (i = MF_RING_SLOTS - 1; i >= 0; i--)
		assert_int_equal(mf_ring_wait(&rig.ring, ticket[i], SECOND, &result), 0);
	assert_int_equal(mf_ring_post(&rig.ring, &nop, &extra), 0);
	assert_int_equal(mf_ring_wait(&rig.ring, extra, SECOND, &result), 0);
	check_exit(&rig);
}

static void wait_stopped(pid_t pid)
{
	siginfo_t si;

	assert_int_equal(waitid(P_PID, (id_t)pid, &si, WSTOPPED | WNOWAIT), 0);
}

/* What was given up before it ran never runs. */
static void test_cancelled(void **state)
{
	struct mf_ring_order drop = { MF_RING_DROP, 0, (u64)arena, 4096, 0 };
	struct rig_opts o = { .spin_ns = 0 };
	struct rig rig;
	s64 result;
	int r;

	rig_up(&rig, &o);
	kill(rig.pid, SIGSTOP);
	wait_stopped(rig.pid);
	r = mf_ring_call(&rig.ring, &drop, SECOND / 20, &result);
	kill(rig.pid, SIGCONT);
	assert_int_equal(r, -ETIMEDOUT);
	/* the one behind it does run, so the ferry has passed it */
	assert_int_equal(order(&rig, MF_RING_DROP, (u64)arena + 4096, 4096, 0, 0), 0);
	assert_int_equal(byte_at(&rig, 0), 1);
	assert_int_equal(byte_at(&rig, 1), 0);
	check_exit(&rig);
}

static void *kill_soon(void *arg)
{
	struct rig *rig = arg;

	usleep(100000);
	kill(rig->pid, SIGKILL);
	return NULL;
}

static void test_dead_ferry(void **state)
{
	struct mf_ring_order nop = { .op = MF_RING_NOP };
	struct rig_opts o = { .spin_ns = 0 };
	u64 start = mf_now_ns();
	pthread_t killer;
	struct rig rig;
	s64 result;

	rig_up(&rig, &o);
	kill(rig.pid, SIGSTOP);
	assert_int_equal(pthread_create(&killer, NULL, kill_soon, &rig), 0);
	assert_int_equal(mf_ring_call(&rig.ring, &nop, 30 * SECOND, &result), -ESRCH);
	assert_true(mf_now_ns() - start < 5 * MF_NSEC_PER_SEC);
	assert_int_equal(mf_ring_call(&rig.ring, &nop, 30 * SECOND, &result), -ESRCH);
	pthread_join(killer, NULL);
	assert_true(WIFSIGNALED(rig_down(&rig, false)));
}

/*
 * A discard that is reported as an event hangs until somebody reads it, which here nobody
 * does: the ferry is killed, so that the caller knows that it does no more.
 */
static void test_hung_ferry_is_killed(void **state)
{
	struct mf_ring_order drop = { MF_RING_DROP, 0, (u64)arena, 4096, 0 };
	struct rig_opts o = {
		.spin_ns = 0,
		.uffd = true,
		.uffd_features = MF_UFFD_FEATURE_EVENT_REMOVE,
	};
	struct rig rig;
	s64 result;
	int status;

	rig_up(&rig, &o);
	assert_int_equal(mf_ring_call(&rig.ring, &drop, SECOND / 10, &result), -ESRCH);
	status = rig_down(&rig, false);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A monitor of its own starts the ferry and is killed; the ferry notices. */
static void test_dead_monitor(void **state)
{
	struct rig_opts o = { .spin_ns = 0, .watch_monitor = true };
	struct pollfd p = { .events = POLLIN };
	int pids[2], status;
	pid_t monitor, ferry;
	struct rig rig;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	assert_int_equal(pipe(pids), 0);
	monitor = fork();
	if (!monitor) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		rig_up(&rig, &o);
		if (write(pids[1], &rig.pid, sizeof(rig.pid)) != sizeof(rig.pid))
			_exit(1);
		for (;;)
			pause();
	}
	close(pids[1]);
	assert_int_equal(read(pids[0], &ferry, sizeof(ferry)), sizeof(ferry));
	p.fd = (int)mf_sys_pidfd_open(ferry);
	assert_int_equal(poll(&p, 1, 700), 0); /* it stays while the monitor lives */
	kill(monitor, SIGKILL);
	assert_int_equal(waitpid(monitor, NULL, 0), monitor);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(waitpid(ferry, &status, 0), ferry);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), MF_FERRY_ORPHANED);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	close(p.fd);
	close(pids[0]);
}

int main(void)
{
	static int locked = 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drop),
		{ "test_drop_mlocked", test_drop, NULL, NULL, &locked },
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_many_callers),
		cmocka_unit_test(test_no_wakeup_is_lost),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_dead_ferry),
		cmocka_unit_test(test_hung_ferry_is_killed),
		cmocka_unit_test(test_dead_monitor),
	};

	arena = mmap(NULL, ARENA_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (arena == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
