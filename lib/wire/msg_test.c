/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every message there and back, and what must be refused. Payloads are handed to the
 * decoders in allocations of exactly their size, so that the sanitizer build sees a read
 * of one byte too many. TLV numbers are written out: they are the protocol.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/any.h"
#include "wire/bytes.h"

static const struct mf_wire_header head = { .version = 1, .epoch = 77, .seq = 5 };

static union mf_any in, out, again;
static u8 frame[2 * MF_ANY_FRAME_BYTES]; /* what is forged may be longer than a frame */
static u8 *const payload = frame + MF_WIRE_HEADER_BYTES;

/* The decoder of PAGE is told more than it is given: only the fixed part is read. */
static size_t bytes_at_hand(u16 type, size_t len)
{
	return type == MF_MSG_PAGE && len > MF_WIRE_PAGE_FIXED_BYTES ? MF_WIRE_PAGE_FIXED_BYTES
								     : len;
}

static int decode_exact(u16 type, const u8 *p, size_t len, union mf_any *ret_m)
{
	size_t n = bytes_at_hand(type, len);
	u8 *copy = malloc(n ? n : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, p, n);
	r = mf_any_decode(type, n ? copy : copy + 1, len, ret_m);
	if (!r && type == MF_MSG_BLOB) {
		static u8 kept[MF_WIRE_MAX_CONTROL];

		memcpy(kept, ret_m->blob.data, ret_m->blob.len);
		ret_m->blob.data = kept;
	}
	free(copy);
	return r;
}

/* Encodes into frame; returns the payload length that the header says. */
static size_t encode(u16 type, const union mf_any *m)
{
	struct mf_wire_header h;
	int n = mf_any_encode(type, frame, sizeof(frame), &head, m);

	assert_true(n >= MF_WIRE_HEADER_BYTES);
	assert_int_equal(mf_wire_get_header(frame, sizeof(frame), &h), 0);
	assert_int_equal(h.type, type);
	assert_int_equal(h.epoch, head.epoch);
	assert_int_equal(h.seq, head.seq);
	assert_int_equal(bytes_at_hand(type, h.len), n - MF_WIRE_HEADER_BYTES);
	return h.len;
}

static void assert_same(u16 type, const union mf_any *a, const union mf_any *b)
{
	if (type == MF_MSG_BLOB) {
		assert_int_equal(a->blob.offset, b->blob.offset);
		assert_int_equal(a->blob.crc, b->blob.crc);
		assert_int_equal(a->blob.len, b->blob.len);
		assert_memory_equal(a->blob.data, b->blob.data, a->blob.len);
	} else if (type == MF_MSG_PAGE) {
		assert_int_equal(a->page.region, b->page.region);
		assert_int_equal(a->page.flags, b->page.flags);
		assert_int_equal(a->page.offset, b->page.offset);
		assert_int_equal(a->page.len, b->page.len);
		assert_int_equal(a->page.crc, b->page.crc);
	} else {
		assert_memory_equal(a, b, mf_any_size(type));
	}
}

static void there_and_back(void **state)
{
	u16 type;
	size_t i;

	for (i = 0; mf_any_sample(i, &type, &in); i++) {
		size_t len = encode(type, &in);

		memset(&out, 0x5a, sizeof(out));
		assert_int_equal(decode_exact(type, payload, len, &out), 0);
		assert_same(type, &in, &out);
	}
	assert_true(i > 20);
}

static void no_room(void **state)
{
	u16 type;

	for (size_t i = 0; mf_any_sample(i, &type, &in); i++) {
		size_t need = MF_WIRE_HEADER_BYTES + bytes_at_hand(type, encode(type, &in));

		for (size_t size = 0; size < need; size += size + 64 < need ? 13 : 1) {
			u8 *buf = malloc(size ? size : 1);

			assert_non_null(buf);
			assert_int_equal(mf_any_encode(type, buf, size, &head, &in), -EMSGSIZE);
			free(buf);
		}
	}
}

/* A cut payload is refused, or it was legal and means exactly what it says. */
static void truncated(void **state)
{
	static u8 cut[MF_ANY_FRAME_BYTES];
	u16 type;

	for (size_t i = 0; mf_any_sample(i, &type, &in); i++) {
		size_t len = encode(type, &in);

		memcpy(cut, payload, bytes_at_hand(type, len));
		for (size_t n = 0; n < len; n += n % 8 || n < 4096 ? 1 : 7) {
			int r = decode_exact(type, cut, n, &out);

			if (r) {
				assert_true(r == -EBADMSG || r == -EPROTO);
				continue;
			}
			assert_int_equal(encode(type, &out), n);
			assert_memory_equal(payload, cut, n);
		}
	}
}

/* After any single-bit error: refused, or a message that survives another round. */
static void bit_flips(void **state)
{
	static u8 bad[MF_ANY_FRAME_BYTES];
	u16 type;

	for (size_t i = 0; mf_any_sample(i, &type, &in); i++) {
		size_t len = encode(type, &in);
		size_t n = mf_min(bytes_at_hand(type, len), 600);

		memcpy(bad, payload, bytes_at_hand(type, len));
		for (size_t bit = 0; bit < n * 8; bit++) {
			int r;

			bad[bit / 8] ^= (u8)(1 << bit % 8);
			r = decode_exact(type, bad, len, &out);
			bad[bit / 8] ^= (u8)(1 << bit % 8);
			assert_true(r == 0 || r == -EBADMSG || r == -EPROTO);
			if (r)
				continue;
			assert_int_equal(
				mf_any_decode(type, payload, encode(type, &out), &again), 0);
			assert_same(type, &out, &again);
		}
	}
}

/* ------------------------------------------------------------ TLVs by hand */

static size_t add_tlv(size_t at, u16 type, u16 flags, const void *value, u32 len)
{
	u8 *p = payload + at;

	mf_put_le(p, type, 2);
	mf_put_le(p + 2, flags, 2);
	mf_put_le(p + 4, len, 4);
	memset(p + 8, 0, mf_align_up(len, 8));
	memcpy(p + 8, value, len);
	return at + 8 + mf_align_up(len, 8);
}

static size_t add_u32(size_t at, u16 type, u32 v)
{
	u8 le[4];

	mf_put_le(le, v, 4);
	return add_tlv(at, type, 1, le, 4);
}

static size_t tlv_size(const u8 *p)
{
	return 8 + mf_align_up(mf_get_le(p + 4, 4), 8);
}

static void unknown_tlvs(void **state)
{
	u16 type;

	for (size_t i = 0; mf_any_sample(i, &type, &in); i++) {
		size_t len, more;

		if (type == MF_MSG_PAGE)
			continue;
		len = encode(type, &in);
		more = add_tlv(len, 0x7777, 0, "what", 4);
		assert_int_equal(decode_exact(type, payload, more, &out), 0);
		assert_same(type, &in, &out);
		/* the same one twice: who does not know it cannot object */
		more = add_tlv(more, 0x7777, 0, "what", 4);
		assert_int_equal(decode_exact(type, payload, more, &out), 0);
		more = add_tlv(len, 0x7777, 1, "what", 4);
		assert_int_equal(decode_exact(type, payload, more, &out), -EPROTO);
		more = add_tlv(len, 0x7777, 2, "what", 4); /* a flag of no meaning */
		assert_int_equal(decode_exact(type, payload, more, &out), -EBADMSG);
	}
}

static bool is_list_item(u16 tlv)
{
	return tlv == 16 || tlv == 17 || tlv == 22;
}

static bool is_optional(u16 tlv)
{
	return tlv == 6 || tlv == 14 || tlv == 24;
}

static void twice_or_missing(void **state)
{
	static u8 whole[MF_ANY_FRAME_BYTES];
	u16 type;

	for (size_t i = 0; mf_any_sample(i, &type, &in); i++) {
		size_t len = encode(type, &in);

		if (type == MF_MSG_PAGE)
			continue;
		memcpy(whole, payload, len);
		for (size_t at = 0, n; at < len; at += n) {
			u16 tlv = (u16)mf_get_le(whole + at, 2);
			int r;

			n = tlv_size(whole + at);
			memcpy(payload, whole, len);
			memcpy(payload + len, whole + at, n);
			assert_int_equal(decode_exact(type, payload, len + n, &out), -EBADMSG);

			memmove(payload + at, whole + at + n, len - at - n);
			r = decode_exact(type, payload, len - n, &out);
			if (is_optional(tlv))
				assert_int_equal(r, 0);
			else
				assert_int_equal(r, is_list_item(tlv) ? -EBADMSG : -EPROTO);
		}
	}
}

static void dirty_padding(void **state)
{
	size_t len;

	in.ready.ferry_pid = 1;
	len = encode(MF_MSG_READY, &in);
	assert_int_equal(len, 16);
	for (size_t i = 12; i < 16; i++) {
		payload[i] = 1;
		assert_int_equal(decode_exact(MF_MSG_READY, payload, len, &out), -EBADMSG);
		payload[i] = 0;
	}
	/* integers have one size */
	mf_put_le(payload + 4, 8, 4);
	assert_int_equal(decode_exact(MF_MSG_READY, payload, len, &out), -EBADMSG);
	mf_put_le(payload + 4, 3, 4);
	assert_int_equal(decode_exact(MF_MSG_READY, payload, len, &out), -EBADMSG);
	mf_put_le(payload + 4, UINT32_MAX, 4);
	assert_int_equal(decode_exact(MF_MSG_READY, payload, len, &out), -EBADMSG);
}

static void bytes_of_ready(void **state)
{
	static const u8 want[48] = {
		'M', 'F', 'R', 'Y', 1, 0, 5, 0, 16,   0,    0,	  0,	0, 0, 0, 0,
		77,  0,	  0,   0,   0, 0, 0, 0, 5,    0,    0,	  0,	0, 0, 0, 0,
		12,  0,	  1,   0,   4, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0,
	};

	in.ready.ferry_pid = 0x12345678;
	assert_int_equal(encode(MF_MSG_READY, &in), 16);
	assert_memory_equal(frame, want, sizeof(want));
}

/* ----------------------------------------------------------------- counts */

static void counts(void **state)
{
	static const u32 lies[] = { 0, 1, 3, 256, 257, 0x7fffffff, 0x80000000, UINT32_MAX };
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		len = add_u32(0, 15, lies[i]);
		len = add_tlv(len, 22, 1, "one", 3);
		len = add_tlv(len, 22, 1, "two", 3);
		assert_int_equal(decode_exact(MF_MSG_FDS, payload, len, &out), -EBADMSG);
	}
	add_u32(0, 15, 2);
	assert_int_equal(decode_exact(MF_MSG_FDS, payload, len, &out), 0);
	assert_int_equal(out.fds.count, 2);
	assert_string_equal(out.fds.name[1], "two");

	len = add_u32(0, 15, MF_WIRE_FDS_PER_FRAME + 1);
	for (u32 i = 0; i <= MF_WIRE_FDS_PER_FRAME; i++)
		len = add_tlv(len, 22, 1, "x", 1);
	assert_int_equal(decode_exact(MF_MSG_FDS, payload, len, &out), -EBADMSG);
	len = add_u32(0, 15, 0);
	assert_int_equal(decode_exact(MF_MSG_FDS, payload, len, &out), -EBADMSG);
	assert_int_equal(decode_exact(MF_MSG_REGIONS, payload, len, &out), -EBADMSG);
}

static void encoded_counts(void **state)
{
	memset(&in, 0, sizeof(in));
	assert_int_equal(mf_any_encode(MF_MSG_FDS, frame, sizeof(frame), &head, &in), -EINVAL);
	assert_int_equal(mf_any_encode(MF_MSG_REGIONS, frame, sizeof(frame), &head, &in),
			 -EINVAL);
	in.fds.count = MF_WIRE_FDS_PER_FRAME + 1;
	assert_int_equal(mf_any_encode(MF_MSG_FDS, frame, sizeof(frame), &head, &in), -EINVAL);
	in.regions.count = UINT32_MAX;
	assert_int_equal(mf_any_encode(MF_MSG_REGIONS, frame, sizeof(frame), &head, &in),
			 -EINVAL);
	assert_int_equal(mf_any_encode(MF_MSG_MAPPED, frame, sizeof(frame), &head, &in),
			 -EINVAL);
}

/* ------------------------------------------------------------------ words */

static int decode_fd_name(const void *name, u32 len)
{
	size_t n = add_tlv(add_u32(0, 15, 1), 22, 1, name, len);

	return decode_exact(MF_MSG_FDS, payload, n, &out);
}

static int encode_fd_name(const char *name, size_t len)
{
	memset(&in, 0, sizeof(in));
	in.fds.count = 1;
	memcpy(in.fds.name[0], name, len);
	return mf_any_encode(MF_MSG_FDS, frame, sizeof(frame), &head, &in);
}

static void names(void **state)
{
	char longest[MF_WIRE_NAME_MAX + 1];

	memset(longest, 'n', sizeof(longest));
	assert_int_equal(decode_fd_name("ok", 2), 0);
	assert_int_equal(decode_fd_name(longest, MF_WIRE_NAME_MAX - 1), 0);
	assert_int_equal(strlen(out.fds.name[0]), MF_WIRE_NAME_MAX - 1);
	assert_int_equal(decode_fd_name(longest, MF_WIRE_NAME_MAX), -EBADMSG);
	assert_int_equal(decode_fd_name("", 0), -EBADMSG);
	assert_int_equal(decode_fd_name("ok", 3), -EBADMSG); /* with its NUL */
	assert_int_equal(decode_fd_name("o\0k", 3), -EBADMSG);
	assert_int_equal(decode_fd_name("\n", 1), -EBADMSG);
	assert_int_equal(decode_fd_name("\x7f", 1), -EBADMSG);
	assert_int_equal(decode_fd_name("\xc3\xa4", 2), -EBADMSG);

	assert_true(encode_fd_name("ok", 2) > 0);
	assert_int_equal(encode_fd_name("", 1), -EINVAL);
	assert_int_equal(encode_fd_name("a\tb", 4), -EINVAL);
	assert_int_equal(encode_fd_name(longest, MF_WIRE_NAME_MAX), -EINVAL);
}

static int decode_text(const void *text, u32 len)
{
	size_t n = add_tlv(add_u32(0, 23, ENOMEM), 24, 0, text, len);

	return decode_exact(MF_MSG_ABORT, payload, n, &out);
}

static void texts(void **state)
{
	char longest[MF_WIRE_TEXT_MAX];

	memset(longest, 't', sizeof(longest));
	assert_int_equal(decode_text("", 0), 0);
	assert_string_equal(out.abort.text, "");
	assert_int_equal(decode_text("sp\xc3\xa4t", 5), 0);
	assert_string_equal(out.abort.text, "sp\xc3\xa4t");
	assert_int_equal(decode_text("\x1b[2Jgone\n\x7f", 10), 0);
	assert_string_equal(out.abort.text, "?[2Jgone??");
	assert_int_equal(decode_text("a\0b", 3), -EBADMSG);
	assert_int_equal(decode_text(longest, MF_WIRE_TEXT_MAX - 1), 0);
	assert_int_equal(decode_text(longest, MF_WIRE_TEXT_MAX), -EBADMSG);

	memset(&in, 't', sizeof(in));
	in.abort.error = 1;
	assert_int_equal(mf_any_encode(MF_MSG_ABORT, frame, sizeof(frame), &head, &in),
			 -EINVAL);
}

/* ----------------------------------------------------------------- values */

/* One region of which one field is wrong, both ways. */
static void assert_bad_region(size_t at, size_t bytes, u64 value)
{
	const struct mf_msg_region good = {
		.index = 1,
		.kind = MF_WIRE_SHARED_FD,
		.prot = 3,
		.addr = 0x200000,
		.len = 0x400000,
		.page_size = 0x200000,
		.fd_offset = 0x200000,
		.name = "r",
	};
	u8 *fixed = payload + 16 + 8; /* after COUNT, and REGION's own header */
	struct mf_msg_region *r = &in.regions.region[0];
	size_t len;

	memset(&in, 0, sizeof(in));
	in.regions.count = 1;
	*r = good;
	len = encode(MF_MSG_REGIONS, &in);
	assert_int_equal(decode_exact(MF_MSG_REGIONS, payload, len, &out), 0);
	mf_put_le(fixed + at, value, bytes);
	assert_int_equal(decode_exact(MF_MSG_REGIONS, payload, len, &out), -EBADMSG);

	r->index = (u32)mf_get_le(fixed, 4);
	r->kind = (u32)mf_get_le(fixed + 4, 4);
	r->flags = (u32)mf_get_le(fixed + 8, 4);
	r->prot = (u32)mf_get_le(fixed + 12, 4);
	r->addr = mf_get_le(fixed + 16, 8);
	r->len = mf_get_le(fixed + 24, 8);
	r->page_size = mf_get_le(fixed + 32, 8);
	r->fd_offset = mf_get_le(fixed + 40, 8);
	assert_int_equal(mf_any_encode(MF_MSG_REGIONS, frame, sizeof(frame), &head, &in),
			 -EINVAL);
}

static void bad_regions(void **state)
{
	assert_bad_region(0, 4, MF_WIRE_MAX_REGIONS);
	assert_bad_region(4, 4, 0);
	assert_bad_region(4, 4, 4);
	assert_bad_region(4, 4, MF_WIRE_ANON); /* which has no file to have an offset in */
	assert_bad_region(8, 4, 1u << 7);
	assert_bad_region(8, 4, MF_WIRE_REGION_THP | MF_WIRE_REGION_NOTHP);
	assert_bad_region(12, 4, 8);
	assert_bad_region(16, 8, 0);
	assert_bad_region(16, 8, 0x201000);
	assert_bad_region(16, 8, 0 - (u64)0x200000); /* would wrap */
	assert_bad_region(24, 8, 0);
	assert_bad_region(24, 8, 0x401000);
	assert_bad_region(24, 8, 0 - (u64)0x200000);
	assert_bad_region(32, 8, 0);
	assert_bad_region(32, 8, 2048);
	assert_bad_region(32, 8, 0x3000);
	assert_bad_region(32, 8, 0x400000);
	assert_bad_region(32, 8, (u64)1 << 63);
	assert_bad_region(40, 8, 0x1000);
	assert_bad_region(40, 8, 0 - (u64)0x200000);
}

static void disorder(void **state)
{
	u16 type;

	for (size_t i = 0; mf_any_sample(i, &type, &in); i++) {
		if (type == MF_MSG_REGIONS && in.regions.count > 1) {
			in.regions.region[1].index = in.regions.region[0].index;
		} else if (type == MF_MSG_MAPPED && in.mapped.count > 1) {
			in.mapped.index[1] = in.mapped.index[0];
		} else {
			continue;
		}
		assert_int_equal(mf_any_encode(type, frame, sizeof(frame), &head, &in),
				 -EINVAL);
	}
	memset(&in, 0, sizeof(in));
	in.mapped.more = 1; /* more to follow, but nothing here: would go on for ever */
	assert_int_equal(mf_any_encode(MF_MSG_MAPPED, frame, sizeof(frame), &head, &in),
			 -EINVAL);
	in.mapped.more = 0;
	in.mapped.count = 1;
	in.mapped.addr[0] = 4097;
	assert_int_equal(mf_any_encode(MF_MSG_MAPPED, frame, sizeof(frame), &head, &in),
			 -EINVAL);
}

static int page_with(u32 flags, u64 offset, u64 len, u32 crc, size_t frame_len)
{
	u8 p[MF_WIRE_PAGE_FIXED_BYTES] = { 0 };

	mf_put_le(p + 4, flags, 4);
	mf_put_le(p + 8, offset, 8);
	mf_put_le(p + 16, len, 8);
	mf_put_le(p + 24, crc, 4);
	return decode_exact(MF_MSG_PAGE, p, frame_len, &out);
}

static void pages(void **state)
{
	const u64 most = (u64)2 << 20;

	assert_int_equal(page_with(0, 0, 4096, 9, 32 + 4096), 0);
	assert_int_equal(page_with(0, 0, most, 9, 32 + most), 0);
	assert_int_equal(page_with(MF_WIRE_PAGE_ZERO, 4096, most * 9, 0, 32), 0);
	/* the frame does not have the bytes that the page needs, or has more */
	assert_int_equal(page_with(0, 0, 4096, 9, 32), -EBADMSG);
	assert_int_equal(page_with(0, 0, 4096, 9, 32 + 4095), -EBADMSG);
	assert_int_equal(page_with(0, 0, 4096, 9, 32 + 8192), -EBADMSG);
	assert_int_equal(page_with(MF_WIRE_PAGE_ZERO, 0, 4096, 0, 32 + 4096), -EBADMSG);
	assert_int_equal(page_with(0, 0, most + 4096, 9, 32 + most + 4096), -EBADMSG);
	/* flags and numbers that make no sense */
	assert_int_equal(page_with(8, 0, 4096, 0, 32 + 4096), -EBADMSG);
	assert_int_equal(page_with(MF_WIRE_PAGE_ZERO | MF_WIRE_PAGE_POISON, 0, 4096, 0, 32),
			 -EBADMSG);
	assert_int_equal(page_with(MF_WIRE_PAGE_POISON, 0, 4096, 1, 32), -EBADMSG);
	assert_int_equal(page_with(MF_WIRE_PAGE_ZERO, 1, 4096, 0, 32), -EBADMSG);
	assert_int_equal(page_with(MF_WIRE_PAGE_ZERO, 0, 100, 0, 32), -EBADMSG);
	assert_int_equal(page_with(MF_WIRE_PAGE_ZERO, 0, 0, 0, 32), -EBADMSG);
	assert_int_equal(page_with(MF_WIRE_PAGE_ZERO, 0 - (u64)4096, 4096, 0, 32), -EBADMSG);
}

/* Change the sample in @stmt: it must then be refused by the encoder. */
#define ASSERT_BAD(TYPE, stmt)                                                                 \
	do {                                                                                   \
		u16 type_ = 0;                                                                 \
		for (size_t i_ = 0; type_ != MF_MSG_##TYPE; i_++)                              \
			assert_true(mf_any_sample(i_, &type_, &in));                           \
		stmt;                                                                          \
		assert_int_equal(mf_any_encode(type_, frame, sizeof(frame), &head, &in),       \
				 -EINVAL);                                                     \
	} while (0)

static void bad_values(void **state)
{
	ASSERT_BAD(HELLO, in.hello.ver_min = 0);
	ASSERT_BAD(HELLO, in.hello.ver_min = 2);
	ASSERT_BAD(HELLO, in.hello.page_size = 1000);
	ASSERT_BAD(HELLO, in.hello.app[0] = '\0');
	ASSERT_BAD(WELCOME, in.welcome.version = MF_WIRE_VERSION_MAX + 1);
	ASSERT_BAD(WELCOME, in.welcome.version = 0);
	ASSERT_BAD(WELCOME, in.welcome.timeout_ms = 0);
	ASSERT_BAD(WELCOME, in.welcome.n_regions = MF_WIRE_MAX_REGIONS + 1);
	ASSERT_BAD(WELCOME, in.welcome.source_pid = -1);
	ASSERT_BAD(READY, in.ready.ferry_pid = INT32_MIN);
	ASSERT_BAD(STATE, in.state.len = (u64)1 << 63);
	ASSERT_BAD(ABORT, in.abort.error = 0);
	ASSERT_BAD(ABORT, in.abort.error = -5);
	ASSERT_BAD(ABORT, in.abort.error = 4096);
	ASSERT_BAD(PAGE_REQ, in.page_req.region = MF_WIRE_MAX_REGIONS);
	ASSERT_BAD(PAGE_REQ, in.page_req.len = 0);
	ASSERT_BAD(PAGE_REQ, in.page_req.len = UINT64_MAX - 4095);
	ASSERT_BAD(ACK, in.ack.offset = 1);
	ASSERT_BAD(ACK, in.ack.region = UINT32_MAX);
	ASSERT_BAD(BLOB, in.blob.len = 0);
	ASSERT_BAD(BLOB, in.blob.data = NULL);
	ASSERT_BAD(BLOB, in.blob.offset = UINT64_MAX);
	ASSERT_BAD(PAGE, in.page.len = 5);
}

static void blob_too_long(void **state)
{
	static u8 big[MF_WIRE_MAX_CONTROL];
	static u8 buf[2 * MF_ANY_FRAME_BYTES];

	memset(&in, 0, sizeof(in));
	in.blob.data = big;
	in.blob.len = sizeof(big);
	assert_int_equal(mf_any_encode(MF_MSG_BLOB, buf, sizeof(buf), &head, &in), -EMSGSIZE);
	in.blob.len = UINT32_MAX; /* must not be read to find that out */
	assert_int_equal(mf_any_encode(MF_MSG_BLOB, buf, sizeof(buf), &head, &in), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back), cmocka_unit_test(no_room),
		cmocka_unit_test(truncated),	  cmocka_unit_test(bit_flips),
		cmocka_unit_test(unknown_tlvs),	  cmocka_unit_test(twice_or_missing),
		cmocka_unit_test(dirty_padding),  cmocka_unit_test(bytes_of_ready),
		cmocka_unit_test(counts),	  cmocka_unit_test(encoded_counts),
		cmocka_unit_test(names),	  cmocka_unit_test(texts),
		cmocka_unit_test(bad_regions),	  cmocka_unit_test(disorder),
		cmocka_unit_test(pages),	  cmocka_unit_test(bad_values),
		cmocka_unit_test(blob_too_long),
	};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
