/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a message's struct and its TLVs belong together: what msg.c and msg_page.c write
 * their tables with.
 */
#ifndef MF_WIRE_FIELDS_H
#define MF_WIRE_FIELDS_H

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

static inline bool page_size_ok(u64 size)
{
	return size >= MF_PAGE_SIZE && (size & (size - 1)) == 0;
}

/* A piece of a region, in whole pages. */
static inline bool piece_ok(u64 offset, u64 len)
{
	return !mf_range_bad(offset, len) && mf_is_aligned(offset | len, MF_PAGE_SIZE);
}

#endif /* MF_WIRE_FIELDS_H */
