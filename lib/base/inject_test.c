/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Only in builds with -Dinject=true. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/fdpass.h"
#include "base/maps.h"
#include "base/sys.h"

static int no_plan(void **state)
{
	memset(&mf_inject_plan, 0, sizeof(mf_inject_plan));
	return 0;
}

static int plan(const char *text)
{
	setenv("MF_INJECT", text, 1);
	return mf_inject_from_env();
}

static void nth_call(void **state)
{
	assert_int_equal(plan("ioctl:3:ENOMEM"), 0);
	for (int i = 1; i <= 6; i++)
		assert_int_equal(mf_inject(MF_INJECT_IOCTL), i == 3 ? -ENOMEM : 0);
	assert_int_equal(mf_inject(MF_INJECT_READ), 0);
	assert_int_equal(mf_inject_plan.seen, 6);
	assert_int_equal(mf_inject_plan.fired, 1);
}

static void from_the_nth_on(void **state)
{
	assert_int_equal(plan("send:2+:11"), 0);
	for (int i = 1; i <= 5; i++)
		assert_int_equal(mf_inject(MF_INJECT_SEND), i >= 2 ? -EAGAIN : 0);
	assert_int_equal(mf_inject_plan.fired, 4);
}

static void every_kind_has_a_name(void **state)
{
	static const char *const names[] = { "ioctl", "mmap",	 "read", "send", "recv",
					     "clone", "madvise", "poll", "fd",	 "alloc" };
	char text[32];

	assert_int_equal(ARRAY_SIZE(names), MF_INJECT_KINDS - 1);
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		strcpy(text, names[i]);
		strcat(text, ":1:EPERM");
		assert_int_equal(plan(text), 0);
		assert_int_equal(mf_inject_plan.kind, i + 1);
		assert_int_equal(mf_inject_plan.error, EPERM);
	}
}

static void nonsense(void **state)
{
	static const char *const bad[] = {
		"",
		"ioctl",
		"ioctl:",
		"ioctl:1",
		"ioctl:1:",
		"ioctl:0:EIO",
		"ioctl:-1:EIO",
		"ioctl:1:ENOTHING",
		"ioctl:1:0",
		"ioctl:1:5000",
		"ioctl:1:12x",
		"ioctl:x:EIO",
		"none:1:EIO",
		"ioctl2:1:EIO",
		"ioctl:1++:EIO",
		"ioctl:99999999999:EIO",
		":1:EIO",
		"ioctl:1:EIO:more",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(plan(bad[i]), -EINVAL);
		assert_int_equal(mf_inject_plan.kind, MF_INJECT_NONE);
	}
	unsetenv("MF_INJECT");
	assert_int_equal(mf_inject_from_env(), 0);
}

/* The calls made through base obey: errors come back, retries retry, nothing leaks. */
static void fdpass_obeys(void **state)
{
	int pair[2], fds[2];
	size_t n_fds;
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	plan("send:1:EINTR");
	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, pair, 2, 100), 0);
	assert_int_equal(mf_inject_plan.fired, 1);
	plan("send:1:EAGAIN");
	assert_int_equal(mf_fdpass_send(pair[0], "y", 1, NULL, 0, 100), 0);
	plan("send:1:ENOBUFS");
	assert_int_equal(mf_fdpass_send(pair[0], "z", 1, NULL, 0, 100), -ENOBUFS);
	plan("recv:1:EIO");
	assert_int_equal(mf_fdpass_recv(pair[1], &c, 1, fds, 2, &n_fds, 100), -EIO);
	assert_int_equal(n_fds, 0);
	plan("recv:1:EINTR");
	assert_int_equal(mf_fdpass_recv(pair[1], &c, 1, fds, 2, &n_fds, 100), 1);
	assert_int_equal(c, 'x');
	assert_int_equal(n_fds, 2);
	mf_close_all(fds, 2);
	assert_int_equal(mf_fdpass_recv(pair[1], &c, 1, fds, 2, &n_fds, 100), 1);
	assert_int_equal(c, 'y');
	plan("poll:1:EINTR");
	assert_int_equal(mf_fdpass_recv(pair[1], &c, 1, fds, 2, &n_fds, 20), -ETIMEDOUT);
	plan("poll:1:ENOMEM");
	assert_int_equal(mf_fdpass_recv(pair[1], &c, 1, fds, 2, &n_fds, 20), -ENOMEM);
	mf_close_all(pair, 2);
}

static int nothing(const struct mf_vma *vma, void *arg)
{
	return 0;
}

static void maps_obey(void **state)
{
	plan("fd:1:EMFILE");
	assert_int_equal(mf_maps_walk(0, UINT64_MAX, nothing, NULL), -EMFILE);
	plan("read:1:EIO");
	assert_int_equal(mf_maps_walk(0, UINT64_MAX, nothing, NULL), -EIO);
	plan("read:2:EINTR");
	assert_int_equal(mf_maps_walk_flags(0, UINT64_MAX, nothing, NULL), 0);
	assert_int_equal(mf_inject_plan.fired, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, no_plan, no_plan)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nth_call), TEST(from_the_nth_on), TEST(every_kind_has_a_name),
		TEST(nonsense), TEST(fdpass_obeys),    TEST(maps_obey),
	};

	return cmocka_run_group_tests_name("inject", tests, NULL, NULL);
}
