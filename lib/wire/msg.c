/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "msg.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bytes.h"
#include "tlv.h"

/* A TLV means the same thing in every message. Numbers are never used again. */
enum {
	TLV_VER_MIN = 1,
	TLV_VER_MAX = 2,
	TLV_PAGE_SIZE = 3,
	TLV_FEATURES = 4,
	TLV_APP = 5,
	TLV_TOKEN = 6,
	TLV_VERSION = 7,
	TLV_EPOCH = 8,
	TLV_TIMEOUT_MS = 9,
	TLV_N_REGIONS = 10,
	TLV_APP_VERSION = 11,
	TLV_PID = 12,
	TLV_MEMORY_NEEDED = 13,
	TLV_CGROUP = 14,
	TLV_COUNT = 15,
	TLV_REGION = 16,
	TLV_MAPPING = 17,
	TLV_MORE = 18,
	TLV_PLACEMENT = 19,
	TLV_LEN = 20,
	TLV_N_FDS = 21,
	TLV_FD_NAME = 22,
	TLV_ERROR = 23,
	TLV_TEXT = 24,
	TLV_REGION_INDEX = 25,
	TLV_FLAGS = 26,
	TLV_OFFSET = 27,
	TLV_CRC = 28,
	TLV_DATA = 29,
};

#define NEED(msg, member, tlv, kind)                                                           \
	{                                                                                      \
		TLV_##tlv, MF_TLV_##kind, true, offsetof(struct mf_msg_##msg, member), 0       \
	}
#define MAY(msg, member, tlv, kind)                                                            \
	{                                                                                      \
		TLV_##tlv, MF_TLV_##kind, false, offsetof(struct mf_msg_##msg, member), 0      \
	}
#define MAY_TOKEN(msg)                                                                         \
	{                                                                                      \
		TLV_TOKEN, MF_TLV_TOKEN, false, offsetof(struct mf_msg_##msg, token),          \
			offsetof(struct mf_msg_##msg, has_token)                               \
	}
#define NEED_DATA(msg)                                                                         \
	{                                                                                      \
		TLV_DATA, MF_TLV_DATA, true, offsetof(struct mf_msg_##msg, data),              \
			offsetof(struct mf_msg_##msg, len)                                     \
	}

#define MESSAGE(name, TYPE, list_)                                                             \
	static const struct mf_tlv_msg name##_msg = {                                          \
		.type = MF_MSG_##TYPE,                                                         \
		.n_fields = ARRAY_SIZE(name##_fields),                                         \
		.size = sizeof(struct mf_msg_##name),                                          \
		.field = name##_fields,                                                        \
		.list = (list_),                                                               \
		.ok = name##_ok,                                                               \
	};                                                                                     \
	_Static_assert(ARRAY_SIZE(name##_fields) <= 32, "one bit a field");                    \
	_Static_assert(sizeof(struct mf_msg_##name) <= UINT16_MAX, "offsets are u16");         \
	int mf_wire_encode_##name(u8 *buf, size_t size, const struct mf_wire_header *h,        \
				  const struct mf_msg_##name *m)                               \
	{                                                                                      \
		return mf_tlv_encode(&name##_msg, buf, size, h, m);                            \
	}                                                                                      \
	int mf_wire_decode_##name(const u8 *payload, size_t len, struct mf_msg_##name *ret_m)  \
	{                                                                                      \
		return mf_tlv_decode(&name##_msg, payload, len, ret_m);                        \
	}

static bool page_size_ok(u64 size)
{
	return size >= MF_PAGE_SIZE && (size & (size - 1)) == 0;
}

/* A piece of a region, in whole pages. */
static bool piece_ok(u64 offset, u64 len)
{
	return !mf_range_bad(offset, len) && mf_is_aligned(offset | len, MF_PAGE_SIZE);
}

/* ------------------------------------------------------------------ HELLO */

static const struct mf_tlv_field hello_fields[] = {
	NEED(hello, ver_min, VER_MIN, U16),
	NEED(hello, ver_max, VER_MAX, U16),
	NEED(hello, page_size, PAGE_SIZE, U32),
	NEED(hello, features, FEATURES, U64),
	NEED(hello, app, APP, NAME),
	MAY_TOKEN(hello),
};

static bool hello_ok(const void *p)
{
	const struct mf_msg_hello *m = p;

	return m->ver_min && m->ver_min <= m->ver_max && page_size_ok(m->page_size);
}

MESSAGE(hello, HELLO, NULL)

/* ---------------------------------------------------------------- WELCOME */

static const struct mf_tlv_field welcome_fields[] = {
	NEED(welcome, version, VERSION, U16),
	NEED(welcome, page_size, PAGE_SIZE, U32),
	NEED(welcome, features, FEATURES, U64),
	NEED(welcome, epoch, EPOCH, U64),
	NEED(welcome, timeout_ms, TIMEOUT_MS, U32),
	NEED(welcome, n_regions, N_REGIONS, U32),
	NEED(welcome, app_version, APP_VERSION, U32),
	NEED(welcome, source_pid, PID, S32),
	NEED(welcome, memory_needed, MEMORY_NEEDED, U64),
	NEED(welcome, app, APP, NAME),
	MAY(welcome, cgroup, CGROUP, TEXT),
};

static bool welcome_ok(const void *p)
{
	const struct mf_msg_welcome *m = p;

	return m->version >= MF_WIRE_VERSION_MIN && m->version <= MF_WIRE_VERSION_MAX &&
	       page_size_ok(m->page_size) && m->timeout_ms &&
	       m->n_regions <= MF_WIRE_MAX_REGIONS && m->source_pid >= 0;
}

MESSAGE(welcome, WELCOME, NULL)

/* ---------------------------------------------------------------- REGIONS */

#define REGION_FIXED_BYTES 48
#define REGION_FLAGS                                                                           \
	(MF_WIRE_REGION_RELOCATABLE | MF_WIRE_REGION_THP | MF_WIRE_REGION_NOTHP |              \
	 MF_WIRE_REGION_LOCKED | MF_WIRE_REGION_NORESERVE | MF_WIRE_REGION_DONTFORK |          \
	 MF_WIRE_REGION_DONTDUMP)

static bool region_ok(const struct mf_msg_region *r)
{
	const u32 both = MF_WIRE_REGION_THP | MF_WIRE_REGION_NOTHP;

	if (r->index >= MF_WIRE_MAX_REGIONS || !page_size_ok(r->page_size))
		return false;
	if (r->kind < MF_WIRE_ANON || r->kind > MF_WIRE_SHARED_FD)
		return false;
	if ((r->flags & ~REGION_FLAGS) || (r->flags & both) == both)
		return false;
	if (r->prot & ~(u32)(PROT_READ | PROT_WRITE | PROT_EXEC))
		return false;
	if (!r->addr || mf_range_bad(r->addr, r->len) ||
	    !mf_is_aligned(r->addr | r->len, r->page_size))
		return false;
	if (r->kind != MF_WIRE_SHARED_FD)
		return r->fd_offset == 0;
	return !mf_range_bad(r->fd_offset, r->len) && mf_is_aligned(r->fd_offset, r->page_size);
}

static size_t region_put(u8 *v, const void *p, u32 i)
{
	const struct mf_msg_region *r = &((const struct mf_msg_regions *)p)->region[i];
	size_t n;

	if (!mf_wire_name_ok(r->name))
		return 0;
	mf_put_le(v, r->index, 4);
	mf_put_le(v + 4, r->kind, 4);
	mf_put_le(v + 8, r->flags, 4);
	mf_put_le(v + 12, r->prot, 4);
	mf_put_le(v + 16, r->addr, 8);
	mf_put_le(v + 24, r->len, 8);
	mf_put_le(v + 32, r->page_size, 8);
	mf_put_le(v + 40, r->fd_offset, 8);
	n = strlen(r->name);
	memcpy(v + REGION_FIXED_BYTES, r->name, n);
	return REGION_FIXED_BYTES + n;
}

static bool region_get(void *p, u32 i, const u8 *v, size_t len)
{
	struct mf_msg_region *r = &((struct mf_msg_regions *)p)->region[i];

	if (len < REGION_FIXED_BYTES)
		return false;
	r->index = (u32)mf_get_le(v, 4);
	r->kind = (u32)mf_get_le(v + 4, 4);
	r->flags = (u32)mf_get_le(v + 8, 4);
	r->prot = (u32)mf_get_le(v + 12, 4);
	r->addr = mf_get_le(v + 16, 8);
	r->len = mf_get_le(v + 24, 8);
	r->page_size = mf_get_le(v + 32, 8);
	r->fd_offset = mf_get_le(v + 40, 8);
	return mf_tlv_get_name(r->name, v + REGION_FIXED_BYTES, len - REGION_FIXED_BYTES);
}

static const struct mf_tlv_list regions_list = {
	.tlv = TLV_REGION,
	.max = MF_WIRE_REGIONS_PER_FRAME,
	.count_at = offsetof(struct mf_msg_regions, count),
	.put = region_put,
	.get = region_get,
};

static const struct mf_tlv_field regions_fields[] = {
	NEED(regions, count, COUNT, U32),
};

static bool regions_ok(const void *p)
{
	const struct mf_msg_regions *m = p;

	for (u32 i = 0; i < m->count; i++) {
		if (!region_ok(&m->region[i]))
			return false;
		if (i && m->region[i].index <= m->region[i - 1].index)
			return false;
	}
	return m->count > 0;
}

MESSAGE(regions, REGIONS, &regions_list)

/* ----------------------------------------------------------------- MAPPED */

#define MAPPING_BYTES 16

static size_t mapping_put(u8 *v, const void *p, u32 i)
{
	const struct mf_msg_mapped *m = p;

	mf_put_le(v, m->index[i], 4);
	mf_put_le(v + 4, 0, 4);
	mf_put_le(v + 8, m->addr[i], 8);
	return MAPPING_BYTES;
}

static bool mapping_get(void *p, u32 i, const u8 *v, size_t len)
{
	struct mf_msg_mapped *m = p;

	if (len != MAPPING_BYTES || mf_get_le(v + 4, 4))
		return false;
	m->index[i] = (u32)mf_get_le(v, 4);
	m->addr[i] = mf_get_le(v + 8, 8);
	return true;
}

static const struct mf_tlv_list mapped_list = {
	.tlv = TLV_MAPPING,
	.max = MF_WIRE_REGIONS_PER_FRAME,
	.count_at = offsetof(struct mf_msg_mapped, count),
	.put = mapping_put,
	.get = mapping_get,
};

static const struct mf_tlv_field mapped_fields[] = {
	NEED(mapped, count, COUNT, U32),
	NEED(mapped, more, MORE, U32),
	NEED(mapped, placement, PLACEMENT, U32),
};

static bool mapped_ok(const void *p)
{
	const struct mf_msg_mapped *m = p;

	for (u32 i = 0; i < m->count; i++) {
		if (m->index[i] >= MF_WIRE_MAX_REGIONS || (i && m->index[i] <= m->index[i - 1]))
			return false;
		if (!m->addr[i] || !mf_is_aligned(m->addr[i], MF_PAGE_SIZE))
			return false;
	}
	return m->more <= 1 && (m->count || !m->more);
}

MESSAGE(mapped, MAPPED, &mapped_list)

/* ----------------------------------------------------------- READY, STATE */

static const struct mf_tlv_field ready_fields[] = {
	NEED(ready, ferry_pid, PID, S32),
};

static bool ready_ok(const void *p)
{
	return ((const struct mf_msg_ready *)p)->ferry_pid >= 0;
}

MESSAGE(ready, READY, NULL)

static const struct mf_tlv_field state_fields[] = {
	NEED(state, len, LEN, U64),
	NEED(state, n_fds, N_FDS, U32),
};

static bool state_ok(const void *p)
{
	const struct mf_msg_state *m = p;

	return m->len <= INT64_MAX; /* a file cannot be longer */
}

MESSAGE(state, STATE, NULL)

/* -------------------------------------------------------------------- FDS */

static size_t fd_name_put(u8 *v, const void *p, u32 i)
{
	const char *name = ((const struct mf_msg_fds *)p)->name[i];

	if (!mf_wire_name_ok(name))
		return 0;
	memcpy(v, name, strlen(name));
	return strlen(name);
}

static bool fd_name_get(void *p, u32 i, const u8 *v, size_t len)
{
	return mf_tlv_get_name(((struct mf_msg_fds *)p)->name[i], v, len);
}

static const struct mf_tlv_list fds_list = {
	.tlv = TLV_FD_NAME,
	.max = MF_WIRE_FDS_PER_FRAME,
	.count_at = offsetof(struct mf_msg_fds, count),
	.put = fd_name_put,
	.get = fd_name_get,
};

static const struct mf_tlv_field fds_fields[] = {
	NEED(fds, count, COUNT, U32),
};

static bool fds_ok(const void *p)
{
	return ((const struct mf_msg_fds *)p)->count > 0;
}

MESSAGE(fds, FDS, &fds_list)

/* ------------------------------------------------------------------ ABORT */

static const struct mf_tlv_field abort_fields[] = {
	NEED(abort, error, ERROR, S32),
	MAY(abort, text, TEXT, TEXT),
};

static bool abort_ok(const void *p)
{
	const struct mf_msg_abort *m = p;

	return m->error >= 1 && m->error <= 4095;
}

MESSAGE(abort, ABORT, NULL)

/* -------------------------------------------------------------------- TCP */

static const struct mf_tlv_field urgent_fields[] = {
	MAY_TOKEN(urgent),
};

static bool urgent_ok(const void *p)
{
	return true; /* the epoch is in the header */
}

MESSAGE(urgent, URGENT, NULL)

static const struct mf_tlv_field page_req_fields[] = {
	NEED(page_req, region, REGION_INDEX, U32),
	NEED(page_req, flags, FLAGS, U32),
	NEED(page_req, offset, OFFSET, U64),
	NEED(page_req, len, LEN, U64),
};

static bool page_req_ok(const void *p)
{
	const struct mf_msg_page_req *m = p;

	return m->region < MF_WIRE_MAX_REGIONS && piece_ok(m->offset, m->len);
}

MESSAGE(page_req, PAGE_REQ, NULL)

static const struct mf_tlv_field ack_fields[] = {
	NEED(ack, region, REGION_INDEX, U32),
	NEED(ack, offset, OFFSET, U64),
	NEED(ack, len, LEN, U64),
};

static bool ack_ok(const void *p)
{
	const struct mf_msg_ack *m = p;

	return m->region < MF_WIRE_MAX_REGIONS && piece_ok(m->offset, m->len);
}

MESSAGE(ack, ACK, NULL)

static const struct mf_tlv_field blob_fields[] = {
	NEED(blob, offset, OFFSET, U64),
	NEED(blob, crc, CRC, U32),
	NEED_DATA(blob),
};

static bool blob_ok(const void *p)
{
	const struct mf_msg_blob *m = p;

	return m->data && !mf_range_bad(m->offset, m->len);
}

MESSAGE(blob, BLOB, NULL)

/* ------------------------------------------------------------------- PAGE */

/* Pages are many and their header is small: a fixed layout, no TLVs. */

#define PAGE_NO_BYTES (MF_WIRE_PAGE_ZERO | MF_WIRE_PAGE_POISON)
#define PAGE_DATA_MAX ((u64)MF_WIRE_MAX_PAGE - MF_WIRE_PAGE_FIXED_BYTES)

static bool page_ok(const struct mf_msg_page *m)
{
	u32 none = m->flags & PAGE_NO_BYTES;

	if (m->flags & ~(PAGE_NO_BYTES | MF_WIRE_PAGE_URGENT) || none == PAGE_NO_BYTES)
		return false;
	if (m->region >= MF_WIRE_MAX_REGIONS || !piece_ok(m->offset, m->len))
		return false;
	return none ? m->crc == 0 : m->len <= PAGE_DATA_MAX;
}

static u64 page_bytes_after(const struct mf_msg_page *m)
{
	return m->flags & PAGE_NO_BYTES ? 0 : m->len;
}

int mf_wire_encode_page(u8 *buf, size_t size, const struct mf_wire_header *h,
			const struct mf_msg_page *m)
{
	struct mf_wire_header out = *h;
	u8 *p = buf + MF_WIRE_HEADER_BYTES;

	if (!page_ok(m))
		return -EINVAL;
	if (size < MF_WIRE_HEADER_BYTES + MF_WIRE_PAGE_FIXED_BYTES)
		return -EMSGSIZE;
	out.type = MF_MSG_PAGE;
	out.len = (u32)(MF_WIRE_PAGE_FIXED_BYTES + page_bytes_after(m));
	mf_wire_put_header(buf, &out);
	mf_put_le(p, m->region, 4);
	mf_put_le(p + 4, m->flags, 4);
	mf_put_le(p + 8, m->offset, 8);
	mf_put_le(p + 16, m->len, 8);
	mf_put_le(p + 24, m->crc, 4);
	mf_put_le(p + 28, 0, 4);
	return MF_WIRE_HEADER_BYTES + MF_WIRE_PAGE_FIXED_BYTES;
}

int mf_wire_decode_page(const u8 *payload, size_t len, struct mf_msg_page *ret_m)
{
	struct mf_msg_page m;

	if (len < MF_WIRE_PAGE_FIXED_BYTES || len > MF_WIRE_MAX_PAGE)
		return -EBADMSG;
	m.region = (u32)mf_get_le(payload, 4);
	m.flags = (u32)mf_get_le(payload + 4, 4);
	m.offset = mf_get_le(payload + 8, 8);
	m.len = mf_get_le(payload + 16, 8);
	m.crc = (u32)mf_get_le(payload + 24, 4);
	if (mf_get_le(payload + 28, 4) || !page_ok(&m))
		return -EBADMSG;
	if (len != MF_WIRE_PAGE_FIXED_BYTES + page_bytes_after(&m))
		return -EBADMSG;
	*ret_m = m;
	return 0;
}
