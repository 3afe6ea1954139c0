/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One encoder and one decoder for every message that is a list of TLVs: a message is a
 * table that says which TLV goes where in its struct, and a function that judges the
 * struct as a whole, in both directions.
 */
#ifndef MF_WIRE_TLV_H
#define MF_WIRE_TLV_H

#include "msg.h"

#define MF_TLV_HEADER_BYTES 8
#define MF_TLV_CRITICAL ((u16)1 << 0) /* who does not know it must refuse the message */
#define MF_TLV_TOKEN_BYTES 16
/* Room for the value of the largest list item. */
#define MF_TLV_ITEM_MAX 128

enum mf_tlv_kind {
	MF_TLV_U16,
	MF_TLV_U32,
	MF_TLV_S32,
	MF_TLV_U64,
	MF_TLV_NAME,  /* char [MF_WIRE_NAME_MAX] */
	MF_TLV_TEXT,  /* char [MF_WIRE_TEXT_MAX]; empty: not sent */
	MF_TLV_TOKEN, /* u8 [16] at .at, sent if the bool at .aux */
	MF_TLV_DATA,  /* const u8 * at .at, its length a u32 at .aux */
};

struct mf_tlv_field {
	u16 tlv;
	u8 kind; /* enum mf_tlv_kind */
	bool required;
	u16 at; /* offset in the struct */
	u16 aux;
};

/* TLVs of one type, repeated; the count goes in a TLV of its own that must agree. */
struct mf_tlv_list {
	u16 tlv;
	u16 max;
	u16 count_at; /* offset of the u32 count */
	/* Write item @i to @value; returns its length, 0: it is not valid. */
	size_t (*put)(u8 *value, const void *m, u32 i);
	bool (*get)(void *m, u32 i, const u8 *value, size_t len);
};

struct mf_tlv_msg {
	u16 type;
	u16 n_fields;
	size_t size;
	const struct mf_tlv_field *field;
	const struct mf_tlv_list *list; /* NULL: none */
	bool (*ok)(const void *m);
};

int mf_tlv_encode(const struct mf_tlv_msg *d, u8 *buf, size_t size,
		  const struct mf_wire_header *h, const void *m);
int mf_tlv_decode(const struct mf_tlv_msg *d, const u8 *payload, size_t len, void *ret_m);

/* A name's bytes, unterminated, into its array. False: it is no name. */
bool mf_tlv_get_name(char dst[MF_WIRE_NAME_MAX], const u8 *value, size_t len);

#endif /* MF_WIRE_TLV_H */
