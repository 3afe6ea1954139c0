/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC32C with the processor's instruction, or a table without it. Ferry tasks call this:
 * no libc, and no indirect function, whose resolver could run in the wrong place.
 */
#include "crc32c.h"
#include "msg.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/faultpath.h"

/*
 * A CRC is linear: the entry of a byte is the exclusive or of the entries of its bits, so
 * eight numbers make the whole table, at compile time.
 */
#define BIT(i, b, entry) (((i) >> (b)) & 1 ? (entry) : 0u)
#define E1(i)                                                                                  \
	(BIT(i, 0, 0xf26b8303u) ^ BIT(i, 1, 0xe13b70f7u) ^ BIT(i, 2, 0xc79a971fu) ^            \
	 BIT(i, 3, 0x8ad958cfu) ^ BIT(i, 4, 0x105ec76fu) ^ BIT(i, 5, 0x20bd8edeu) ^            \
	 BIT(i, 6, 0x417b1dbcu) ^ BIT(i, 7, 0x82f63b78u))
#define E4(i) E1(i), E1((i) + 1), E1((i) + 2), E1((i) + 3)
#define E16(i) E4(i), E4((i) + 4), E4((i) + 8), E4((i) + 12)
#define E64(i) E16(i), E16((i) + 16), E16((i) + 32), E16((i) + 48)

static const u32 table[256] = { E64(0), E64(64), E64(128), E64(192) };

u32 mf_crc32c_table(u32 crc, const void *data, size_t len)
{
	const u8 *p = data;

	crc = ~crc;
	while (len--)
		crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

typedef u64 __attribute__((may_alias, aligned(1))) u64_any;

#if defined(__x86_64__)
#define TARGET __attribute__((target("sse4.2")))

TARGET static inline u32 step8(u32 crc, u64 v)
{
	return (u32)__builtin_ia32_crc32di(crc, v);
}

TARGET static inline u32 step1(u32 crc, u8 v)
{
	return __builtin_ia32_crc32qi(crc, v);
}

static bool cpu_can(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2);
}
#elif defined(__aarch64__)
/* in assembly, because compilers do not agree on what the builtins are called */
#define TARGET

static inline u32 step8(u32 crc, u64 v)
{
	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %1" : "+r"(crc) : "r"(v));
	return crc;
}

static inline u32 step1(u32 crc, u8 v)
{
	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((u32)v));
	return crc;
}

/* The kernel answers this register read for user space, with what is safe to use. */
static bool cpu_can(void)
{
	u64 isar0;

	__asm__("mrs %0, ID_AA64ISAR0_EL1" : "=r"(isar0));
	return ((isar0 >> 16) & 0xf) != 0;
}
#endif

TARGET u32 mf_crc32c_cpu(u32 crc, const void *data, size_t len)
{
	const u8 *p = data;

	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8)
		crc = step8(crc, *(const u64_any *)p);
	while (len--)
		crc = step1(crc, *p++);
	return ~crc;
}

/* Asking the processor traps to a hypervisor (tens of microseconds): ask once. */
bool mf_crc32c_has_cpu(void)
{
	static u32 answer; /* 0: not asked yet, 1: no, 2: yes */
	u32 a = __atomic_load_n(&answer, __ATOMIC_RELAXED);

	if (unlikely(!a)) {
		a = cpu_can() ? 2 : 1;
		__atomic_store_n(&answer, a, __ATOMIC_RELAXED);
	}
	return a == 2;
}

u32 mf_crc32c(u32 crc, const void *data, size_t len)
{
	return mf_crc32c_has_cpu() ? mf_crc32c_cpu(crc, data, len)
				   : mf_crc32c_table(crc, data, len);
}
