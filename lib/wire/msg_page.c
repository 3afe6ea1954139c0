/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages that ferry tasks exchange over TCP: PAGE_REQ, PAGE and ACK. They run on the
 * fault path, as do the coders below them (frame.c, tlv.c).
 */
#include <asm/errno.h>

#include "bytes.h"
#include "fields.h"
#include "msg.h"

#include "base/faultpath.h"

/* ---------------------------------------------------------- PAGE_REQ, ACK */

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
