/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One row of "bench fault", and the process that measures it. */
#ifndef MF_BENCH_FAULT_H
#define MF_BENCH_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hist.h"
#include "place.h"

enum fault_op {
	OP_MOVE,
	OP_COPY,
	OP_ZEROPAGE,
	OP_ZEROPAGE_BARE, /* read(2) and ioctl(2) and nothing else in the handler's loop */
	OP_TOUCH_WRITE,	  /* no userfaultfd: the kernel gives a fresh page */
	OP_TOUCH_READ,	  /* the same, the shared page of zeros */
};

enum fault_handler {
	BY_THREAD,
	BY_PROCESS, /* MOVE: a ferry task, which shares the space, as MOVE demands */
	BY_ITSELF,  /* the faulting thread, in a SIGBUS handler */
	BY_KERNEL,
};

enum fault_placement {
	ON_SAME_CPU,
	ON_OTHER_SPINNING,
	ON_OTHER_ASLEEP,
};

struct fault_row {
	enum fault_op op;
	enum fault_handler handler;
	enum fault_placement placement;
	unsigned int threads;
	bool writer;
	char skip[256];	  /* why it was given up; "" while it is measured */
	struct hist hist; /* of all rounds */
};

/* What the row's process shares with the bench and with the handler. */
struct fault_shared {
	struct hist hist;
	uint32_t handler_ready;
	int32_t handler_error;
	uint32_t writer_runs; /* its pages are there, from now on it only writes */
	uint32_t writer_stop;
};

struct fault_cell {
	const struct fault_row *row;
	struct fault_shared *shared;
	size_t pages;	    /* to touch, of all threads together */
	uint64_t budget_ns; /* touching stops after this, however many are left */
	/* filled in by the row's process */
	int uffd;
	char *dst; /* one page more than @pages: touching it ends the handler */
	char *src;
	int cpus[PLACE_MAX_CPUS];
	unsigned int n_cpus;
};

/* Runs under child_run() with a struct fault_cell; fills shared->hist. */
int fault_cell_run(void *cell);

/*
 * fault_handler.c: serve @cell's faults until its last page was asked for. Also the main
 * function of a ferry task: nothing but raw system calls may be made in it. 0, or 1 with
 * shared->handler_error set.
 */
int fault_handle(void *cell);
/* Fill the page at @addr in the way that the row says. 0 or -errno. Same rules. */
int fault_resolve(struct fault_cell *cell, uint64_t addr);

#endif /* MF_BENCH_FAULT_H */
