/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small words that every room uses. Safe on the fault path. */
#ifndef MF_BASE_TYPES_H
#define MF_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define MF_PAGE_SIZE ((u64)4096)
#define MF_PMD_SIZE ((u64)2 << 20)
#define MF_KIB ((u64)1 << 10)
#define MF_MIB ((u64)1 << 20)

#define MF_NSEC_PER_USEC ((u64)1000)
#define MF_NSEC_PER_MSEC ((u64)1000000)
#define MF_NSEC_PER_SEC ((u64)1000000000)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

static inline u64 mf_min(u64 a, u64 b)
{
	return a < b ? a : b;
}

static inline u64 mf_max(u64 a, u64 b)
{
	return a > b ? a : b;
}

/* @align is a power of two */
static inline u64 mf_align_down(u64 x, u64 align)
{
	return x & ~(align - 1);
}

static inline u64 mf_align_up(u64 x, u64 align)
{
	return (x + align - 1) & ~(align - 1);
}

static inline bool mf_is_aligned(u64 x, u64 align)
{
	return (x & (align - 1)) == 0;
}

/* true if [start, start + len) wraps around or is empty */
static inline bool mf_range_bad(u64 start, u64 len)
{
	u64 end;

	return len == 0 || __builtin_add_overflow(start, len, &end);
}

#define mf_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define mf_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define mf_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)

static inline bool mf_cas32(u32 *p, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(p, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

#endif /* MF_BASE_TYPES_H */
