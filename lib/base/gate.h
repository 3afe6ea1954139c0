/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mutex for the fault path: spins a little, then sleeps in a priority-inheriting futex.
 * Whoever waits lends the holder its priority, so that a holder which the scheduler has
 * put aside is not kept there by threads that matter less than the one that waits.
 * The word is 0 when free, else the holder's tid (futex(2), FUTEX_LOCK_PI). For threads
 * of one address space.
 */
#ifndef MF_BASE_GATE_H
#define MF_BASE_GATE_H

#include "sys.h"

/* about as long as a small bite: to sleep and be woken costs more */
#define MF_GATE_SPINS 1500

static inline void mf_gate_lock(u32 *gate)
{
	u32 tid = (u32)mf_sys(__NR_gettid, 0, 0, 0, 0, 0);
	int i;

	for (i = 0; i < MF_GATE_SPINS; i++) {
		if (mf_load(gate) == 0 && mf_cas32(gate, 0, tid))
			return;
		mf_cpu_relax();
	}
	/* 0: it is ours; anything else (a signal, a holder on its way out): again */
	while (!mf_cas32(gate, 0, tid) &&
	       mf_sys(__NR_futex, gate, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0) != 0)
		;
}

static inline void mf_gate_unlock(u32 *gate)
{
	u32 tid = (u32)mf_sys(__NR_gettid, 0, 0, 0, 0, 0);

	if (!mf_cas32(gate, tid, 0)) /* somebody sleeps: the kernel hands it on */
		mf_sys(__NR_futex, gate, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0);
}

#endif /* MF_BASE_GATE_H */
