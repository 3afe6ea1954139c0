/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Little-endian integers at any address, and what frame.c and msg.c share. */
#ifndef MF_WIRE_BYTES_H
#define MF_WIRE_BYTES_H

#include "base/types.h"

static inline void mf_put_le(u8 *p, u64 v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (u8)(v >> (8 * i));
}

static inline u64 mf_get_le(const u8 *p, size_t bytes)
{
	u64 v = 0;

	for (size_t i = 0; i < bytes; i++)
		v |= (u64)p[i] << (8 * i);
	return v;
}

/* The most payload that a frame of this type may have; -1: there is no such type. */
s64 mf_wire_max_payload(u16 type);

#endif /* MF_WIRE_BYTES_H */
