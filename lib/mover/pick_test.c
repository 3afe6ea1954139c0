/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which routes are picked, and what a mover refuses before it asks the kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "mover/mover.h"

struct row {
	struct mf_mover_caps caps; /* same_space, move, xmove, ferry */
	enum mf_route give, take;
};

/* Every combination there is. */
static const struct row rows[] = {
	{ { 0, 0, 0, 0 }, MF_ROUTE_COPY, MF_ROUTE_NONE },
	{ { 0, 0, 0, 1 }, MF_ROUTE_COPY, MF_ROUTE_FERRY },
	{ { 0, 0, 1, 0 }, MF_ROUTE_XMOVE, MF_ROUTE_XMOVE },
	{ { 0, 0, 1, 1 }, MF_ROUTE_XMOVE, MF_ROUTE_XMOVE },
	/* a move that works in one space is of no use between two */
	{ { 0, 1, 0, 0 }, MF_ROUTE_COPY, MF_ROUTE_NONE },
	{ { 0, 1, 0, 1 }, MF_ROUTE_COPY, MF_ROUTE_FERRY },
	{ { 0, 1, 1, 0 }, MF_ROUTE_XMOVE, MF_ROUTE_XMOVE },
	{ { 0, 1, 1, 1 }, MF_ROUTE_XMOVE, MF_ROUTE_XMOVE },
	/* in one space: TAKE mode is EINVAL there, and a ferry has no other side */
	{ { 1, 0, 0, 0 }, MF_ROUTE_COPY, MF_ROUTE_NONE },
	{ { 1, 0, 0, 1 }, MF_ROUTE_COPY, MF_ROUTE_NONE },
	{ { 1, 0, 1, 0 }, MF_ROUTE_COPY, MF_ROUTE_NONE },
	{ { 1, 0, 1, 1 }, MF_ROUTE_COPY, MF_ROUTE_NONE },
	{ { 1, 1, 0, 0 }, MF_ROUTE_MOVE, MF_ROUTE_MOVE },
	{ { 1, 1, 0, 1 }, MF_ROUTE_MOVE, MF_ROUTE_MOVE },
	{ { 1, 1, 1, 0 }, MF_ROUTE_MOVE, MF_ROUTE_MOVE },
	{ { 1, 1, 1, 1 }, MF_ROUTE_MOVE, MF_ROUTE_MOVE },
};

static void test_pick(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct mf_mover m = { .give = MF_ROUTES, .take = MF_ROUTES, .uffd = 7 };

		mf_mover_pick(&m, &rows[i].caps);
		if (m.give != rows[i].give || m.take != rows[i].take)
			fail_msg("row %zu: give %s, take %s", i, mf_route_name(m.give),
				 mf_route_name(m.take));
		assert_int_equal(m.uffd, 7); /* nothing else is touched */
	}
}

static void test_route_names(void **state)
{
	int a, b;

	assert_string_equal(mf_route_name(MF_ROUTE_XMOVE), "xmove");
	assert_string_equal(mf_route_name(MF_ROUTE_NONE), "none");
	for (a = 0; a < MF_ROUTES; a++)
		for (b = 0; b < a; b++)
			assert_string_not_equal(mf_route_name(a), mf_route_name(b));
}

static void test_no_route(void **state)
{
	struct mf_mover m = { .uffd = -1 };
	u64 bits[8], done = 1;

	assert_int_equal(mf_mover_give(&m, 0x1000, 0x2000, 0x1000, 0, &done), -EOPNOTSUPP);
	assert_int_equal(done, 0);
	memset(bits, 0xff, sizeof(bits));
	assert_int_equal(mf_mover_take(&m, 0x1000, 0x2000, 0x1000, bits), -EOPNOTSUPP);
	assert_int_equal(bits[0] | bits[7], 0);
}

static void test_take_refuses_bad_windows(void **state)
{
	static const u64 bad[][3] = {
		{ 0x1000, 0x200000, 0 },	  /* empty */
		{ 0x1000, 0x200000, 513 * 4096 }, /* more than there are bits */
		{ 0x1001, 0x200000, 4096 },	  { 0x1000, 0x200008, 4096 },
		{ 0x1000, 0x200000, 4095 },	  { 0x1000, ~(u64)0xfff, 8192 }, /* wraps */
		{ ~(u64)0xfff, 0x1000, 8192 },
	};
	struct mf_mover m = { .take = MF_ROUTE_MOVE, .uffd = -1 };
	u64 bits[8];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (mf_mover_take(&m, bad[i][0], bad[i][1], bad[i][2], bits) != -EINVAL)
			fail_msg("window %zu was not refused", i);
	/* and a good one gets as far as the kernel */
	assert_int_equal(mf_mover_take(&m, 0x1000, 0x200000, 512 * 4096, bits), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pick),
		cmocka_unit_test(test_route_names),
		cmocka_unit_test(test_no_route),
		cmocka_unit_test(test_take_refuses_bad_windows),
	};

	return cmocka_run_group_tests_name("mover", tests, NULL, NULL);
}
