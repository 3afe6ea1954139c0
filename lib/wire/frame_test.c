/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/msg.h"

static const struct mf_wire_header sample = {
	.version = 1,
	.type = MF_MSG_READY,
	.len = 16,
	.epoch = 0x1122334455667788,
	.seq = 0x99aabbccddeeff00,
};

static void round_trip(void **state)
{
	static const u8 want[MF_WIRE_HEADER_BYTES] = {
		'M',  'F',  'R',  'Y',	1,    0,    5,	  0,	16,   0,    0,
		0,    0,    0,	  0,	0,    0x88, 0x77, 0x66, 0x55, 0x44, 0x33,
		0x22, 0x11, 0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99,
	};
	u8 buf[MF_WIRE_HEADER_BYTES];
	struct mf_wire_header h;

	mf_wire_put_header(buf, &sample);
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(mf_wire_get_header(buf, sizeof(buf), &h), 0);
	assert_int_equal(h.version, sample.version);
	assert_int_equal(h.type, sample.type);
	assert_int_equal(h.len, sample.len);
	assert_int_equal(h.epoch, sample.epoch);
	assert_int_equal(h.seq, sample.seq);
}

static void short_header(void **state)
{
	u8 buf[MF_WIRE_HEADER_BYTES];
	struct mf_wire_header h;

	mf_wire_put_header(buf, &sample);
	for (size_t n = 0; n < sizeof(buf); n++)
		assert_int_equal(mf_wire_get_header(buf, n, &h), -EPROTO);
}

static void magic_and_reserved_bits(void **state)
{
	u8 buf[MF_WIRE_HEADER_BYTES];
	struct mf_wire_header h;

	mf_wire_put_header(buf, &sample);
	for (size_t bit = 0; bit < sizeof(buf) * 8; bit++) {
		size_t byte = bit / 8;

		if (byte >= 4 && !(byte >= 12 && byte < 16))
			continue;
		buf[byte] ^= (u8)(1 << bit % 8);
		assert_int_equal(mf_wire_get_header(buf, sizeof(buf), &h), -EPROTO);
		buf[byte] ^= (u8)(1 << bit % 8);
	}
	assert_int_equal(mf_wire_get_header(buf, sizeof(buf), &h), 0);
}

static int judge(u16 version, u16 type, u32 len)
{
	struct mf_wire_header in = { .version = version, .type = type, .len = len }, out;
	u8 buf[MF_WIRE_HEADER_BYTES];

	mf_wire_put_header(buf, &in);
	return mf_wire_get_header(buf, sizeof(buf), &out);
}

static void versions(void **state)
{
	static const u16 other[] = { 0, MF_WIRE_VERSION_MAX + 1, UINT16_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		assert_int_equal(judge(other[i], MF_MSG_WELCOME, 0), -EPROTONOSUPPORT);
		/* a type of the future is not an error of the frame's sender */
		assert_int_equal(judge(other[i], 999, 0), -EPROTONOSUPPORT);
		assert_int_equal(judge(other[i], MF_MSG_HELLO, 0), 0);
	}
}

static void types(void **state)
{
	u32 n = 0;

	for (u32 t = 0; t <= UINT16_MAX; t++) {
		bool known = strcmp(mf_wire_type_name((u16)t), "?") != 0;

		assert_int_equal(judge(1, (u16)t, 0), known ? 0 : -EPROTO);
		n += known;
	}
	assert_int_equal(n, 17);
	assert_string_equal(mf_wire_type_name(MF_MSG_HELLO), "HELLO");
	assert_string_equal(mf_wire_type_name(MF_MSG_PAGE_REQ), "PAGE_REQ");
	assert_string_equal(mf_wire_type_name(MF_MSG_DRAINED), "DRAINED");
	assert_string_equal(mf_wire_type_name(0), "?");
}

static bool is_empty(u16 type)
{
	return type == MF_MSG_QUIESCE || type == MF_MSG_COMMITTED || type == MF_MSG_COMMIT ||
	       type == MF_MSG_DRAINED;
}

static void lengths(void **state)
{
	for (u16 t = MF_MSG_HELLO; t <= (u16)MF_MSG_DRAINED; t++) {
		u32 max = MF_WIRE_MAX_CONTROL;

		if (!strcmp(mf_wire_type_name(t), "?"))
			continue;
		if (t == MF_MSG_PAGE)
			max = MF_WIRE_MAX_PAGE;
		if (is_empty(t))
			max = 0;
		assert_int_equal(judge(1, t, max), 0);
		assert_int_equal(judge(1, t, max + 1), -EMSGSIZE);
		assert_int_equal(judge(1, t, UINT32_MAX), -EMSGSIZE);
	}
}

static void empty_messages(void **state)
{
	struct mf_wire_header h;
	u8 buf[MF_WIRE_HEADER_BYTES];

	for (u16 t = 0; t < 40; t++) {
		if (!is_empty(t)) {
			assert_int_equal(mf_wire_encode_empty(buf, sizeof(buf), &sample, t),
					 -EINVAL);
			continue;
		}
		assert_int_equal(mf_wire_encode_empty(buf, sizeof(buf) - 1, &sample, t),
				 -EMSGSIZE);
		assert_int_equal(mf_wire_encode_empty(buf, sizeof(buf), &sample, t),
				 MF_WIRE_HEADER_BYTES);
		assert_int_equal(mf_wire_get_header(buf, sizeof(buf), &h), 0);
		assert_int_equal(h.type, t);
		assert_int_equal(h.len, 0);
		assert_int_equal(h.epoch, sample.epoch);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(short_header),
		cmocka_unit_test(magic_and_reserved_bits),
		cmocka_unit_test(versions),
		cmocka_unit_test(types),
		cmocka_unit_test(lengths),
		cmocka_unit_test(empty_messages),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
