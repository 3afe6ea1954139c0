/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two ways to a CRC32C. Callers want mf_crc32c() of msg.h; tests want both. */
#ifndef MF_WIRE_CRC32C_H
#define MF_WIRE_CRC32C_H

#include "base/types.h"

u32 mf_crc32c_table(u32 crc, const void *data, size_t len);
/* Only where mf_crc32c_has_cpu(). */
u32 mf_crc32c_cpu(u32 crc, const void *data, size_t len);
bool mf_crc32c_has_cpu(void);

#endif /* MF_WIRE_CRC32C_H */
