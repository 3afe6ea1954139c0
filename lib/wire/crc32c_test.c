/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/crc32c.h"
#include "wire/msg.h"

typedef u32 (*crc_fn)(u32 crc, const void *data, size_t len);

/* The vectors of RFC 3720 appendix B.4, and the usual check value. */
static void check_vectors(crc_fn crc)
{
	u8 buf[32];

	assert_int_equal(crc(0, "", 0), 0);
	assert_int_equal(crc(0, "a", 1), 0xc1d04330u);
	assert_int_equal(crc(0, "123456789", 9), 0xe3069283u);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc(0, buf, 32), 0x8a9136aau);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc(0, buf, 32), 0x62a8ab43u);
	for (u32 i = 0; i < 32; i++)
		buf[i] = (u8)i;
	assert_int_equal(crc(0, buf, 32), 0x46dd794eu);
	for (u32 i = 0; i < 32; i++)
		buf[i] = (u8)(31 - i);
	assert_int_equal(crc(0, buf, 32), 0x113fdb5cu);
}

static void table_vectors(void **state)
{
	check_vectors(mf_crc32c_table);
}

static void cpu_vectors(void **state)
{
	if (!mf_crc32c_has_cpu()) {
		print_message("# this processor has no CRC32C instruction\n");
		skip();
	}
	check_vectors(mf_crc32c_cpu);
}

static void chosen_vectors(void **state)
{
	check_vectors(mf_crc32c);
}

static void fill(u8 *buf, size_t len)
{
	u32 x = 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		buf[i] = (u8)(x >> 24);
	}
}

static void ways_agree(void **state)
{
	static u8 buf[3 * 4096 + 40]; /* several times the largest step of any way */

	fill(buf, sizeof(buf));
	for (size_t at = 0; at < 9; at++)
		for (size_t len = 0; len + at <= sizeof(buf); len += len < 40 ? 1 : 137)
			assert_int_equal(mf_crc32c(7, buf + at, len),
					 mf_crc32c_table(7, buf + at, len));
}

static void pieces_make_the_whole(void **state)
{
	u8 buf[100];
	u32 whole;

	fill(buf, sizeof(buf));
	whole = mf_crc32c(0, buf, sizeof(buf));
	for (size_t cut = 0; cut <= sizeof(buf); cut++) {
		u32 crc = mf_crc32c(0, buf, cut);

		assert_int_equal(mf_crc32c(crc, buf + cut, sizeof(buf) - cut), whole);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_vectors),	 cmocka_unit_test(cpu_vectors),
		cmocka_unit_test(chosen_vectors),	 cmocka_unit_test(ways_agree),
		cmocka_unit_test(pieces_make_the_whole),
	};

	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
