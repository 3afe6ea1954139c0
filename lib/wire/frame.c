/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <asm/errno.h>

#include "bytes.h"
#include "msg.h"

#include "base/faultpath.h"

/* byte offsets in the header */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_TYPE = 6,
	AT_LEN = 8,
	AT_RESERVED = 12,
	AT_EPOCH = 16,
	AT_SEQ = 24,
};

static const struct {
	const char *name;
	u32 max_payload;
} types[] = {
	[MF_MSG_HELLO] = { "HELLO", MF_WIRE_MAX_CONTROL },
	[MF_MSG_WELCOME] = { "WELCOME", MF_WIRE_MAX_CONTROL },
	[MF_MSG_REGIONS] = { "REGIONS", MF_WIRE_MAX_CONTROL },
	[MF_MSG_MAPPED] = { "MAPPED", MF_WIRE_MAX_CONTROL },
	[MF_MSG_READY] = { "READY", MF_WIRE_MAX_CONTROL },
	[MF_MSG_QUIESCE] = { "QUIESCE", 0 },
	[MF_MSG_STATE] = { "STATE", MF_WIRE_MAX_CONTROL },
	[MF_MSG_FDS] = { "FDS", MF_WIRE_MAX_CONTROL },
	[MF_MSG_COMMITTED] = { "COMMITTED", 0 },
	[MF_MSG_ABORT] = { "ABORT", MF_WIRE_MAX_CONTROL },
	[MF_MSG_URGENT] = { "URGENT", MF_WIRE_MAX_CONTROL },
	[MF_MSG_COMMIT] = { "COMMIT", 0 },
	[MF_MSG_PAGE_REQ] = { "PAGE_REQ", MF_WIRE_MAX_CONTROL },
	[MF_MSG_PAGE] = { "PAGE", MF_WIRE_MAX_PAGE },
	[MF_MSG_ACK] = { "ACK", MF_WIRE_MAX_CONTROL },
	[MF_MSG_BLOB] = { "BLOB", MF_WIRE_MAX_CONTROL },
	[MF_MSG_DRAINED] = { "DRAINED", 0 },
};

static bool known(u16 type)
{
	return type < ARRAY_SIZE(types) && types[type].name;
}

s64 mf_wire_max_payload(u16 type)
{
	return known(type) ? (s64)types[type].max_payload : -1;
}

const char *mf_wire_type_name(u16 type)
{
	return known(type) ? types[type].name : "?";
}

void mf_wire_put_header(u8 *buf, const struct mf_wire_header *h)
{
	mf_put_le(buf + AT_MAGIC, MF_WIRE_MAGIC, 4);
	mf_put_le(buf + AT_VERSION, h->version, 2);
	mf_put_le(buf + AT_TYPE, h->type, 2);
	mf_put_le(buf + AT_LEN, h->len, 4);
	mf_put_le(buf + AT_RESERVED, 0, 4);
	mf_put_le(buf + AT_EPOCH, h->epoch, 8);
	mf_put_le(buf + AT_SEQ, h->seq, 8);
}

int mf_wire_get_header(const u8 *buf, size_t n, struct mf_wire_header *ret_h)
{
	struct mf_wire_header h;

	if (n < MF_WIRE_HEADER_BYTES)
		return -EPROTO;
	if (mf_get_le(buf + AT_MAGIC, 4) != MF_WIRE_MAGIC || mf_get_le(buf + AT_RESERVED, 4))
		return -EPROTO;
	h.version = (u16)mf_get_le(buf + AT_VERSION, 2);
	h.type = (u16)mf_get_le(buf + AT_TYPE, 2);
	h.len = (u32)mf_get_le(buf + AT_LEN, 4);
	h.epoch = mf_get_le(buf + AT_EPOCH, 8);
	h.seq = mf_get_le(buf + AT_SEQ, 8);

	/* before the type: another version may well have types that we do not know */
	if (h.type != MF_MSG_HELLO &&
	    (h.version < MF_WIRE_VERSION_MIN || h.version > MF_WIRE_VERSION_MAX))
		return -EPROTONOSUPPORT;
	if (!known(h.type))
		return -EPROTO;
	if (h.len > types[h.type].max_payload)
		return -EMSGSIZE;
	*ret_h = h;
	return 0;
}

int mf_wire_encode_empty(u8 *buf, size_t size, const struct mf_wire_header *h, u16 type)
{
	struct mf_wire_header out = *h;

	if (!known(type) || types[type].max_payload)
		return -EINVAL;
	if (size < MF_WIRE_HEADER_BYTES)
		return -EMSGSIZE;
	out.type = type;
	out.len = 0;
	mf_wire_put_header(buf, &out);
	return MF_WIRE_HEADER_BYTES;
}
