/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The probe says what the same system calls say when made directly, and leaves no trace. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "memferry.h"
#include "memferry_uffd.h"
#include "probe_filter.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static struct mf_probe *run(void)
{
	struct mf_probe *probe = NULL;

	assert_int_equal(mf_probe_run(&probe), 0);
	return probe;
}

static struct mf_probe_item item(const struct mf_probe *probe, const char *name)
{
	struct mf_probe_item it = { .size = sizeof(it) };

	if (mf_probe_item_named(probe, name, &it))
		fail_msg("no item %s", name);
	return it;
}

static enum mf_probe_state state(const struct mf_probe *probe, const char *name)
{
	return item(probe, name).state;
}

static void expect(const struct mf_probe *probe, const char *name, enum mf_probe_state want)
{
	struct mf_probe_item it = item(probe, name);

	if (it.state != want)
		fail_msg("%s is %s, not %s: %s", name, mf_probe_state_name(it.state),
			 mf_probe_state_name(want), it.why);
}

/* ---- the items themselves */

static void every_item_is_complete(void **ctx)
{
	static const char *const names[] = {
		"access.syscall",
		"access.dev",
		"access.user_mode_only",
		"feature.move",
		"feature.poison",
		"feature.event_fork",
		"feature.move_cross_mm",
		"feature.move_take",
		"ioctl.register",
		"ioctl.unregister",
		"ioctl.wake",
		"ioctl.copy",
		"ioctl.zeropage",
		"ioctl.writeprotect",
		"ioctl.continue",
		"ioctl.poison",
		"ioctl.move",
		"sem.move_same_space",
		"sem.move_cross_give",
		"sem.move_cross_take",
		"sem.move_thp",
		"sem.move_task",
		"sem.move_busy_after_fork",
		"sem.poison_sigbus",
		"sem.copy_wakes",
		"sem.copy_exist",
		"sem.close_reads_zero",
		"sem.event_remove",
		"sem.event_remap",
		"sem.event_unmap",
		"sem.event_fork",
		"sem.thread_id",
		"sem.wp_anon",
		"sem.sigbus_mode",
		"sem.minor_shmem",
		"sem.hugetlb_missing",
		"sem.pidfd",
		"sem.memfd_seal",
		"sem.process_vm_readv",
		"sem.dontneed_locked",
		"sem.populate_write",
		"sem.pagemap_scan",
	};
	struct mf_probe *probe = run();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		item(probe, names[i]);
	for (size_t i = 0; i < mf_probe_count(probe); i++) {
		struct mf_probe_item it = { .size = sizeof(it) }, same = it;

		assert_int_equal(mf_probe_item_at(probe, i, &it), 0);
		assert_true(it.about[0] && it.why[0]);
		assert_non_null(it.remedy);
		assert_non_null(strchr(it.name, '.'));
		assert_int_equal(mf_probe_item_named(probe, it.name, &same), 0);
		assert_ptr_equal(same.name, it.name); /* no name twice */
		if (it.state == MF_DENIED && !it.remedy[0])
			fail_msg("%s is denied, without a remedy", it.name);
	}
	mf_probe_free(probe);
}

static void lookups_refuse_what_is_not_there(void **ctx)
{
	struct mf_probe_item it = { .size = sizeof(it) }, none = {},
			     big = { .size = sizeof(big) + 8 };
	struct mf_probe *probe = run();

	assert_int_equal(mf_probe_item_at(probe, mf_probe_count(probe), &it), -ERANGE);
	assert_int_equal(mf_probe_item_named(probe, "sem.nonsense", &it), -ENOENT);
	assert_non_null(strstr(mf_error(), "sem.nonsense"));
	assert_int_equal(mf_probe_item_at(probe, 0, &none), -E2BIG);
	assert_int_equal(mf_probe_item_at(probe, 0, &big), -E2BIG);
	assert_string_equal(mf_probe_state_name(MF_DENIED), "denied");
	assert_string_equal(mf_probe_state_name(77), "unknown");
	mf_probe_free(probe);
	mf_probe_free(NULL);
}

/* ---- against the same things done here */

static enum mf_probe_state state_of_fd(long fd)
{
	if (fd >= 0) {
		close((int)fd);
		return MF_SUPPORTED;
	}
	return errno == EPERM || errno == EACCES ? MF_DENIED : MF_MISSING;
}

static void access_is_what_the_calls_say(void **ctx)
{
	struct mf_probe *probe = run();

	expect(probe, "access.syscall", state_of_fd(syscall(SYS_userfaultfd, O_CLOEXEC)));
	expect(probe, "access.user_mode_only",
	       state_of_fd(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY)));
	if (access("/dev/userfaultfd", F_OK) == 0)
		expect(probe, "access.dev", state_of_fd(open("/dev/userfaultfd", O_RDWR)));
	mf_probe_free(probe);
}

static int any_uffd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd,
				  O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		skip();
	return fd;
}

static void features_are_what_the_kernel_offers(void **ctx)
{
	static const char *const by_bit[] = {
		"pagefault_flag_wp",
		"event_fork",
		"event_remap",
		"event_remove",
		"missing_hugetlbfs",
		"missing_shmem",
		"event_unmap",
		"sigbus",
		"thread_id",
		"minor_hugetlbfs",
		"minor_shmem",
		"exact_address",
		"wp_hugetlbfs_shmem",
		"wp_unpopulated",
		"poison",
		"wp_async",
		"move",
	};
	struct uffdio_api api = { .api = UFFD_API };
	struct mf_probe *probe = run();
	int fd = any_uffd();
	char name[64];

	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	close(fd);
	for (size_t bit = 0; bit < sizeof(by_bit) / sizeof(by_bit[0]); bit++) {
		snprintf(name, sizeof(name), "feature.%s", by_bit[bit]);
		if (!(api.features >> bit & 1))
			expect(probe, name, MF_MISSING);
		else if (state(probe, name) != MF_DENIED)
			expect(probe, name, MF_SUPPORTED);
		else
			assert_string_equal(name, "feature.event_fork");
	}
	if (!(api.features & MF_UFFD_FEATURE_MOVE_CROSS_MM))
		expect(probe, "feature.move_cross_mm", MF_MISSING);
	mf_probe_free(probe);
}

/* MOVE of one page: the errno, or 0 */
static int move_here(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = MF_UFFD_FEATURE_MOVE };
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = { .range = { (uintptr_t)p, 4096 },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct mf_uffdio_move move = { .dst = (uintptr_t)p,
				       .src = (uintptr_t)p + 4096,
				       .len = 4096 };
	int fd = any_uffd(), r = 0;

	assert_ptr_not_equal(p, MAP_FAILED);
	p[4096] = 9;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    ioctl(fd, MF_UFFDIO_MOVE, &move))
		r = errno;
	else
		assert_int_equal(p[0], 9);
	close(fd);
	munmap(p, 8192);
	return r;
}

static void calls_are_what_they_do_here(void **ctx)
{
	struct mf_probe *probe = run();
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	enum mf_probe_state move = move_here() ? MF_MISSING : MF_SUPPORTED;

	expect(probe, "ioctl.move", move);
	expect(probe, "sem.move_same_space", move);
	expect(probe, "sem.pidfd", state_of_fd(syscall(SYS_pidfd_open, getpid(), 0)));
	expect(probe, "sem.populate_write", madvise(p, 4096, 23) ? MF_MISSING : MF_SUPPORTED);
	if (mlock(p, 4096) == 0)
		expect(probe, "sem.dontneed_locked",
		       madvise(p, 4096, 24) ? MF_MISSING : MF_SUPPORTED);
	munmap(p, 4096);
	/* nothing of the series in this kernel: the deed cannot have been done either */
	if (state(probe, "feature.move_cross_mm") == MF_MISSING)
		expect(probe, "sem.move_cross_give", MF_MISSING);
	mf_probe_free(probe);
}

/* ---- no trace */

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static volatile sig_atomic_t signals_seen;

static void on_signal(int sig)
{
	signals_seen++;
}

static int forks_seen;

static void on_fork(void)
{
	forks_seen++;
}

static void nothing_is_left_behind(void **ctx)
{
	int before = open_fds();
	struct mf_probe *probe;

	signal(SIGCHLD, on_signal);
	signal(SIGBUS, on_signal);
	pthread_atfork(on_fork, NULL, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (int i = 0; i < 3; i++) {
		probe = run();
		mf_probe_free(probe);
	}
	errno = 0;
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(open_fds(), before);
	assert_int_equal(signals_seen, 0);
	assert_int_equal(forks_seen, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void twice_says_the_same_and_soon(void **ctx)
{
	uint64_t start = now_ms();
	struct mf_probe *a = run(), *b = run();

	assert_in_range(now_ms() - start, 0, 2000);
	assert_int_equal(mf_probe_count(a), mf_probe_count(b));
	for (size_t i = 0; i < mf_probe_count(a); i++) {
		struct mf_probe_item x = { .size = sizeof(x) }, y = x;

		assert_int_equal(mf_probe_item_at(a, i, &x), 0);
		assert_int_equal(mf_probe_item_at(b, i, &y), 0);
		/* whether a huge page is to be had can change between the two */
		if (strcmp(x.name, "sem.move_thp") && x.state != y.state)
			fail_msg("%s: first %s (%s), then %s (%s)", x.name,
				 mf_probe_state_name(x.state), x.why,
				 mf_probe_state_name(y.state), y.why);
	}
	mf_probe_free(a);
	mf_probe_free(b);
}

static void *run_in_thread(void *ret_probe)
{
	*(struct mf_probe **)ret_probe = run();
	return NULL;
}

/* Large mappings are kept from the probe's children, but not one they stand on. */
static void large_memory_and_a_large_stack(void **ctx)
{
	size_t len = (size_t)256 << 20;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct mf_probe *plain = run(), *large = NULL;
	pthread_attr_t attr;
	pthread_t thread;

	assert_ptr_not_equal(p, MAP_FAILED);
	for (size_t at = 0; at < len; at += 4096)
		p[at] = 1;
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstacksize(&attr, len), 0);
	assert_int_equal(pthread_create(&thread, &attr, run_in_thread, &large), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	for (size_t i = 0; i < mf_probe_count(plain); i++) {
		struct mf_probe_item x = { .size = sizeof(x) };

		assert_int_equal(mf_probe_item_at(plain, i, &x), 0);
		if (strcmp(x.name, "sem.move_thp"))
			expect(large, x.name, x.state);
	}
	assert_int_equal(p[len - 4096], 1);
	munmap(p, len);
	mf_probe_free(plain);
	mf_probe_free(large);
}

/* ---- where something is refused: in a child, since it cannot be undone */

static void in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	if (WEXITSTATUS(status))
		fail_msg("check %d in the child failed", WEXITSTATUS(status));
}

#define CHECK(n, what)                                                                         \
	do {                                                                                   \
		if (!(what))                                                                   \
			return (n);                                                            \
	} while (0)

static bool says(const struct mf_probe *probe, const char *name, enum mf_probe_state want,
		 const char *word)
{
	struct mf_probe_item it = { .size = sizeof(it) };

	if (mf_probe_item_named(probe, name, &it) == 0 && it.state == want &&
	    (strstr(it.why, word) || strstr(it.remedy, word)))
		return true;
	print_message("# %s: %s: %s; %s\n", name, mf_probe_state_name(it.state), it.why,
		      it.remedy);
	return false;
}

static int refused_with(unsigned int action, const char *word)
{
	struct mf_probe *probe;

	if (filter_syscall(SYS_userfaultfd, action, 0))
		return 77;
	CHECK(1, mf_probe_run(&probe) == 0);
	CHECK(2, says(probe, "access.syscall", MF_DENIED, word));
	CHECK(3, says(probe, "access.user_mode_only", MF_DENIED, word));
	/* what the kernel has besides is still found */
	CHECK(4, says(probe, "sem.memfd_seal", MF_SUPPORTED, "seal"));
	if (access("/dev/userfaultfd", R_OK | W_OK))
		CHECK(5, says(probe, "ioctl.copy", MF_UNKNOWN, "access.syscall"));
	else
		CHECK(6, says(probe, "ioctl.copy", MF_SUPPORTED, "copied"));
	return 0;
}

static int refused_eperm(void)
{
	return refused_with(SECCOMP_RET_ERRNO | EPERM, "seccomp profile");
}

static int refused_enosys(void)
{
	if (access("/proc/sys/vm/unprivileged_userfaultfd", F_OK))
		return 77; /* cannot be told from a kernel without it, and is not */
	return refused_with(SECCOMP_RET_ERRNO | ENOSYS, "seccomp profile");
}

static int refused_kill(void)
{
	return refused_with(SECCOMP_RET_KILL_PROCESS, "seccomp");
}

static void seccomp_eperm_is_denied(void **ctx)
{
	in_child(refused_eperm);
}

static void seccomp_enosys_is_denied(void **ctx)
{
	in_child(refused_enosys);
}

static void seccomp_kill_is_denied(void **ctx)
{
	in_child(refused_kill);
}

/* A system call that nobody ever answers: the call waits for a listener that sleeps. */
static int hanging_call(void)
{
	uint64_t start = now_ms();
	struct mf_probe *probe;
	int listener;

	listener = filter_syscall(SYS_memfd_create, SECCOMP_RET_USER_NOTIF,
				  SECCOMP_FILTER_FLAG_NEW_LISTENER);
	if (listener < 0)
		return 77;
	CHECK(1, mf_probe_run(&probe) == 0);
	CHECK(2, says(probe, "sem.memfd_seal", MF_UNKNOWN, "did not come back"));
	/* the items behind it were tried */
	CHECK(3, says(probe, "sem.fixed_noreplace", MF_SUPPORTED, "refused"));
	CHECK(4, now_ms() - start < 6000);
	CHECK(5, waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
	close(listener);
	return 0;
}

static void a_hang_costs_one_item(void **ctx)
{
	in_child(hanging_call);
}

static int no_descriptors_left(void)
{
	struct rlimit soft, hard;
	struct mf_probe *probe;
	int fd;

	CHECK(1, getrlimit(RLIMIT_NOFILE, &soft) == 0);
	soft.rlim_cur = 64;
	CHECK(2, setrlimit(RLIMIT_NOFILE, &soft) == 0);
	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0);
	CHECK(3, errno == EMFILE);
	/* the caller's table is full; the probe's own process makes room for itself */
	CHECK(4, mf_probe_run(&probe) == 0);
	CHECK(5, says(probe, "sem.memfd_seal", MF_SUPPORTED, "seal"));
	hard = (struct rlimit){ 4, 4 };
	CHECK(6, setrlimit(RLIMIT_NOFILE, &hard) == 0);
	CHECK(7, mf_probe_run(&probe) == -EMFILE);
	CHECK(8, strstr(mf_error(), "ulimit") != NULL);
	return 0;
}

static void descriptors_used_up(void **ctx)
{
	in_child(no_descriptors_left);
}

static int no_privilege(void)
{
	struct mf_probe *probe;
	int fd;

	if (geteuid() || setregid(65534, 65534) || setreuid(65534, 65534))
		return 77;
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	CHECK(1, mf_probe_run(&probe) == 0);
	if (fd < 0)
		CHECK(2,
		      says(probe, "access.syscall", MF_DENIED, "unprivileged_userfaultfd=1"));
	if (open("/dev/userfaultfd", O_RDWR) < 0 && errno == EACCES)
		CHECK(3, says(probe, "access.dev", MF_DENIED, "setfacl -m u:65534:rw"));
	CHECK(4, says(probe, "feature.event_fork", MF_DENIED, "cap_sys_ptrace"));
	CHECK(5, says(probe, "sem.event_fork", MF_DENIED, "cap_sys_ptrace"));
	CHECK(6, says(probe, "ioctl.copy", MF_SUPPORTED, "copied"));
	return 0;
}

static void an_ordinary_user(void **ctx)
{
	in_child(no_privilege);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_item_is_complete),
		cmocka_unit_test(lookups_refuse_what_is_not_there),
		cmocka_unit_test(access_is_what_the_calls_say),
		cmocka_unit_test(features_are_what_the_kernel_offers),
		cmocka_unit_test(calls_are_what_they_do_here),
		cmocka_unit_test(nothing_is_left_behind),
		cmocka_unit_test(twice_says_the_same_and_soon),
		cmocka_unit_test(large_memory_and_a_large_stack),
		cmocka_unit_test(seccomp_eperm_is_denied),
		cmocka_unit_test(seccomp_enosys_is_denied),
		cmocka_unit_test(seccomp_kill_is_denied),
		cmocka_unit_test(a_hang_costs_one_item),
		cmocka_unit_test(descriptors_used_up),
		cmocka_unit_test(an_ordinary_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
