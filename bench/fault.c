/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "memferry bench fault": which rows there are, in which order they run, what they say. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "child.h"
#include "fault.h"
#include "plot.h"

#define MAX_ROWS 512
#define ROUNDS 5
#define ROUNDS_QUICK 3
#define PAGES 4096
#define PAGES_QUICK 2048
#define BUDGET_NS 300000000ull
#define BUDGET_QUICK_NS 60000000ull
#define TIMEOUT_MS 20000

static const char *const op_names[] = {
	"move", "copy", "zeropage", "zeropage-bare", "first-touch-write", "first-touch-read"
};
static const char *const handler_names[] = { "thread", "process", "in-thread", "kernel" };
static const char *const placement_names[] = { "same", "spin", "sleep" };

struct fault_table {
	struct fault_row *rows;
	size_t n;
};

static const char *row_name(const struct fault_row *row, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%s/%s/%u thread%s/%s", op_names[row->op],
		 handler_names[row->handler], placement_names[row->placement], row->threads,
		 row->threads == 1 ? "" : "s", row->writer ? "writer" : "idle");
	return buf;
}

/* ------------------------------------------------------------- the rows */

static void add(struct fault_table *t, enum fault_op op, enum fault_handler handler,
		enum fault_placement placement, unsigned int threads, bool writer)
{
	struct fault_row *row = &t->rows[t->n];

	if (t->n == MAX_ROWS)
		return;
	t->n++;
	*row = (struct fault_row){ op, handler, placement, threads, writer };
	hist_init(&row->hist);
}

static void add_block(struct fault_table *t, unsigned int threads, bool writer)
{
	for (int op = OP_MOVE; op <= OP_ZEROPAGE; op++) {
		for (int by = BY_THREAD; by <= BY_PROCESS; by++)
			for (int p = ON_SAME_CPU; p <= ON_OTHER_ASLEEP; p++)
				add(t, op, by, p, threads, writer);
		add(t, op, BY_ITSELF, ON_SAME_CPU, threads, writer);
	}
	add(t, OP_ZEROPAGE_BARE, BY_THREAD, ON_SAME_CPU, threads, writer);
	add(t, OP_TOUCH_WRITE, BY_KERNEL, ON_SAME_CPU, threads, writer);
	add(t, OP_TOUCH_READ, BY_KERNEL, ON_SAME_CPU, threads, writer);
}

static void add_quick(struct fault_table *t)
{
	add_block(t, 1, false);
	for (int p = ON_SAME_CPU; p <= ON_OTHER_ASLEEP; p++)
		add(t, OP_MOVE, BY_THREAD, p, 1, true);
	add(t, OP_COPY, BY_THREAD, ON_SAME_CPU, 1, true);
	add(t, OP_MOVE, BY_THREAD, ON_SAME_CPU, 2, false);
	add(t, OP_MOVE, BY_THREAD, ON_OTHER_SPINNING, 2, false);
}

/* 1, 2, 4 .. twice as many threads as there are CPUs */
static void add_all(struct fault_table *t)
{
	int cpus[PLACE_MAX_CPUS];
	unsigned int n = place_cpus(cpus);

	for (unsigned int threads = 1; threads <= 2 * n; threads *= 2) {
		add_block(t, threads, false);
		add_block(t, threads, true);
	}
}

/* --------------------------------------------------------------- running */

static void run_row(struct fault_row *row, struct fault_shared *shared, bool quick)
{
	struct fault_cell cell = { .row = row,
				   .shared = shared,
				   .pages = quick ? PAGES_QUICK : PAGES,
				   .budget_ns = quick ? BUDGET_QUICK_NS : BUDGET_NS };
	int cpus[PLACE_MAX_CPUS];

	if (row->placement != ON_SAME_CPU && place_cpus(cpus) < 2) {
		snprintf(row->skip, sizeof(row->skip), "there is only one CPU");
		return;
	}
	memset(shared, 0, sizeof(*shared));
	if (child_run(fault_cell_run, &cell, TIMEOUT_MS, row->skip) == 0)
		hist_merge(&row->hist, &shared->hist);
}

static int run_rounds(struct fault_table *t, const struct bench_opts *opts)
{
	unsigned int rounds = opts->rounds ? opts->rounds : opts->quick ? ROUNDS_QUICK : ROUNDS;
	struct fault_shared *shared = shared_alloc(sizeof(*shared));
	static unsigned int order[MAX_ROWS];
	char name[128];

	if (!shared)
		return -ENOMEM;
	for (unsigned int round = 0; round < rounds; round++) {
		shuffle(order, t->n);
		for (size_t i = 0; i < t->n; i++) {
			struct fault_row *row = &t->rows[order[i]];

			if (row->skip[0])
				continue;
			progress("round %u of %u, row %zu of %zu: %s", round + 1, rounds, i + 1,
				 t->n, row_name(row, name, sizeof(name)));
			run_row(row, shared, opts->quick);
		}
	}
	progress_done();
	shared_free(shared, sizeof(*shared));
	return 0;
}

/* -------------------------------------------------------------- results */

static void rows_json(const struct fault_table *t, struct report *rep)
{
	char name[128];

	for (size_t i = 0; i < t->n; i++) {
		const struct fault_row *row = &t->rows[i];
		struct json_object *obj;

		if (row->skip[0] || !row->hist.count) {
			report_skip(rep, row_name(row, name, sizeof(name)), "%s",
				    row->skip[0] ? row->skip : "no touch within its time");
			rep->wrong_data |= strstr(row->skip, "wrong contents") != NULL;
			continue;
		}
		obj = json_object_new_object();
		json_add_string(obj, "op", op_names[row->op]);
		json_add_string(obj, "handler", handler_names[row->handler]);
		json_add_string(obj, "placement", placement_names[row->placement]);
		json_add_int(obj, "threads", row->threads);
		json_add_string(obj, "load", row->writer ? "writer" : "idle");
		json_add_hist(obj, &row->hist);
		json_object_array_add(rep->rows, obj);
	}
}

static const struct fault_row *find(const struct fault_table *t, enum fault_op op,
				    enum fault_handler handler, enum fault_placement placement,
				    unsigned int threads, bool writer)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct fault_row *r = &t->rows[i];

		if (r->op == op && r->handler == handler && r->placement == placement &&
		    r->threads == threads && r->writer == writer && !r->skip[0])
			return r;
	}
	return NULL;
}

static double p50(const struct fault_row *row)
{
	return row ? (double)hist_percentile(&row->hist, 50) / 1000.0 : 0;
}

static double p50_of(const struct fault_table *t, enum fault_op op, enum fault_handler by,
		     enum fault_placement placement)
{
	return p50(find(t, op, by, placement, 1, false));
}

/* Quotients of medians, one faulting thread; idle unless the name says otherwise. */
static void ratios(const struct fault_table *t, struct report *rep)
{
	double move = p50_of(t, OP_MOVE, BY_THREAD, ON_SAME_CPU);
	double copy = p50_of(t, OP_COPY, BY_THREAD, ON_SAME_CPU);
	double bare = p50_of(t, OP_ZEROPAGE_BARE, BY_THREAD, ON_SAME_CPU);
	double floor = p50_of(t, OP_TOUCH_WRITE, BY_KERNEL, ON_SAME_CPU);

	report_ratio(rep, "same_cpu_move_over_zeropage", move, bare);
	report_ratio(rep, "same_cpu_move_task_over_zeropage",
		     p50_of(t, OP_MOVE, BY_PROCESS, ON_SAME_CPU), bare);
	report_ratio(rep, "same_cpu_copy_over_zeropage", copy, bare);
	report_ratio(rep, "same_cpu_copy_process_over_zeropage",
		     p50_of(t, OP_COPY, BY_PROCESS, ON_SAME_CPU), bare);
	report_ratio(rep, "same_cpu_move_over_copy", move, copy);
	report_ratio(rep, "same_cpu_move_over_first_touch", move, floor);
	report_ratio(rep, "in_thread_move_over_first_touch",
		     p50_of(t, OP_MOVE, BY_ITSELF, ON_SAME_CPU), floor);
	report_ratio(rep, "in_thread_move_over_same_cpu_move",
		     p50_of(t, OP_MOVE, BY_ITSELF, ON_SAME_CPU), move);
	report_ratio(rep, "move_spin_over_same_cpu",
		     p50_of(t, OP_MOVE, BY_THREAD, ON_OTHER_SPINNING), move);
	report_ratio(rep, "move_sleep_over_same_cpu",
		     p50_of(t, OP_MOVE, BY_THREAD, ON_OTHER_ASLEEP), move);
	report_ratio(rep, "same_cpu_move_writer_over_idle",
		     p50(find(t, OP_MOVE, BY_THREAD, ON_SAME_CPU, 1, true)), move);
}

static void print_rows(const struct fault_table *t)
{
	unsigned int threads = 0;
	bool writer = false;
	double bare = p50_of(t, OP_ZEROPAGE_BARE, BY_THREAD, ON_SAME_CPU);

	for (size_t i = 0; i < t->n; i++) {
		const struct fault_row *row = &t->rows[i];
		const struct hist *h = &row->hist;

		if (row->skip[0] || !h->count)
			continue;
		if (row->threads != threads || row->writer != writer) {
			threads = row->threads;
			writer = row->writer;
			printf("\n%u faulting thread%s, %s\n", threads, threads == 1 ? "" : "s",
			       writer ? "another thread writing in the same space" : "idle");
			printf("  %-18s %-10s %-6s %9s %9s %9s %9s %8s %7s\n", "op", "handler",
			       "place", "p50 us", "p99 us", "p99.9 us", "max us", "count",
			       "x bare");
		}
		printf("  %-18s %-10s %-6s %9.2f %9.2f %9.2f %9.1f %8llu %7.2f\n",
		       op_names[row->op], handler_names[row->handler],
		       placement_names[row->placement], p50(row),
		       (double)hist_percentile(h, 99) / 1e3,
		       (double)hist_percentile(h, 99.9) / 1e3, (double)h->max_ns / 1e3,
		       (unsigned long long)h->count, bare > 0 ? p50(row) / bare : 0);
	}
}

/* The best MOVE row of one thread, as an answer in words. */
static void print_answer(const struct fault_table *t)
{
	const struct fault_row *best = NULL, *worst = NULL;
	char a[128], b[128];

	for (size_t i = 0; i < t->n; i++) {
		const struct fault_row *r = &t->rows[i];

		if (r->op != OP_MOVE || r->threads != 1 || r->skip[0] || !r->hist.count)
			continue;
		if (!best || p50(r) < p50(best))
			best = r;
		if (!worst || p50(r) > p50(worst))
			worst = r;
	}
	if (!best)
		return;
	printf("\nHow long does resolving a fault by MOVE take? %.1f us at best (%s; p99 %.1f),\n"
	       "%.1f us at worst (%s; p99 %.1f), as seen by the thread that faults.\n",
	       p50(best), row_name(best, a, sizeof(a)),
	       (double)hist_percentile(&best->hist, 99) / 1e3, p50(worst),
	       row_name(worst, b, sizeof(b)), (double)hist_percentile(&worst->hist, 99) / 1e3);
}

static void print(const struct fault_table *t, const struct report *rep)
{
	env_print();
	print_rows(t);
	printf("\nratios of medians (one thread; bare = a read and a ZEROPAGE ioctl on the same "
	       "CPU)\n");
	report_print_ratios(rep);
	print_answer(t);
	report_print_skipped(rep);
}

int bench_fault(const struct bench_opts *opts, struct report *rep)
{
	struct fault_table t = { .rows = calloc(MAX_ROWS, sizeof(struct fault_row)) };
	int r;

	if (!t.rows)
		return -ENOMEM;
	if (opts->quick)
		add_quick(&t);
	else
		add_all(&t);
	r = run_rounds(&t, opts);
	if (r == 0) {
		rows_json(&t, rep);
		ratios(&t, rep);
		if (!opts->json)
			print(&t, rep);
		if (opts->plot)
			r = plot_fault(rep, opts->plot);
	}
	free(t.rows);
	return r;
}
