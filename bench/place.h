/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which CPU a thread runs on. */
#ifndef MF_BENCH_PLACE_H
#define MF_BENCH_PLACE_H

#include <sys/types.h>

#define PLACE_MAX_CPUS 64

/* The CPUs this process may use, at most PLACE_MAX_CPUS of them. Returns how many. */
unsigned int place_cpus(int cpus[PLACE_MAX_CPUS]);
/* Pin thread @tid (0: the caller) to @cpu. 0 or -errno. */
int place_pin(pid_t tid, int cpu);

#endif /* MF_BENCH_PLACE_H */
