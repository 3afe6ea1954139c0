/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results on their way into JSON, and the small things that all measurements print. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

int report_init(struct report *rep, const char *name)
{
	*rep = (struct report){ .root = json_object_new_object() };
	if (!rep->root)
		return -ENOMEM;
	rep->rows = json_object_new_array();
	rep->ratios = json_object_new_object();
	rep->skipped = json_object_new_array();
	if (!rep->rows || !rep->ratios || !rep->skipped)
		return -ENOMEM;
	json_add_int(rep->root, "schema", BENCH_SCHEMA);
	json_add_string(rep->root, "bench", name);
	env_json(rep->root);
	json_object_object_add(rep->root, "rows", rep->rows);
	json_object_object_add(rep->root, "ratios", rep->ratios);
	json_object_object_add(rep->root, "skipped", rep->skipped);
	return 0;
}

void report_free(struct report *rep)
{
	json_object_put(rep->root);
	rep->root = NULL;
}

void report_skip(struct report *rep, const char *row, const char *fmt, ...)
{
	struct json_object *obj = json_object_new_object();
	char why[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	json_add_string(obj, "row", row);
	json_add_string(obj, "why", why);
	json_object_array_add(rep->skipped, obj);
}

void report_ratio(struct report *rep, const char *name, double num, double den)
{
	if (num > 0 && den > 0)
		json_add_double(rep->ratios, name, num / den);
}

void report_print_skipped(const struct report *rep)
{
	size_t n = json_object_array_length(rep->skipped);

	if (n)
		printf("\nnot measured:\n");
	for (size_t i = 0; i < n; i++) {
		struct json_object *obj = json_object_array_get_idx(rep->skipped, i);

		printf("  %s: %s\n", json_object_get_string(json_object_object_get(obj, "row")),
		       json_object_get_string(json_object_object_get(obj, "why")));
	}
}

void report_print_ratios(const struct report *rep)
{
	struct json_object_iterator at = json_object_iter_begin(rep->ratios);
	struct json_object_iterator end = json_object_iter_end(rep->ratios);

	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
		printf("  %-48s %10.2f\n", json_object_iter_peek_name(&at),
		       json_object_get_double(json_object_iter_peek_value(&at)));
}

void json_add_double(struct json_object *obj, const char *key, double value)
{
	struct json_object *num = json_object_new_double(value);

	json_object_set_serializer(num, json_object_double_to_json_string, (void *)"%.3f",
				   NULL);
	json_object_object_add(obj, key, num);
}

void json_add_string(struct json_object *obj, const char *key, const char *value)
{
	json_object_object_add(obj, key, json_object_new_string(value));
}

void json_add_int(struct json_object *obj, const char *key, int64_t value)
{
	json_object_object_add(obj, key, json_object_new_int64(value));
}

void json_add_bool(struct json_object *obj, const char *key, bool value)
{
	json_object_object_add(obj, key, json_object_new_boolean(value));
}

static double us(uint64_t ns)
{
	return (double)ns / 1000.0;
}

void json_add_hist(struct json_object *obj, const struct hist *h)
{
	json_add_double(obj, "p50_us", us(hist_percentile(h, 50)));
	json_add_double(obj, "p99_us", us(hist_percentile(h, 99)));
	json_add_double(obj, "p999_us", us(hist_percentile(h, 99.9)));
	json_add_double(obj, "max_us", us(h->max_ns));
	json_add_int(obj, "count", (int64_t)h->count);
}

const char *size_text(char *buf, uint64_t bytes)
{
	if (bytes >= GIB && bytes % GIB == 0)
		snprintf(buf, 24, "%" PRIu64 "G", bytes / GIB);
	else if (bytes >= MIB && bytes % MIB == 0)
		snprintf(buf, 24, "%" PRIu64 "M", bytes / MIB);
	else
		snprintf(buf, 24, "%" PRIu64 "K", bytes / KIB);
	return buf;
}

void progress(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	fputs("\r\033[K", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

void progress_done(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

void shuffle(unsigned int *order, size_t n)
{
	static _Thread_local unsigned short seed[3];

	if (!seed[0] && !seed[1]) {
		uint64_t t = now_ns();

		seed[0] = (unsigned short)(t | 1);
		seed[1] = (unsigned short)(t >> 16);
		seed[2] = (unsigned short)getpid();
	}
	for (size_t i = 0; i < n; i++)
		order[i] = (unsigned int)i;
	for (size_t i = n; i > 1; i--) {
		size_t k = (size_t)nrand48(seed) % i;
		unsigned int t = order[i - 1];

		order[i - 1] = order[k];
		order[k] = t;
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, size_t n)
{
	qsort(values, n, sizeof(values[0]), by_value);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
