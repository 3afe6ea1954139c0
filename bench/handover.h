/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One row of "bench handover". Its process is the referee: it forks a source that fills
 * memory and a successor that gets it, watches what memory both take, and bounds it all.
 */
#ifndef MF_BENCH_HANDOVER_H
#define MF_BENCH_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include <memferry.h>

#include "hist.h"

enum ho_way {
	HO_MEMFERRY,
	HO_MEMFERRY_TCP,
	HO_STOP_AND_COPY,
	HO_MEMFD,
	HO_UFFD_COPY,	      /* not a hand-over: the loop that bounds a drain by copying */
	HO_UFFD_COPY_RELEASE, /* the same, and the source gives back what was copied */
	HO_WAYS,
};

/* The two spaces have two copies of everything in the end. */
static inline bool ho_copies_all(enum ho_way way)
{
	return way == HO_STOP_AND_COPY || way == HO_UFFD_COPY;
}

#define HO_SEED 0x68616e64u
#define HO_STEP_BYTES (2ul << 20)
#define HO_WAIT_MS 20000

struct ho_shared {
	/* flags, each set once */
	uint32_t source_ready;
	uint32_t successor_ready;
	uint32_t go;
	uint32_t successor_done;
	uint32_t finish;
	/* CLOCK_MONOTONIC, 0: does not apply */
	uint64_t begin_ns;    /* the successor starts to talk to the source */
	uint64_t stop_ns;     /* the source must not serve any more */
	uint64_t commit_ns;   /* the successor may serve */
	uint64_t complete_ns; /* everything has arrived */
	/* touches by a thread of the successor, from the commit until complete */
	struct hist faults;
	uint64_t touches;
	struct mf_stats stats; /* memferry's own; size 0: none */
	/* of both, by the referee */
	int64_t ram_before;
	int64_t ram_peak;
};

struct ho_cell {
	enum ho_way way;
	uint64_t bytes;
	bool thp;
	struct ho_shared *shared;
	const char *socket; /* a path for it */
	/* filled in by the referee, before it forks */
	char *base;	   /* where the memory lies in both */
	int sock[2];	   /* [0] is the source's end */
	char address[160]; /* of the memferry ways */
};

/* Runs under child_run() with a struct ho_cell. */
int ho_cell_run(void *cell);

static inline void ho_raise(uint32_t *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

static inline bool ho_raised(const uint32_t *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/* Poll for a flag, at most HO_WAIT_MS. -ETIMEDOUT. */
int ho_await(const uint32_t *flag);
/* The region, filled, with the page size checked; NULL after child_fail(). */
char *ho_fill(const struct ho_cell *c);

/* A thread that touches random pages from the moment that shared->commit_ns is set. */
int ho_touch_start(const struct ho_cell *c);
void ho_touch_stop(void);

/* handover_ferry.c; each 0 or -errno after child_fail() */
int ho_ferry_source(struct ho_cell *c);
int ho_ferry_successor(struct ho_cell *c);
/* handover_ways.c */
int ho_plain_source(struct ho_cell *c);
int ho_plain_successor(struct ho_cell *c);

#endif /* MF_BENCH_HANDOVER_H */
