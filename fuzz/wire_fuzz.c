/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeds bytes to the header decoder and to the decoders of every message, whatever type
 * the header says. What is accepted must encode, and decode and encode again to the same
 * bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "wire/any.h"

u64 mf_fuzz_accepted;

#define CHECK(cond)                                                                            \
	do {                                                                                   \
		if (!(cond)) {                                                                 \
			fprintf(stderr, "wire_fuzz: line %d: %s\n", __LINE__, #cond);          \
			abort();                                                               \
		}                                                                              \
	} while (0)

static union mf_any first, second;
static u8 once[MF_ANY_FRAME_BYTES], twice[MF_ANY_FRAME_BYTES];

static bool terminated(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

/* What the receivers take for granted. */
static void check_promises(u16 type, const union mf_any *m)
{
	switch (type) {
	case MF_MSG_WELCOME:
		CHECK(terminated(m->welcome.app, sizeof(m->welcome.app)));
		CHECK(terminated(m->welcome.cgroup, sizeof(m->welcome.cgroup)));
		break;
	case MF_MSG_REGIONS:
		CHECK(m->regions.count >= 1 && m->regions.count <= MF_WIRE_REGIONS_PER_FRAME);
		for (u32 i = 0; i < m->regions.count; i++) {
			const struct mf_msg_region *r = &m->regions.region[i];

			CHECK(mf_wire_name_ok(r->name));
			CHECK(r->len && r->addr + r->len > r->addr);
			CHECK(r->page_size >= 4096 && !(r->page_size & (r->page_size - 1)));
			CHECK(!((r->addr | r->len) & (r->page_size - 1)));
		}
		break;
	case MF_MSG_MAPPED:
		CHECK(m->mapped.count <= MF_WIRE_REGIONS_PER_FRAME);
		break;
	case MF_MSG_FDS:
		CHECK(m->fds.count >= 1 && m->fds.count <= MF_WIRE_FDS_PER_FRAME);
		for (u32 i = 0; i < m->fds.count; i++)
			CHECK(mf_wire_name_ok(m->fds.name[i]));
		break;
	case MF_MSG_ABORT:
		CHECK(m->abort.error > 0 && m->abort.error <= 4095);
		CHECK(terminated(m->abort.text, sizeof(m->abort.text)));
		break;
	case MF_MSG_PAGE:
		CHECK(m->page.len && m->page.offset + m->page.len > m->page.offset);
		break;
	default:
		break;
	}
}

static void decode_as(u16 type, const struct mf_wire_header *h, const u8 *payload, size_t len)
{
	struct mf_wire_header h2;
	int n, again;

	if (mf_any_decode(type, payload, len, &first))
		return;
	mf_fuzz_accepted++;
	check_promises(type, &first);
	n = mf_any_encode(type, once, sizeof(once), h, &first);
	CHECK(n >= MF_WIRE_HEADER_BYTES);
	CHECK(mf_wire_get_header(once, (size_t)n, &h2) == 0);
	CHECK(h2.type == type && h2.epoch == h->epoch && h2.seq == h->seq);
	CHECK(type == MF_MSG_PAGE || h2.len == (u32)n - MF_WIRE_HEADER_BYTES);
	CHECK(mf_any_decode(type, once + MF_WIRE_HEADER_BYTES, h2.len, &second) == 0);
	again = mf_any_encode(type, twice, sizeof(twice), h, &second);
	CHECK(again == n);
	CHECK(!memcmp(once, twice, (size_t)n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mf_wire_header h = { 0 };
	const struct mf_wire_header other = { .version = 1, .epoch = 3, .seq = 4 };
	size_t left;

	if (size > MF_FUZZ_MAX)
		return 0;
	if (mf_wire_get_header(data, size, &h) == 0) {
		u8 same[MF_WIRE_HEADER_BYTES];

		mf_wire_put_header(same, &h);
		CHECK(!memcmp(same, data, sizeof(same)));
		CHECK(strcmp(mf_wire_type_name(h.type), "?") != 0);
	}
	if (size < MF_WIRE_HEADER_BYTES)
		return 0;
	left = size - MF_WIRE_HEADER_BYTES;
	data += MF_WIRE_HEADER_BYTES;
	/* the fixed part of a page is at hand before its bytes are */
	if (h.type == MF_MSG_PAGE && h.len > left && left >= MF_WIRE_PAGE_FIXED_BYTES)
		decode_as(MF_MSG_PAGE, &other, data, h.len);
	for (u16 t = MF_MSG_HELLO; t <= (u16)MF_MSG_DRAINED; t++)
		decode_as(t, &other, data, left);
	return 0;
}

size_t mf_fuzz_seed(size_t i, u8 *buf)
{
	static const u16 empty[] = { MF_MSG_QUIESCE, MF_MSG_COMMITTED, MF_MSG_COMMIT,
				     MF_MSG_DRAINED };
	const struct mf_wire_header h = { .version = 1, .epoch = 1, .seq = i };
	static union mf_any m;
	u16 type;
	int n;

	if (i < ARRAY_SIZE(empty)) {
		n = mf_wire_encode_empty(buf, MF_FUZZ_MAX, &h, empty[i]);
	} else {
		if (!mf_any_sample(i - ARRAY_SIZE(empty), &type, &m))
			return 0;
		n = mf_any_encode(type, buf, MF_FUZZ_MAX, &h, &m);
	}
	CHECK(n > 0);
	return (size_t)n;
}
