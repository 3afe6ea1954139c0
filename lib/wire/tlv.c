/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tlv.h"

#include <asm/errno.h>

#include "base/mem.h"
#include "bytes.h"

#include "base/faultpath.h"

static bool name_char(u8 c)
{
	return c >= 0x20 && c <= 0x7e;
}

bool mf_wire_name_ok(const char *name)
{
	size_t n = mf_str_len(name, MF_WIRE_NAME_MAX);

	if (n == 0 || n == MF_WIRE_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!name_char((u8)name[i]))
			return false;
	return true;
}

bool mf_tlv_get_name(char dst[MF_WIRE_NAME_MAX], const u8 *value, size_t len)
{
	if (len == 0 || len >= MF_WIRE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!name_char(value[i]))
			return false;
	mf_mem_copy(dst, value, len);
	dst[len] = '\0';
	return true;
}

/*
 * Texts end up on terminals and in logs: what the other side wrote must not be able to
 * do anything there.
 */
static bool get_text(char dst[MF_WIRE_TEXT_MAX], const u8 *value, size_t len)
{
	if (len >= MF_WIRE_TEXT_MAX || mf_str_len((const char *)value, len) < len)
		return false;
	for (size_t i = 0; i < len; i++)
		dst[i] = value[i] < 0x20 || value[i] == 0x7f ? '?' : (char)value[i];
	dst[len] = '\0';
	return true;
}

/* --------------------------------------------------------------- encoding */

struct writer {
	u8 *buf;
	size_t size;
	size_t n;
	int err; /* the first one sticks */
};

static void put_tlv(struct writer *w, u16 tlv, u16 flags, const void *value, size_t len)
{
	size_t padded = mf_align_up(len, 8);
	u8 *p = w->buf + w->n;

	if (w->err)
		return;
	if (len > MF_WIRE_MAX_PAGE || w->size - w->n < MF_TLV_HEADER_BYTES + padded) {
		w->err = -EMSGSIZE;
		return;
	}
	mf_put_le(p, tlv, 2);
	mf_put_le(p + 2, flags, 2);
	mf_put_le(p + 4, len, 4);
	p += MF_TLV_HEADER_BYTES;
	if (len)
		mf_mem_copy(p, value, len);
	mf_mem_zero(p + len, padded - len);
	w->n += MF_TLV_HEADER_BYTES + padded;
}

static void put_int(struct writer *w, u16 tlv, u64 v, size_t bytes)
{
	u8 le[8];

	mf_put_le(le, v, bytes);
	put_tlv(w, tlv, MF_TLV_CRITICAL, le, bytes);
}

static u32 u32_at(const void *m, size_t at)
{
	u32 v;

	mf_mem_copy(&v, (const u8 *)m + at, sizeof(v));
	return v;
}

static void put_text(struct writer *w, u16 tlv, const char *text)
{
	size_t n = mf_str_len(text, MF_WIRE_TEXT_MAX);

	if (n == MF_WIRE_TEXT_MAX)
		w->err = w->err ? w->err : -EINVAL;
	else if (n)
		put_tlv(w, tlv, 0, text, n);
}

static void put_name(struct writer *w, u16 tlv, const char *name)
{
	if (mf_wire_name_ok(name))
		put_tlv(w, tlv, MF_TLV_CRITICAL, name, mf_str_len(name, MF_WIRE_NAME_MAX));
	else
		w->err = w->err ? w->err : -EINVAL;
}

static void put_field(struct writer *w, const struct mf_tlv_field *f, const void *m)
{
	const u8 *p = (const u8 *)m + f->at;
	const u8 *data;
	bool has;
	u16 v16;
	u64 v64;

	switch (f->kind) {
	case MF_TLV_U16:
		mf_mem_copy(&v16, p, sizeof(v16));
		put_int(w, f->tlv, v16, 2);
		break;
	case MF_TLV_U32:
	case MF_TLV_S32:
		put_int(w, f->tlv, u32_at(m, f->at), 4);
		break;
	case MF_TLV_U64:
		mf_mem_copy(&v64, p, sizeof(v64));
		put_int(w, f->tlv, v64, 8);
		break;
	case MF_TLV_NAME:
		put_name(w, f->tlv, (const char *)p);
		break;
	case MF_TLV_TEXT:
		put_text(w, f->tlv, (const char *)p);
		break;
	case MF_TLV_TOKEN:
		mf_mem_copy(&has, (const u8 *)m + f->aux, sizeof(has));
		if (has)
			put_tlv(w, f->tlv, MF_TLV_CRITICAL, p, MF_TLV_TOKEN_BYTES);
		break;
	case MF_TLV_DATA:
		mf_mem_copy(&data, p, sizeof(data));
		put_tlv(w, f->tlv, MF_TLV_CRITICAL, data, u32_at(m, f->aux));
		break;
	}
}

static void put_list(struct writer *w, const struct mf_tlv_list *list, const void *m)
{
	u32 count = u32_at(m, list->count_at);
	u8 value[MF_TLV_ITEM_MAX];

	for (u32 i = 0; i < count && !w->err; i++) {
		size_t n = list->put(value, m, i);

		if (n)
			put_tlv(w, list->tlv, MF_TLV_CRITICAL, value, n);
		else
			w->err = -EINVAL;
	}
}

int mf_tlv_encode(const struct mf_tlv_msg *d, u8 *buf, size_t size,
		  const struct mf_wire_header *h, const void *m)
{
	struct mf_wire_header out = *h;
	struct writer w = { .n = MF_WIRE_HEADER_BYTES, .buf = buf, .size = size };
	s64 max = mf_wire_max_payload(d->type);

	/* the count is judged first: everything after it goes through the items */
	if (d->list && u32_at(m, d->list->count_at) > d->list->max)
		return -EINVAL;
	if (!d->ok(m))
		return -EINVAL;
	if (size < MF_WIRE_HEADER_BYTES)
		return -EMSGSIZE;
	for (size_t i = 0; i < d->n_fields; i++)
		put_field(&w, &d->field[i], m);
	if (d->list)
		put_list(&w, d->list, m);
	if (w.err)
		return w.err;
	if ((s64)(w.n - MF_WIRE_HEADER_BYTES) > max)
		return -EMSGSIZE;
	out.type = d->type;
	out.len = (u32)(w.n - MF_WIRE_HEADER_BYTES);
	mf_wire_put_header(buf, &out);
	return (int)w.n;
}

/* --------------------------------------------------------------- decoding */

struct tlv {
	u16 type;
	u16 flags;
	u32 len;
	const u8 *value;
};

/* The next TLV of what is left; both ends move. */
static int next_tlv(const u8 **p, size_t *left, struct tlv *ret)
{
	size_t padded;

	if (*left < MF_TLV_HEADER_BYTES)
		return -EBADMSG;
	ret->type = (u16)mf_get_le(*p, 2);
	ret->flags = (u16)mf_get_le(*p + 2, 2);
	ret->len = (u32)mf_get_le(*p + 4, 4);
	ret->value = *p + MF_TLV_HEADER_BYTES;
	*left -= MF_TLV_HEADER_BYTES;
	if (ret->len > *left || (ret->flags & ~MF_TLV_CRITICAL))
		return -EBADMSG;
	padded = mf_align_up(ret->len, 8);
	if (padded > *left)
		return -EBADMSG;
	for (size_t i = ret->len; i < padded; i++)
		if (ret->value[i])
			return -EBADMSG;
	*p = ret->value + padded;
	*left -= padded;
	return 0;
}

static bool get_int(void *dst, size_t bytes, const struct tlv *t)
{
	u64 v;
	u32 v32;
	u16 v16;

	if (t->len != bytes)
		return false;
	v = mf_get_le(t->value, bytes);
	v32 = (u32)v;
	v16 = (u16)v;
	mf_mem_copy(dst,
		    bytes == 8	 ? (void *)&v
		    : bytes == 4 ? (void *)&v32
				 : (void *)&v16,
		    bytes);
	return true;
}

static bool get_field(const struct mf_tlv_field *f, const struct tlv *t, void *m)
{
	u8 *p = (u8 *)m + f->at;
	const bool has = true;

	switch (f->kind) {
	case MF_TLV_U16:
		return get_int(p, 2, t);
	case MF_TLV_U32:
	case MF_TLV_S32:
		return get_int(p, 4, t);
	case MF_TLV_U64:
		return get_int(p, 8, t);
	case MF_TLV_NAME:
		return mf_tlv_get_name((char *)p, t->value, t->len);
	case MF_TLV_TEXT:
		return get_text((char *)p, t->value, t->len);
	case MF_TLV_TOKEN:
		if (t->len != MF_TLV_TOKEN_BYTES)
			return false;
		mf_mem_copy(p, t->value, t->len);
		mf_mem_copy((u8 *)m + f->aux, &has, sizeof(has));
		return true;
	case MF_TLV_DATA:
		mf_mem_copy(p, &t->value, sizeof(t->value));
		mf_mem_copy((u8 *)m + f->aux, &t->len, sizeof(t->len));
		return true;
	}
	return false;
}

static const struct mf_tlv_field *find(const struct mf_tlv_msg *d, u16 tlv)
{
	for (size_t i = 0; i < d->n_fields; i++)
		if (d->field[i].tlv == tlv)
			return &d->field[i];
	return NULL;
}

/* @seen: bit per field of the table. @n: list items so far. */
static int take(const struct mf_tlv_msg *d, const struct tlv *t, void *m, u32 *seen, u32 *n)
{
	const struct mf_tlv_field *f = find(d, t->type);
	u32 bit;

	if (f) {
		bit = (u32)1 << (f - d->field);
		if (*seen & bit)
			return -EBADMSG;
		*seen |= bit;
		return get_field(f, t, m) ? 0 : -EBADMSG;
	}
	if (d->list && t->type == d->list->tlv) {
		if (*n >= d->list->max || !d->list->get(m, *n, t->value, t->len))
			return -EBADMSG;
		(*n)++;
		return 0;
	}
	return t->flags & MF_TLV_CRITICAL ? -EPROTO : 0;
}

int mf_tlv_decode(const struct mf_tlv_msg *d, const u8 *payload, size_t len, void *ret_m)
{
	u32 seen = 0, n = 0;

	if ((s64)len > mf_wire_max_payload(d->type))
		return -EBADMSG;
	mf_mem_zero(ret_m, d->size);
	while (len) {
		struct tlv t;
		int r = next_tlv(&payload, &len, &t);

		if (!r)
			r = take(d, &t, ret_m, &seen, &n);
		if (r)
			return r;
	}
	for (size_t i = 0; i < d->n_fields; i++)
		if (d->field[i].required && !(seen & (u32)1 << i))
			return -EPROTO;
	if (d->list && u32_at(ret_m, d->list->count_at) != n)
		return -EBADMSG;
	return d->ok(ret_m) ? 0 : -EBADMSG;
}
