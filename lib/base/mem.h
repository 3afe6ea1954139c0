/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What memcpy(), memset() and strlen() do, for code that may not call libc. */
#ifndef MF_BASE_MEM_H
#define MF_BASE_MEM_H

#include "types.h"

static inline void mf_mem_copy(void *dst, const void *src, size_t len)
{
#if defined(__x86_64__) && !defined(__clang_analyzer__)
	/* one instruction that the processor does in cache lines */
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(len) : : "memory");
#else
	const u8 *from = src;
	u8 *to = dst;

	while (len--)
		*to++ = *from++;
#endif
}

static inline void mf_mem_zero(void *dst, size_t len)
{
	u8 *to = dst;

	while (len--)
		*to++ = 0;
}

/* At most @max */
static inline size_t mf_str_len(const char *text, size_t max)
{
	size_t n = 0;

	while (n < max && text[n])
		n++;
	return n;
}

#endif /* MF_BASE_MEM_H */
