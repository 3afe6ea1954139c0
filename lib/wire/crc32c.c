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
#define TARGET __attribute__((target("sse4.2,pclmul")))

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

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) && (c & bit_PCLMUL);
}

/*
 * The instruction takes one word a cycle, but gives its result after three: so three lanes
 * side by side, joined in the end. A checksum moves past n bytes of zeros when it is
 * multiplied by x^8n modulo the polynomial. A carry-less product of two reflected numbers
 * is one bit short, and the instruction that reduces it multiplies by x^32: x^(8n - 33) is
 * what stands here, reflected. Three lanes are a page but for 16 bytes.
 */
#define LANE 1360
#define PAST_LANE 0x3f70cc6fu
#define PAST_TWO_LANES 0x5aa1f3cfu

typedef long long v2di __attribute__((vector_size(16)));

TARGET static inline u32 past(u32 crc, u32 by)
{
	v2di a = { crc, 0 }, b = { by, 0 };

	a = __builtin_ia32_pclmulqdq128(a, b, 0);
	return step8(0, (u64)a[0]);
}

TARGET static u32 three_lanes(u32 crc, const u8 *p)
{
	const u64_any *w = (const u64_any *)p;
	u32 second = 0, third = 0;
	size_t i;

	for (i = 0; i < LANE / 8; i++) {
		crc = step8(crc, w[i]);
		second = step8(second, w[i + LANE / 8]);
		third = step8(third, w[i + 2 * LANE / 8]);
	}
	return past(crc, PAST_TWO_LANES) ^ past(second, PAST_LANE) ^ third;
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
#ifdef LANE
	for (; len >= 3 * LANE; len -= 3 * LANE, p += 3 * LANE)
		crc = three_lanes(crc, p);
#endif
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
