/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fdpass.h"
#include "base/sys.h"

static int pair[2];
static int fds[MF_FDPASS_MAX + 1];
static char buf[256];
static size_t n_fds;

static int setup(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = -1;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
	mf_close_all(pair, 2);
	return 0;
}

static unsigned int open_fds(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static ino_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void bytes_alone(void **state)
{
	assert_int_equal(mf_fdpass_send(pair[0], "hello", 5, NULL, 0, 0), 0);
	assert_int_equal(mf_fdpass_send(pair[0], "again", 5, NULL, 0, 0), 0);
	n_fds = 9;
	assert_int_equal(mf_fdpass_recv(pair[1], buf, sizeof(buf), NULL, 0, &n_fds, 0), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(n_fds, 0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 5, NULL, 0, &n_fds, 0), 5);
	assert_memory_equal(buf, "again", 5);
}

static void descriptors_in_order(void **state)
{
	int two[2] = { memfd_create("a", MFD_CLOEXEC), memfd_create("b", MFD_CLOEXEC) };

	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, two, 2, 0), 0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, sizeof(buf), fds, 2, &n_fds, 0), 1);
	assert_int_equal(n_fds, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_not_equal(fds[i], two[i]);
		assert_int_equal(inode(fds[i]), inode(two[i]));
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
	}
	mf_close_all(two, 2);
	mf_close_all(fds, 2);
	assert_int_equal(fds[0], -1);
}

static void as_many_as_there_can_be(void **state)
{
	int many[MF_FDPASS_MAX + 1];
	unsigned int before;

	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = pair[0];
	before = open_fds();
	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, many, MF_FDPASS_MAX + 1, 0), -EINVAL);
	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, many, MF_FDPASS_MAX, 0), 0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, fds, MF_FDPASS_MAX, &n_fds, 0), 1);
	assert_int_equal(n_fds, MF_FDPASS_MAX);
	assert_int_equal(open_fds(), before + MF_FDPASS_MAX);
	mf_close_all(fds, n_fds);
	assert_int_equal(open_fds(), before);
}

static void more_than_was_expected(void **state)
{
	int three[3] = { pair[0], pair[1], pair[0] };
	unsigned int before = open_fds();

	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, three, 3, 0), 0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, fds, 2, &n_fds, 0), -EMSGSIZE);
	assert_int_equal(n_fds, 0);
	assert_int_equal(fds[0], -1);
	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, three, 3, 0), 0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, NULL, 0, &n_fds, 0), -EMSGSIZE);
	/* too long, with descriptors that would have fitted */
	assert_int_equal(mf_fdpass_send(pair[0], "xyz", 3, three, 3, 0), 0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 2, fds, 3, &n_fds, 0), -EMSGSIZE);
	assert_int_equal(n_fds, 0);
	assert_int_equal(open_fds(), before);
}

static void no_room_for_descriptors(void **state)
{
	int three[3] = { pair[0], pair[1], pair[0] };
	unsigned int before = open_fds();
	struct rlimit old, few;
	int r;

	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, three, 3, 0), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)dup(0) + 1; /* one more may be had */
	close((int)few.rlim_cur - 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = mf_fdpass_recv(pair[1], buf, 1, fds, 3, &n_fds, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(n_fds, 0);
	assert_int_equal(open_fds(), before);
}

static void bounded_waits(void **state)
{
	u64 start = mf_now_ns(), took;
	int sent = 0, r;

	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, NULL, 0, &n_fds, 50), -ETIMEDOUT);
	took = mf_now_ns() - start;
	assert_in_range(took, 49 * MF_NSEC_PER_MSEC, 5000 * MF_NSEC_PER_MSEC);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, NULL, 0, &n_fds, 0), -ETIMEDOUT);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, NULL, 0, &n_fds, -1), -ETIMEDOUT);

	while ((r = mf_fdpass_send(pair[0], buf, sizeof(buf), NULL, 0, 0)) == 0 &&
	       sent < 1000000)
		sent++;
	assert_int_equal(r, -ETIMEDOUT);
	assert_int_equal(mf_fdpass_send(pair[0], buf, sizeof(buf), NULL, 0, 20), -ETIMEDOUT);
}

static void peer_gone(void **state)
{
	mf_close_all(pair, 1);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, NULL, 0, &n_fds, 1000), 0);
	/* without MSG_NOSIGNAL this would end the test */
	signal(SIGPIPE, SIG_DFL);
	assert_int_equal(mf_fdpass_send(pair[1], "x", 1, NULL, 0, 1000), -EPIPE);
}

static void last_words(void **state)
{
	/* the peer dies with something unread: the reset comes before its message */
	assert_int_equal(mf_fdpass_send(pair[1], "unread", 6, NULL, 0, 0), 0);
	assert_int_equal(mf_fdpass_send(pair[0], "abort", 5, NULL, 0, 0), 0);
	mf_close_all(pair, 1);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, sizeof(buf), NULL, 0, &n_fds, 0), 5);
	assert_memory_equal(buf, "abort", 5);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, sizeof(buf), NULL, 0, &n_fds, 0), 0);
}

static void descriptor_zero(void **state)
{
	int keep = dup(0), zero = 0;

	close(0);
	assert_int_equal(memfd_create("zero", MFD_CLOEXEC), 0);
	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, &zero, 1, 0), 0);
	close(0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, fds, 1, &n_fds, 0), 1);
	assert_int_equal(fds[0], 0);
	mf_close_all(fds, 1);
	assert_int_equal(fcntl(0, F_GETFD), -1);
	if (keep >= 0) {
		assert_int_equal(dup2(keep, 0), 0);
		close(keep);
	}
}

static void bad_descriptors(void **state)
{
	int bad = 1000;

	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, &bad, 1, 0), -EBADF);
	assert_int_equal(mf_fdpass_send(bad, "x", 1, NULL, 0, 0), -EBADF);
	assert_int_equal(mf_fdpass_recv(bad, buf, 1, NULL, 0, &n_fds, 0), -EBADF);
}

static void credentials_do_not_disturb(void **state)
{
	int on = 1;

	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	assert_int_equal(mf_fdpass_send(pair[0], "x", 1, pair, 2, 0), 0);
	assert_int_equal(mf_fdpass_recv(pair[1], buf, 1, fds, 2, &n_fds, 0), 1);
	assert_int_equal(n_fds, 2);
	mf_close_all(fds, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_alone),
		TEST(descriptors_in_order),
		TEST(as_many_as_there_can_be),
		TEST(more_than_was_expected),
		TEST(no_room_for_descriptors),
		TEST(bounded_waits),
		TEST(peer_gone),
		TEST(last_words),
		TEST(descriptor_zero),
		TEST(bad_descriptors),
		TEST(credentials_do_not_disturb),
	};

	return cmocka_run_group_tests_name("fdpass", tests, NULL, NULL);
}
