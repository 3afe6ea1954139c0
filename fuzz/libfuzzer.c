/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gives libFuzzer our seeds and our mutations, beside its own. */
#include <string.h>

#include "fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	static u8 buf[MF_FUZZ_MAX];
	struct mf_rng rng = { .state = seed };
	u64 die = mf_rng_below(&rng, 64);

	if (die < 32)
		return LLVMFuzzerMutate(data, size, max);
	if (die == 32 || size == 0)
		size = mf_fuzz_seed(mf_rng_below(&rng, 32), buf);
	else
		memcpy(buf, data, mf_min(size, sizeof(buf)));
	size = mf_mutate(&rng, buf, mf_min(size, sizeof(buf)), sizeof(buf));
	size = mf_min(size, max);
	memcpy(data, buf, size);
	return size;
}
