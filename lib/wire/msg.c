/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "msg.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bytes.h"
#include "fields.h"

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
