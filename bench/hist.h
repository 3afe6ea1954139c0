/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A latency histogram in fixed memory: plain data, no pointers, so that it may lie in
 * memory shared between processes, be filled from a thread that must not allocate, and
 * be merged by adding. Written here because Debian 12 does not package HdrHistogram_c.
 *
 * Log-linear: values below 256 ns have a slot each, every doubling above has 128 slots,
 * so a value read back is off by less than 0.4 %. Values above 100 s count as 100 s.
 * Not locked: one writer at a time; give each thread its own and merge them.
 */
#ifndef MF_BENCH_HIST_H
#define MF_BENCH_HIST_H

#include <stdint.h>

#define HIST_MAX_NS 100000000000ull /* 100 s, below 2^37 */
#define HIST_SUB_BITS 7
#define HIST_SUB (1u << HIST_SUB_BITS)
#define HIST_SLOTS ((37 - HIST_SUB_BITS + 1) * HIST_SUB)

struct hist {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t min_ns; /* exact; UINT64_MAX while empty */
	uint64_t max_ns; /* exact, even above HIST_MAX_NS */
	uint32_t slot[HIST_SLOTS];
};

void hist_init(struct hist *h);
void hist_record(struct hist *h, uint64_t ns);
void hist_merge(struct hist *h, const struct hist *from);
/*
 * The value that @percent (0 .. 100) of all values do not exceed; 0 if there is none.
 * 100 gives the exact maximum.
 */
uint64_t hist_percentile(const struct hist *h, double percent);
double hist_mean(const struct hist *h);

#endif /* MF_BENCH_HIST_H */
