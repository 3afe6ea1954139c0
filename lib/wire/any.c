/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "any.h"

#include <errno.h>
#include <string.h>

#define ADAPT(name)                                                                            \
	static int encode_##name(u8 *buf, size_t size, const struct mf_wire_header *h,         \
				 const union mf_any *m)                                        \
	{                                                                                      \
		return mf_wire_encode_##name(buf, size, h, &m->name);                          \
	}                                                                                      \
	static int decode_##name(const u8 *payload, size_t len, union mf_any *ret_m)           \
	{                                                                                      \
		return mf_wire_decode_##name(payload, len, &ret_m->name);                      \
	}

ADAPT(hello)
ADAPT(welcome)
ADAPT(regions)
ADAPT(mapped)
ADAPT(ready)
ADAPT(state)
ADAPT(fds)
ADAPT(abort)
ADAPT(urgent)
ADAPT(page_req)
ADAPT(ack)
ADAPT(page)
ADAPT(blob)

struct codec {
	size_t size;
	int (*encode)(u8 *buf, size_t size, const struct mf_wire_header *h,
		      const union mf_any *m);
	int (*decode)(const u8 *payload, size_t len, union mf_any *ret_m);
};

#define CODEC(name)                                                                            \
	{                                                                                      \
		sizeof(struct mf_msg_##name), encode_##name, decode_##name                     \
	}

static const struct codec codecs[] = {
	[MF_MSG_HELLO] = CODEC(hello),	   [MF_MSG_WELCOME] = CODEC(welcome),
	[MF_MSG_REGIONS] = CODEC(regions), [MF_MSG_MAPPED] = CODEC(mapped),
	[MF_MSG_READY] = CODEC(ready),	   [MF_MSG_STATE] = CODEC(state),
	[MF_MSG_FDS] = CODEC(fds),	   [MF_MSG_ABORT] = CODEC(abort),
	[MF_MSG_URGENT] = CODEC(urgent),   [MF_MSG_PAGE_REQ] = CODEC(page_req),
	[MF_MSG_ACK] = CODEC(ack),	   [MF_MSG_PAGE] = CODEC(page),
	[MF_MSG_BLOB] = CODEC(blob),
};

static const struct codec *codec_of(u16 type)
{
	return type < ARRAY_SIZE(codecs) && codecs[type].encode ? &codecs[type] : NULL;
}

int mf_any_encode(u16 type, u8 *buf, size_t size, const struct mf_wire_header *h,
		  const union mf_any *m)
{
	const struct codec *c = codec_of(type);

	return c ? c->encode(buf, size, h, m) : -ENOENT;
}

int mf_any_decode(u16 type, const u8 *payload, size_t len, union mf_any *ret_m)
{
	const struct codec *c = codec_of(type);

	return c ? c->decode(payload, len, ret_m) : -ENOENT;
}

size_t mf_any_size(u16 type)
{
	const struct codec *c = codec_of(type);

	return c ? c->size : 0;
}

/* ---------------------------------------------------------------- samples */

static void longest_name(char name[MF_WIRE_NAME_MAX], u32 i)
{
	memset(name, '~', MF_WIRE_NAME_MAX - 1);
	for (size_t k = 0; k < 8; k++, i >>= 4)
		name[k] = "0123456789abcdef"[i & 15];
}

static void hello_least(union mf_any *m)
{
	m->hello.ver_min = 1;
	m->hello.ver_max = 1;
	m->hello.page_size = 4096;
	strcpy(m->hello.app, "a");
}

static void hello_most(union mf_any *m)
{
	m->hello.ver_min = 1;
	m->hello.ver_max = UINT16_MAX;
	m->hello.page_size = 1u << 31;
	m->hello.features = UINT64_MAX;
	longest_name(m->hello.app, UINT32_MAX);
	m->hello.has_token = true;
	memset(m->hello.token, 0xff, sizeof(m->hello.token));
}

static void welcome_least(union mf_any *m)
{
	m->welcome.version = MF_WIRE_VERSION_MIN;
	m->welcome.page_size = 4096;
	m->welcome.timeout_ms = 1;
	strcpy(m->welcome.app, " ");
}

static void welcome_most(union mf_any *m)
{
	m->welcome.version = MF_WIRE_VERSION_MAX;
	m->welcome.page_size = 65536;
	m->welcome.features = UINT64_MAX;
	m->welcome.epoch = UINT64_MAX;
	m->welcome.timeout_ms = UINT32_MAX;
	m->welcome.n_regions = MF_WIRE_MAX_REGIONS;
	m->welcome.app_version = UINT32_MAX;
	m->welcome.source_pid = INT32_MAX;
	m->welcome.memory_needed = UINT64_MAX;
	longest_name(m->welcome.app, 0);
	memset(m->welcome.cgroup, 'c', MF_WIRE_TEXT_MAX - 1);
}

static void regions_least(union mf_any *m)
{
	struct mf_msg_region *r = m->regions.region;

	m->regions.count = 1;
	r->kind = MF_WIRE_ANON;
	r->addr = r->len = r->page_size = 4096;
	strcpy(r->name, "r");
}

static void regions_most(union mf_any *m)
{
	const u32 n = m->regions.count = MF_WIRE_REGIONS_PER_FRAME;

	for (u32 i = 0; i < n; i++) {
		struct mf_msg_region *r = &m->regions.region[i];

		r->index = MF_WIRE_MAX_REGIONS - n + i;
		r->kind = MF_WIRE_ANON + i % 3;
		r->flags = i & 0x7f & ~(i & MF_WIRE_REGION_THP ? MF_WIRE_REGION_NOTHP : 0);
		r->prot = i % 8;
		r->page_size = (u64)4096 << (i % 2 * 9);
		r->addr = UINT64_MAX - (u64)(n - i) * (8 << 20) + 1;
		r->len = (u64)4 << 20;
		if (r->kind == MF_WIRE_SHARED_FD)
			r->fd_offset = (u64)1 << 62;
		longest_name(r->name, i);
	}
}

static void mapped_least(union mf_any *m)
{
	m->mapped.count = 0; /* no regions at all: descriptors alone go along */
}

static void mapped_most(union mf_any *m)
{
	m->mapped.count = MF_WIRE_REGIONS_PER_FRAME;
	m->mapped.more = 1;
	m->mapped.placement = UINT32_MAX;
	for (u32 i = 0; i < MF_WIRE_REGIONS_PER_FRAME; i++) {
		m->mapped.index[i] = i * 4096;
		m->mapped.addr[i] = UINT64_MAX - 4095 - (u64)i * 4096;
	}
}

static void ready_most(union mf_any *m)
{
	m->ready.ferry_pid = INT32_MAX;
}

static void state_least(union mf_any *m)
{
	m->state.len = 0;
}

static void state_most(union mf_any *m)
{
	m->state.len = INT64_MAX;
	m->state.n_fds = UINT32_MAX;
}

static void fds_least(union mf_any *m)
{
	m->fds.count = 1;
	strcpy(m->fds.name[0], "!");
}

static void fds_most(union mf_any *m)
{
	m->fds.count = MF_WIRE_FDS_PER_FRAME;
	for (u32 i = 0; i < MF_WIRE_FDS_PER_FRAME; i++)
		longest_name(m->fds.name[i], i);
}

static void abort_least(union mf_any *m)
{
	m->abort.error = 1;
}

static void abort_most(union mf_any *m)
{
	m->abort.error = 4095;
	memset(m->abort.text, 0xe4, MF_WIRE_TEXT_MAX - 1);
}

static void urgent_least(union mf_any *m)
{
	m->urgent.has_token = false;
}

static void urgent_most(union mf_any *m)
{
	m->urgent.has_token = true;
	memset(m->urgent.token, 0xa5, sizeof(m->urgent.token));
}

static void page_req_most(union mf_any *m)
{
	m->page_req = (struct mf_msg_page_req){ MF_WIRE_MAX_REGIONS - 1, UINT32_MAX,
						UINT64_MAX - 2 * 4096 + 1, 4096 };
}

static void ack_most(union mf_any *m)
{
	m->ack.region = MF_WIRE_MAX_REGIONS - 1;
	m->ack.len = UINT64_MAX - 4095;
}

static void page_hole(union mf_any *m)
{
	m->page.flags = MF_WIRE_PAGE_ZERO;
	m->page.len = UINT64_MAX - 4095;
}

static void page_lost(union mf_any *m)
{
	m->page.flags = MF_WIRE_PAGE_POISON | MF_WIRE_PAGE_URGENT;
	m->page.offset = 4096;
	m->page.len = 4096;
}

static void page_most(union mf_any *m)
{
	m->page.region = MF_WIRE_MAX_REGIONS - 1;
	m->page.flags = MF_WIRE_PAGE_URGENT;
	m->page.offset = (u64)1 << 40;
	m->page.len = (u64)2 << 20;
	m->page.crc = UINT32_MAX;
}

static const u8 blob_bytes[MF_WIRE_BLOB_BYTES] = { 0x4d, [MF_WIRE_BLOB_BYTES - 1] = 0x46 };

static void blob_least(union mf_any *m)
{
	m->blob = (struct mf_msg_blob){ .len = 1, .data = blob_bytes };
}

static void blob_most(union mf_any *m)
{
	m->blob.offset = UINT64_MAX - MF_WIRE_BLOB_BYTES;
	m->blob.crc = UINT32_MAX;
	m->blob.len = MF_WIRE_BLOB_BYTES;
	m->blob.data = blob_bytes;
}

static const struct {
	u16 type;
	void (*fill)(union mf_any *m);
} samples[] = {
	{ MF_MSG_HELLO, hello_least },	   { MF_MSG_HELLO, hello_most },
	{ MF_MSG_WELCOME, welcome_least }, { MF_MSG_WELCOME, welcome_most },
	{ MF_MSG_REGIONS, regions_least }, { MF_MSG_REGIONS, regions_most },
	{ MF_MSG_MAPPED, mapped_least },   { MF_MSG_MAPPED, mapped_most },
	{ MF_MSG_READY, ready_most },	   { MF_MSG_STATE, state_least },
	{ MF_MSG_STATE, state_most },	   { MF_MSG_FDS, fds_least },
	{ MF_MSG_FDS, fds_most },	   { MF_MSG_ABORT, abort_least },
	{ MF_MSG_ABORT, abort_most },	   { MF_MSG_URGENT, urgent_least },
	{ MF_MSG_URGENT, urgent_most },	   { MF_MSG_PAGE_REQ, page_req_most },
	{ MF_MSG_ACK, ack_most },	   { MF_MSG_PAGE, page_hole },
	{ MF_MSG_PAGE, page_lost },	   { MF_MSG_PAGE, page_most },
	{ MF_MSG_BLOB, blob_least },	   { MF_MSG_BLOB, blob_most },
};

bool mf_any_sample(size_t i, u16 *ret_type, union mf_any *ret_m)
{
	if (i >= ARRAY_SIZE(samples))
		return false;
	memset(ret_m, 0, sizeof(*ret_m));
	*ret_type = samples[i].type;
	samples[i].fill(ret_m);
	return true;
}
