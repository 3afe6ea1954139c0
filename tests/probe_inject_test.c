/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The probe with its Nth call of a kind failing, for every N at first and then some: it ends in
 * time, leaves nothing, and never calls a thing supported that an undisturbed run does not.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/inject.h"
#include "memferry.h"

#define NTH_MAX 120
#define NTH_EACH 30
#define NTH_STEP 3 /* from there on */
#define NTH_MANY 8 /* for "and all after it" */

static const struct mf_inject_plan no_plan;
static struct mf_probe *healthy;

static int setup(void **ctx)
{
	return mf_probe_run(&healthy);
}

static int teardown(void **ctx)
{
	mf_probe_free(healthy);
	return 0;
}

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static void compare(const struct mf_probe *probe, unsigned int kind, unsigned int nth)
{
	struct mf_probe_item got = { .size = sizeof(got) }, want = got;

	for (size_t i = 0; i < mf_probe_count(probe); i++) {
		assert_int_equal(mf_probe_item_at(probe, i, &got), 0);
		assert_int_equal(mf_probe_item_at(healthy, i, &want), 0);
		assert_true(got.why[0]);
		/* a huge page may have been had this time only */
		if (got.state == MF_SUPPORTED && want.state != MF_SUPPORTED &&
		    strcmp(got.name, "sem.move_thp"))
			fail_msg("kind %u, call %u: %s is supported all of a sudden: %s", kind,
				 nth, got.name, got.why);
	}
}

static void fail_nth(unsigned int kind, unsigned int nth, int error, bool forever)
{
	int fds = open_fds();
	struct mf_probe *probe;
	int r;

	mf_inject_plan = (struct mf_inject_plan){
		.kind = kind, .nth = nth, .error = error, .forever = forever
	};
	r = mf_probe_run(&probe);
	mf_inject_plan = no_plan;
	if (r == 0) {
		compare(probe, kind, nth);
		mf_probe_free(probe);
	} else {
		assert_true(r == -error && mf_error()[0]);
	}
	assert_int_equal(open_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

static void each(unsigned int kind, int error)
{
	for (unsigned int nth = 1; nth <= NTH_MAX; nth += nth < NTH_EACH ? 1 : NTH_STEP)
		fail_nth(kind, nth, error, false);
	for (unsigned int nth = 1; nth <= NTH_MANY; nth++)
		fail_nth(kind, nth, error, true);
}

static void ioctl_fails(void **ctx)
{
	each(MF_INJECT_IOCTL, ENOMEM);
}

static void mmap_fails(void **ctx)
{
	each(MF_INJECT_MMAP, ENOMEM);
}

static void descriptors_fail(void **ctx)
{
	each(MF_INJECT_FD, EMFILE);
}

static void clone_fails(void **ctx)
{
	each(MF_INJECT_CLONE, EAGAIN);
}

static void read_fails(void **ctx)
{
	each(MF_INJECT_READ, EIO);
}

static void madvise_fails(void **ctx)
{
	each(MF_INJECT_MADVISE, EINVAL);
}

static void poll_fails(void **ctx)
{
	each(MF_INJECT_POLL, ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ioctl_fails),	    cmocka_unit_test(mmap_fails),
		cmocka_unit_test(descriptors_fail), cmocka_unit_test(clone_fails),
		cmocka_unit_test(read_fails),	    cmocka_unit_test(madvise_fails),
		cmocka_unit_test(poll_fails),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
