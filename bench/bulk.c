/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "memferry bench bulk": bytes a second of each way to get pages from here to there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bulk.h"
#include "child.h"
#include "plot.h"

#define MAX_ROWS 128
#define MAX_ROUNDS 100
#define ROUNDS 7
#define ROUNDS_QUICK 2
#define BYTES (256 * MIB)
#define BYTES_QUICK (64 * MIB)
#define TIMEOUT_MS 60000

static const char *const op_names[] = { "move", "copy", "memcpy", "process_vm_readv" };
#define N_OPS 4

static const uint64_t call_sizes[] = { 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB,
				       2 * MIB, 4 * MIB,  16 * MIB, 64 * MIB };
static const uint64_t call_sizes_quick[] = { 4 * KIB, 64 * KIB, 2 * MIB, 64 * MIB };

struct bulk_table {
	struct bulk_row rows[MAX_ROWS];
	size_t n;
	unsigned int rounds;
};

static const char *row_name(const struct bulk_row *row, char *buf, size_t size)
{
	char call[24];

	snprintf(buf, size, "%s/%s/%s", op_names[row->op], row->thp ? "thp" : "4k",
		 size_text(call, row->call_bytes));
	return buf;
}

static int add_rows(struct bulk_table *t, bool quick)
{
	const uint64_t *sizes = quick ? call_sizes_quick : call_sizes;
	size_t n_sizes = quick ? sizeof(call_sizes_quick) / sizeof(call_sizes_quick[0])
			       : sizeof(call_sizes) / sizeof(call_sizes[0]);

	for (int thp = 0; thp < 2; thp++)
		for (size_t s = 0; s < n_sizes; s++)
			for (int op = 0; op < N_OPS; op++) {
				struct bulk_row *row = &t->rows[t->n++];

				*row = (struct bulk_row){ .op = op, .thp = thp };
				row->call_bytes = sizes[s];
				row->gb_per_s = calloc(t->rounds, sizeof(double));
				if (!row->gb_per_s)
					return -ENOMEM;
			}
	return 0;
}

static void run_row(struct bulk_row *row, struct bulk_result *result, bool quick)
{
	struct bulk_cell cell = { .row = row,
				  .bytes = quick ? BYTES_QUICK : BYTES,
				  .result = result };

	memset(result, 0, sizeof(*result));
	if (child_run(bulk_cell_run, &cell, TIMEOUT_MS, row->skip) || !result->ns)
		return;
	row->gb_per_s[row->n++] = (double)cell.bytes / (double)result->ns;
	row->huge_kept = (double)result->huge_bytes / (double)cell.bytes;
}

static int run_rounds(struct bulk_table *t, const struct bench_opts *opts)
{
	struct bulk_result *result = shared_alloc(sizeof(*result));
	unsigned int order[MAX_ROWS];
	char name[128];

	if (!result)
		return -ENOMEM;
	for (unsigned int round = 0; round < t->rounds; round++) {
		shuffle(order, t->n);
		for (size_t i = 0; i < t->n; i++) {
			struct bulk_row *row = &t->rows[order[i]];

			if (row->skip[0])
				continue;
			progress("round %u of %u, row %zu of %zu: %s", round + 1, t->rounds,
				 i + 1, t->n, row_name(row, name, sizeof(name)));
			run_row(row, result, opts->quick);
		}
	}
	progress_done();
	shared_free(result, sizeof(*result));
	return 0;
}

static double speed(const struct bulk_row *row)
{
	return row->n ? median(row->gb_per_s, row->n) : 0;
}

static double speed_of(const struct bulk_table *t, enum bulk_op op, bool thp, uint64_t call)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct bulk_row *r = &t->rows[i];

		if (r->op == op && r->thp == thp && r->call_bytes == call && !r->skip[0])
			return speed(r);
	}
	return 0;
}

static void rows_json(const struct bulk_table *t, struct report *rep)
{
	char name[128];

	for (size_t i = 0; i < t->n; i++) {
		const struct bulk_row *row = &t->rows[i];
		struct json_object *obj;

		if (row->skip[0] || !row->n) {
			report_skip(rep, row_name(row, name, sizeof(name)), "%s",
				    row->skip[0] ? row->skip : "not timed");
			rep->wrong_data |= strstr(row->skip, "wrong contents") != NULL;
			continue;
		}
		obj = json_object_new_object();
		json_add_string(obj, "op", op_names[row->op]);
		json_add_string(obj, "page", row->thp ? "thp" : "4k");
		json_add_int(obj, "call_bytes", (int64_t)row->call_bytes);
		json_add_double(obj, "gb_per_s", speed(row));
		/* speed() has sorted them */
		json_add_double(obj, "gb_per_s_min", row->gb_per_s[0]);
		json_add_double(obj, "gb_per_s_max", row->gb_per_s[row->n - 1]);
		json_add_int(obj, "rounds", row->n);
		if (row->thp)
			json_add_double(obj, "huge_after", row->huge_kept);
		json_object_array_add(rep->rows, obj);
	}
}

static void ratios(const struct bulk_table *t, struct report *rep)
{
	double copy = speed_of(t, BULK_COPY, false, 2 * MIB);
	double copy_thp = speed_of(t, BULK_COPY, true, 2 * MIB);

	report_ratio(rep, "move_4k_over_copy_2m_calls", speed_of(t, BULK_MOVE, false, 2 * MIB),
		     copy);
	report_ratio(rep, "move_4k_over_copy_4k_calls", speed_of(t, BULK_MOVE, false, 4 * KIB),
		     speed_of(t, BULK_COPY, false, 4 * KIB));
	report_ratio(rep, "move_thp_over_copy_2m_calls", speed_of(t, BULK_MOVE, true, 2 * MIB),
		     copy_thp);
	report_ratio(rep, "move_thp_over_copy_64m_calls",
		     speed_of(t, BULK_MOVE, true, 64 * MIB),
		     speed_of(t, BULK_COPY, true, 64 * MIB));
	report_ratio(rep, "move_thp_over_move_4k_2m_calls",
		     speed_of(t, BULK_MOVE, true, 2 * MIB),
		     speed_of(t, BULK_MOVE, false, 2 * MIB));
	report_ratio(rep, "copy_over_memcpy_2m_calls", copy,
		     speed_of(t, BULK_MEMCPY, false, 2 * MIB));
}

static void print_cell(const struct bulk_table *t, enum bulk_op op, bool thp, uint64_t call)
{
	double v = speed_of(t, op, thp, call);

	if (v > 0)
		printf(" %16.2f", v);
	else
		printf(" %16s", "-");
}

static void print(const struct bulk_table *t, const struct report *rep)
{
	char call[24];

	env_print();
	for (int thp = 0; thp < 2; thp++) {
		printf("\n%s pages, GB/s (median of %u)\n  %-6s", thp ? "THP" : "4K", t->rounds,
		       "call");
		for (int op = 0; op < N_OPS; op++)
			printf(" %16s", op_names[op]);
		printf("\n");
		for (size_t i = 0; i < t->n; i += N_OPS) {
			if (t->rows[i].thp != (bool)thp)
				continue;
			printf("  %-6s", size_text(call, t->rows[i].call_bytes));
			for (int op = 0; op < N_OPS; op++)
				print_cell(t, op, thp, t->rows[i].call_bytes);
			printf("\n");
		}
	}
	printf("\nratios\n");
	report_print_ratios(rep);
	report_print_skipped(rep);
}

int bench_bulk(const struct bench_opts *opts, struct report *rep)
{
	static struct bulk_table t;
	int r;

	t = (struct bulk_table){ .rounds = opts->quick ? ROUNDS_QUICK : ROUNDS };
	if (opts->rounds)
		t.rounds = opts->rounds < MAX_ROUNDS ? opts->rounds : MAX_ROUNDS;
	r = add_rows(&t, opts->quick);
	if (r == 0)
		r = run_rounds(&t, opts);
	if (r == 0) {
		rows_json(&t, rep);
		ratios(&t, rep);
		if (!opts->json)
			print(&t, rep);
		if (opts->plot)
			r = plot_bulk(rep, opts->plot);
	}
	for (size_t i = 0; i < t.n; i++)
		free(t.rows[i].gb_per_s);
	return r;
}
