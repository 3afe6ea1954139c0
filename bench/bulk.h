/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One row of "bench bulk", and the process that measures it. */
#ifndef MF_BENCH_BULK_H
#define MF_BENCH_BULK_H

#include <stdbool.h>
#include <stdint.h>

enum bulk_op {
	BULK_MOVE,
	BULK_COPY,
	BULK_MEMCPY,
	BULK_READV,
};

struct bulk_row {
	enum bulk_op op;
	bool thp;
	uint64_t call_bytes;
	double *gb_per_s; /* one a round */
	unsigned int n;
	double huge_kept; /* thp: part of the destination that is huge pages afterwards */
	char skip[256];
};

struct bulk_cell {
	const struct bulk_row *row;
	uint64_t bytes;
	/* shared with the bench */
	struct bulk_result {
		uint64_t ns;
		uint64_t huge_bytes;
	} * result;
};

/* Runs under child_run() with a struct bulk_cell. */
int bulk_cell_run(void *cell);

#endif /* MF_BENCH_BULK_H */
