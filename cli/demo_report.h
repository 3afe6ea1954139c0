/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came out: as tables for people, as JSON for programs, as a picture. */
#ifndef MF_DEMO_REPORT_H
#define MF_DEMO_REPORT_H

#include "demo.h"
#include "demo_load.h"

struct demo_result {
	const struct demo_opts *opts;
	struct load *load; /* stopped */
	struct demo_handover handover[DEMO_HANDOVERS_MAX];
	unsigned int n_handovers;
	uint64_t values;	 /* keys in the data set */
	uint64_t verified_times; /* how often all of them were read back */
	uint64_t lost;
	struct load_faults clients;
	bool complete;		      /* everything was done that was to be done */
	const char *benchmark_failed; /* what went wrong with redis-benchmark, or NULL */
	bool benchmark_ran;
	uint64_t commands; /* that the servers executed in all */
};

bool demo_verified(const struct demo_result *res);
void demo_print(struct demo_result *res);
/* 0 or -errno */
int demo_print_json(struct demo_result *res);
int demo_plot(struct demo_result *res, const char *file);

#endif /* MF_DEMO_REPORT_H */
