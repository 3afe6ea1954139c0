/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A futex mutex for the fault path: spins a little, then sleeps. The word is 0 free,
 * 1 held, 2 held with waiters (Drepper, "Futexes Are Tricky", mutex2).
 */
#ifndef MF_BASE_GATE_H
#define MF_BASE_GATE_H

#include "sys.h"

#define MF_GATE_SPINS 200

static inline bool mf_gate_try(u32 *gate)
{
	return mf_cas32(gate, 0, 1);
}

static inline void mf_gate_lock(u32 *gate)
{
	int i;

	for (i = 0; i < MF_GATE_SPINS; i++) {
		if (mf_load(gate) == 0 && mf_gate_try(gate))
			return;
		mf_cpu_relax();
	}
	while (__atomic_exchange_n(gate, 2, __ATOMIC_ACQUIRE) != 0)
		mf_sys_futex_wait(gate, 2, -1);
}

static inline void mf_gate_unlock(u32 *gate)
{
	if (__atomic_exchange_n(gate, 0, __ATOMIC_RELEASE) == 2)
		mf_sys_futex_wake(gate, 1);
}

#endif /* MF_BASE_GATE_H */
