/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "fuzz.h"
#include "wire/bytes.h"
#include "wire/msg.h"
#include "wire/tlv.h"

u64 mf_rng_next(struct mf_rng *rng) /* splitmix64 */
{
	u64 z = rng->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

u64 mf_rng_below(struct mf_rng *rng, u64 n)
{
	return mf_rng_next(rng) % n;
}

/* Numbers at which decoders tend to be wrong. */
static u64 odd_number(struct mf_rng *rng)
{
	static const u64 odd[] = {
		0,
		1,
		2,
		7,
		8,
		9,
		15,
		16,
		63,
		64,
		127,
		128,
		255,
		256,
		257,
		511,
		512,
		4095,
		4096,
		4097,
		32767,
		32768,
		65535,
		65536,
		0x1fffff,
		0x200000,
		0x7fffffff,
		0x80000000,
		0xfffffff8,
		0xfffffff9,
		0xffffffff,
		0x100000000,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xfffffffffffff000,
		0xffffffffffffffff,
	};
	u64 v = odd[mf_rng_below(rng, ARRAY_SIZE(odd))];

	switch (mf_rng_below(rng, 4)) {
	case 0:
		return mf_rng_next(rng);
	case 1:
		return v + mf_rng_below(rng, 17) - 8;
	default:
		return v;
	}
}

static size_t flip_bit(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	if (len)
		buf[mf_rng_below(rng, len)] ^= (u8)(1 << mf_rng_below(rng, 8));
	return len;
}

static size_t set_int(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	size_t bytes = (size_t)1 << mf_rng_below(rng, 4);
	size_t at;

	if (len < 8)
		return len;
	/* fields are aligned; once in a while try where none is */
	at = mf_rng_below(rng, len - bytes + 1);
	if (mf_rng_below(rng, 8))
		at &= ~(bytes - 1);
	mf_put_le(buf + at, odd_number(rng), bytes);
	return len;
}

static size_t cut(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	return len ? mf_rng_below(rng, len) : 0;
}

static size_t grow(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	size_t more = mf_min(1 + mf_rng_below(rng, 64), max - len);

	for (size_t i = 0; i < more; i++)
		buf[len + i] = mf_rng_below(rng, 2) ? (u8)mf_rng_next(rng) : 0;
	return len + more;
}

/* A random TLV of the payload, as far as they can be walked; 0: none. */
static size_t find_tlv(struct mf_rng *rng, const u8 *buf, size_t len, size_t *ret_size)
{
	size_t at = MF_WIRE_HEADER_BYTES, found = 0, n = 0;

	while (at + MF_TLV_HEADER_BYTES <= len && n < 300) {
		size_t size = MF_TLV_HEADER_BYTES + mf_align_up(mf_get_le(buf + at + 4, 4), 8);

		if (size > len - at)
			break;
		if (mf_rng_below(rng, ++n) == 0) {
			found = at;
			*ret_size = size;
		}
		at += size;
	}
	return found;
}

static size_t edit_tlv(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	static const u8 at_bytes[][2] = { { 0, 2 }, { 2, 2 }, { 4, 4 } };
	size_t size, which = mf_rng_below(rng, ARRAY_SIZE(at_bytes));
	size_t at = find_tlv(rng, buf, len, &size);

	if (at)
		mf_put_le(buf + at + at_bytes[which][0],
			  which == 2 ? odd_number(rng) : mf_rng_below(rng, 32),
			  at_bytes[which][1]);
	return len;
}

static size_t drop_tlv(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	size_t size, at = find_tlv(rng, buf, len, &size);

	if (!at)
		return len;
	memmove(buf + at, buf + at + size, len - at - size);
	return len - size;
}

/* Copy one TLV in front of another, which is also how they change places. */
static size_t copy_tlv(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	static u8 tlv[MF_FUZZ_MAX];
	size_t size, other, from = find_tlv(rng, buf, len, &size);
	size_t to = find_tlv(rng, buf, len, &other);

	if (!from || len + size > max)
		return len;
	memcpy(tlv, buf + from, size);
	memmove(buf + to + size, buf + to, len - to);
	memcpy(buf + to, tlv, size);
	return len + size;
}

/* The payload of another message under this header, or its rear behind our front. */
static size_t splice(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	static u8 other[MF_FUZZ_MAX];
	size_t n = mf_fuzz_seed(mf_rng_below(rng, 32), other);
	size_t at, from;

	if (!n || !len)
		return len;
	at = mf_rng_below(rng, 2) ? mf_min(MF_WIRE_HEADER_BYTES, len) : mf_rng_below(rng, len);
	from = mf_rng_below(rng, 2) ? mf_min(MF_WIRE_HEADER_BYTES, n) : mf_rng_below(rng, n);
	n = mf_min(n - from, max - at);
	memcpy(buf + at, other + from, n);
	return at + n;
}

size_t mf_mutate(struct mf_rng *rng, u8 *buf, size_t len, size_t max)
{
	static size_t (*const ways[])(struct mf_rng *, u8 *, size_t, size_t) = {
		flip_bit, flip_bit, set_int,  set_int,	cut,	grow,
		edit_tlv, edit_tlv, drop_tlv, copy_tlv, splice,
	};
	u64 n = 1 + mf_rng_below(rng, 4);

	while (n--)
		len = ways[mf_rng_below(rng, ARRAY_SIZE(ways))](rng, buf, len, max);
	/* mostly let the header agree, so that more than its length check is reached */
	if (len >= MF_WIRE_HEADER_BYTES && mf_rng_below(rng, 8))
		mf_put_le(buf + 8, len - MF_WIRE_HEADER_BYTES, 4);
	return len;
}
