/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a fuzzer is made of. Each has an entry point and seeds that it makes itself; driver.c
 * runs it with nothing but a compiler, libFuzzer (-Dlibfuzzer=true) with coverage. Both
 * mutate with mutate.c, which knows what frames and TLVs look like.
 */
#ifndef MF_FUZZ_H
#define MF_FUZZ_H

#include "base/types.h"

/* Any input longer than this is of no interest. */
#define MF_FUZZ_MAX (128 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The @i-th seed into @buf (MF_FUZZ_MAX bytes); 0: there are no more. */
size_t mf_fuzz_seed(size_t i, u8 *buf);
/* How many messages were decoded so far: a fuzzer whose inputs are all refused is broken. */
extern u64 mf_fuzz_accepted;

struct mf_rng {
	u64 state;
};

u64 mf_rng_next(struct mf_rng *rng);
/* 0 .. n - 1 */
u64 mf_rng_below(struct mf_rng *rng, u64 n);
/* One or a few changes to @buf, which has room for @max; returns the new length. */
size_t mf_mutate(struct mf_rng *rng, u8 *buf, size_t len, size_t max);

#endif /* MF_FUZZ_H */
