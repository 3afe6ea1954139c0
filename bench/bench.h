/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the measurements of memferry-bench(1) share: options, and the report they fill. */
#ifndef MF_BENCH_H
#define MF_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <json-c/json.h>

#include "hist.h"

#define BENCH_SCHEMA 1
#define BENCH_MAX_SIZES 16

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

struct bench_opts {
	bool quick;
	bool json;
	const char *plot;		 /* PNG to draw, NULL: none */
	unsigned int rounds;		 /* 0: the measurement's own default */
	uint64_t sizes[BENCH_MAX_SIZES]; /* handover */
	size_t n_sizes;
};

struct report {
	struct json_object *root; /* with the environment already in it */
	struct json_object *rows;
	struct json_object *ratios;
	struct json_object *skipped;
	bool wrong_data; /* some row read back other bytes than were put there */
};

/* Each fills @rep, and prints its table unless opts->json. 0, or -errno. */
int bench_fault(const struct bench_opts *opts, struct report *rep);
int bench_bulk(const struct bench_opts *opts, struct report *rep);
int bench_handover(const struct bench_opts *opts, struct report *rep);

/* -------------------------------------------------------------- report.c */

int report_init(struct report *rep, const char *name);
void report_free(struct report *rep);
/* A row that could not be measured is told here, and is in no table. */
void report_skip(struct report *rep, const char *row, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Nothing is stored unless both are above zero. */
void report_ratio(struct report *rep, const char *name, double num, double den);
void report_print_ratios(const struct report *rep);
void report_print_skipped(const struct report *rep);
/* Three digits after the point; for microseconds, GB/s and ratios. */
void json_add_double(struct json_object *obj, const char *key, double value);
void json_add_string(struct json_object *obj, const char *key, const char *value);
void json_add_int(struct json_object *obj, const char *key, int64_t value);
void json_add_bool(struct json_object *obj, const char *key, bool value);
/* p50_us, p99_us, p999_us, max_us, count */
void json_add_hist(struct json_object *obj, const struct hist *h);

/* "4k", "2m", "1g": for tables; @buf has at least 24 bytes */
const char *size_text(char *buf, uint64_t bytes);

/* ----------------------------------------------------------------- env.c */

/* machine, cpus, kernel, memory, thp, and commit if the build knew it */
void env_json(struct json_object *obj);
void env_print(void);

/* ------------------------------------------------------------- small ones */

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Progress for people: on stderr, and only if that is a terminal. */
void progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void progress_done(void);

/* Put 0 .. n-1 into @order, shuffled anew by each call. */
void shuffle(unsigned int *order, size_t n);
/* The middle one of @n values, which get sorted. */
double median(double *values, size_t n);

#endif /* MF_BENCH_H */
