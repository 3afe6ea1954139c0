/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs what successors do while their memory arrives, one hand-over each. */
#ifndef MF_TESTS_DRAIN_TESTS_H
#define MF_TESTS_DRAIN_TESTS_H

#include "handover_rig.h"

#define PAGE 4096ull
#define MIB (1ull << 20)
#define BYTES (64 * MIB) /* of the region, at RIG_BASE */

struct drain_test {
	const char *name;
	int (*successor)(struct rig *rig, struct mf_successor *s);
	u32 rounds;	  /* 0: one */
	bool dies;	  /* the process is ended or replaced, which is as it should be */
	u32 flags;	  /* MF_SUCCESSOR_* */
	const char *told; /* what the notice of its end speaks of; default: mremap */
};

/* The whole of main(): [PART-OF-A-NAME [TIMES-AS-MANY-ROUNDS]] */
int drain_tests_main(const struct drain_test *tests, size_t n, int argc, char **argv);

static inline u64 next_random(u64 *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

static inline bool all_zero(u64 addr, size_t len)
{
	const u64 *p = (const u64 *)addr;
	size_t i;

	for (i = 0; i < len / 8; i++)
		if (p[i])
			return false;
	return true;
}

#endif /* MF_TESTS_DRAIN_TESTS_H */
