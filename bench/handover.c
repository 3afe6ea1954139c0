/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "memferry bench handover": memferry beside the other ways, side by side in one run. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "child.h"
#include "fault.h"
#include "handover.h"
#include "memory.h"
#include "plot.h"

#define MAX_ROUNDS 20
#define ROUNDS 3
#define ROUNDS_QUICK 1
#define MAX_ROWS (BENCH_MAX_SIZES * HO_WAYS * 2)
#define SPARE (512 * MIB) /* memory to leave to everybody else */

static const char *const way_names[] = { "memferry", "memferry-tcp", "stop-and-copy",
					 "memfd",    "uffd-copy",    "uffd-copy-release" };
static const char *const placement_names[] = { "auto", "same", "spin", "sleep" };

static const uint64_t sizes_default[] = { 64 * MIB, 256 * MIB, GIB, 4 * GIB, 8 * GIB };
static const uint64_t sizes_quick[] = { 64 * MIB };

struct ho_row {
	enum ho_way way;
	uint64_t bytes;
	bool thp;
	unsigned int n; /* rounds that went well */
	double blackout_ms[MAX_ROUNDS];
	double total_s[MAX_ROUNDS];
	double drain_s[MAX_ROUNDS];
	int64_t extra_ram; /* largest of all rounds */
	uint64_t touches;
	struct hist faults;
	struct mf_stats stats; /* of the last round */
	char skip[300];
};

struct ho_table {
	struct ho_row *rows;
	size_t n;
	unsigned int rounds;
	struct fault_row bare; /* what a fault costs at least: see ratios */
};

#define BARE_PAGES 4096
#define BARE_BUDGET_NS 300000000ull

static const char *row_name(const struct ho_row *row, char *buf, size_t size)
{
	char bytes[24];

	snprintf(buf, size, "%s/%s/%s", way_names[row->way], row->thp ? "thp" : "4k",
		 size_text(bytes, row->bytes));
	return buf;
}

static void add_rows(struct ho_table *t, const struct bench_opts *opts)
{
	const uint64_t *sizes = opts->n_sizes ? opts->sizes
				: opts->quick ? sizes_quick
					      : sizes_default;
	size_t n = opts->n_sizes ? opts->n_sizes
		   : opts->quick ? sizeof(sizes_quick) / sizeof(sizes_quick[0])
				 : sizeof(sizes_default) / sizeof(sizes_default[0]);

	for (size_t s = 0; s < n; s++)
		for (int way = 0; way < HO_WAYS; way++)
			for (int thp = 0; thp < 2; thp++) {
				struct ho_row *row = &t->rows[t->n++];

				*row = (struct ho_row){ .way = way, .bytes = sizes[s] };
				row->thp = thp;
				hist_init(&row->faults);
			}
}

/* --------------------------------------------------------------- running */

/* What cannot be measured here, known before it is tried. */
static bool hopeless(struct ho_row *row)
{
	uint64_t need = row->bytes * (ho_copies_all(row->way) ? 2 : 1) + row->bytes / 8 + SPARE;

	if (row->way == HO_MEMFD && row->thp)
		snprintf(row->skip, sizeof(row->skip),
			 "huge pages of a memfd need "
			 "/sys/kernel/mm/transparent_hugepage/shmem_enabled, which this "
			 "program does not change");
	else if (memory_available() < need)
		snprintf(row->skip, sizeof(row->skip),
			 "needs %" PRIu64 " MiB of memory, %" PRIu64 " are available",
			 need >> 20, memory_available() >> 20);
	return row->skip[0];
}

static void keep(struct ho_row *row, const struct ho_shared *s)
{
	uint64_t start = s->commit_ns ? s->commit_ns : s->begin_ns;
	int64_t extra = s->ram_peak - s->ram_before;

	row->blackout_ms[row->n] = (double)(s->commit_ns - s->stop_ns) / 1e6;
	row->total_s[row->n] = (double)(s->complete_ns - s->begin_ns) / 1e9;
	row->drain_s[row->n] = (double)(s->complete_ns - start) / 1e9;
	row->n++;
	if (extra > row->extra_ram)
		row->extra_ram = extra;
	row->touches += s->touches;
	if (s->faults.count)
		hist_merge(&row->faults, &s->faults);
	row->stats = s->stats;
}

static void run_row(struct ho_row *row, struct ho_shared *shared, const char *socket)
{
	struct ho_cell cell = {
		.way = row->way, .bytes = row->bytes, .thp = row->thp, .shared = shared
	};
	unsigned int bound = 3 * HO_WAIT_MS + (unsigned int)(row->bytes / MIB) * 20;

	if (hopeless(row))
		return;
	memset(shared, 0, sizeof(*shared));
	if (child_run(ho_cell_run, &cell, bound, row->skip) == 0)
		keep(row, shared);
}

/* The same-CPU ZEROPAGE round trip, measured between the hand-overs of each round. */
static void run_bare(struct fault_row *bare)
{
	struct fault_shared *shared = shared_alloc(sizeof(*shared));
	struct fault_cell cell = {
		.row = bare, .shared = shared, .pages = BARE_PAGES, .budget_ns = BARE_BUDGET_NS
	};

	if (shared && child_run(fault_cell_run, &cell, HO_WAIT_MS, bare->skip) == 0)
		hist_merge(&bare->hist, &shared->hist);
	shared_free(shared, sizeof(*shared));
}

static int run_rounds(struct ho_table *t)
{
	struct ho_shared *shared = shared_alloc(sizeof(*shared));
	const char *socket = child_scratch("socket");
	unsigned int order[MAX_ROWS];
	char name[128];

	if (!shared || !socket)
		return shared ? -errno : -ENOMEM;
	for (unsigned int round = 0; round < t->rounds; round++) {
		shuffle(order, t->n);
		run_bare(&t->bare);
		for (size_t i = 0; i < t->n; i++) {
			struct ho_row *row = &t->rows[order[i]];

			/* large ones every other time, or it would take an hour */
			if (row->skip[0] || (row->bytes > GIB && round % 2))
				continue;
			progress("round %u of %u, row %zu of %zu: %s", round + 1, t->rounds,
				 i + 1, t->n, row_name(row, name, sizeof(name)));
			run_row(row, shared, socket);
		}
	}
	progress_done();
	child_scratch_end();
	shared_free(shared, sizeof(*shared));
	return 0;
}

/* -------------------------------------------------------------- results */

static bool is_ferry(const struct ho_row *row)
{
	return row->way == HO_MEMFERRY || row->way == HO_MEMFERRY_TCP;
}

static bool is_loop(const struct ho_row *row)
{
	return row->way == HO_UFFD_COPY || row->way == HO_UFFD_COPY_RELEASE;
}

static double blackout_ms(struct ho_row *row)
{
	return is_loop(row) ? 0 : median(row->blackout_ms, row->n);
}

static double total_s(struct ho_row *row)
{
	return median(row->total_s, row->n);
}

/* 0 where there is no drain */
static double drain_gb_per_s(struct ho_row *row)
{
	double s = median(row->drain_s, row->n);

	return (is_ferry(row) || is_loop(row)) && s > 0 ? (double)row->bytes / s / 1e9 : 0;
}

static void add_faults(struct json_object *obj, const struct ho_row *row)
{
	struct json_object *f = json_object_new_object();

	json_add_double(f, "p50", (double)hist_percentile(&row->faults, 50) / 1e3);
	json_add_double(f, "p99", (double)hist_percentile(&row->faults, 99) / 1e3);
	json_add_double(f, "p999", (double)hist_percentile(&row->faults, 99.9) / 1e3);
	json_add_double(f, "max", (double)row->faults.max_ns / 1e3);
	json_add_int(f, "count", (int64_t)row->faults.count);
	json_object_object_add(obj, "fault_us", f);
}

static void add_stats(struct json_object *obj, const struct mf_stats *st)
{
	struct json_object *pages = json_object_new_object();

	json_add_int(pages, "move", (int64_t)st->pages_move);
	json_add_int(pages, "give", (int64_t)st->pages_give);
	json_add_int(pages, "copy", (int64_t)st->pages_copy);
	json_add_int(pages, "fd", (int64_t)st->pages_fd);
	json_object_object_add(obj, "pages", pages);
	if (st->placement < 4)
		json_add_string(obj, "placement", placement_names[st->placement]);
	json_add_double(obj, "serve_p50_us", (double)st->serve.p50_ns / 1e3);
}

static struct json_object *row_json(struct ho_row *row)
{
	struct json_object *obj = json_object_new_object();

	json_add_string(obj, "way", way_names[row->way]);
	json_add_int(obj, "bytes", (int64_t)row->bytes);
	json_add_string(obj, "page", row->thp ? "thp" : "4k");
	json_add_int(obj, "rounds", row->n);
	if (!is_loop(row))
		json_add_double(obj, "blackout_ms", blackout_ms(row));
	json_object_object_add(obj, "total_s", json_object_new_double(total_s(row)));
	json_add_double(obj, "gb_per_s", (double)row->bytes / total_s(row) / 1e9);
	if (drain_gb_per_s(row) > 0)
		json_add_double(obj, "drain_gb_per_s", drain_gb_per_s(row));
	json_add_int(obj, "extra_ram_bytes", row->extra_ram);
	json_add_double(obj, "extra_ram_mib", (double)row->extra_ram / (double)MIB);
	if (row->faults.count)
		add_faults(obj, row);
	if (is_ferry(row) && row->stats.size)
		add_stats(obj, &row->stats);
	return obj;
}

static void rows_json(struct ho_table *t, struct report *rep)
{
	char name[128];

	for (size_t i = 0; i < t->n; i++) {
		struct ho_row *row = &t->rows[i];

		if (row->skip[0] || !row->n) {
			report_skip(rep, row_name(row, name, sizeof(name)), "%s",
				    row->skip[0] ? row->skip : "not measured");
			rep->wrong_data |= strstr(row->skip, "wrong contents") != NULL;
			continue;
		}
		json_object_array_add(rep->rows, row_json(row));
	}
}

static struct ho_row *find(struct ho_table *t, enum ho_way way, uint64_t bytes, bool thp)
{
	for (size_t i = 0; i < t->n; i++) {
		struct ho_row *r = &t->rows[i];

		if (r->way == way && r->bytes == bytes && r->thp == thp && !r->skip[0] && r->n)
			return r;
	}
	return NULL;
}

static double p50_us(const struct ho_row *row)
{
	return row ? (double)hist_percentile(&row->faults, 50) / 1e3 : 0;
}

/* "NAME_4k_1G" for one size and page size */
static void ratios_of(struct ho_table *t, struct report *rep, uint64_t bytes, bool thp)
{
	struct ho_row *ours = find(t, HO_MEMFERRY, bytes, thp);
	struct ho_row *tcp = find(t, HO_MEMFERRY_TCP, bytes, thp);
	struct ho_row *stop = find(t, HO_STOP_AND_COPY, bytes, thp);
	struct ho_row *loop = find(t, HO_UFFD_COPY, bytes, thp);
	struct ho_row *release = find(t, HO_UFFD_COPY_RELEASE, bytes, thp);
	char name[96], text[24];
	const char *page = thp ? "thp" : "4k", *size = size_text(text, bytes);

	if (!ours)
		return;
	snprintf(name, sizeof(name), "drain_over_uffd_copy_%s_%s", page, size);
	report_ratio(rep, name, drain_gb_per_s(ours), loop ? drain_gb_per_s(loop) : 0);
	snprintf(name, sizeof(name), "drain_over_uffd_copy_release_%s_%s", page, size);
	report_ratio(rep, name, drain_gb_per_s(ours), release ? drain_gb_per_s(release) : 0);
	snprintf(name, sizeof(name), "tcp_fault_p50_over_memferry_%s_%s", page, size);
	report_ratio(rep, name, p50_us(tcp), p50_us(ours));
	snprintf(name, sizeof(name), "fault_p50_over_zeropage_%s_%s", page, size);
	report_ratio(rep, name, p50_us(ours), (double)hist_percentile(&t->bare.hist, 50) / 1e3);
	snprintf(name, sizeof(name), "stop_and_copy_blackout_over_memferry_%s_%s", page, size);
	report_ratio(rep, name, stop ? blackout_ms(stop) : 0, blackout_ms(ours));
}

/* The blackout must not grow with the memory: largest size against 256 MiB. */
static void ratio_of_sizes(struct ho_table *t, struct report *rep, bool thp)
{
	struct ho_row *small = find(t, HO_MEMFERRY, 256 * MIB, thp), *large = NULL;

	for (size_t i = 0; i < t->n; i++) {
		struct ho_row *r = &t->rows[i];

		if (r->way == HO_MEMFERRY && r->thp == thp && !r->skip[0] && r->n &&
		    r->bytes > 256 * MIB && (!large || r->bytes > large->bytes))
			large = r;
	}
	if (small && large)
		report_ratio(rep,
			     thp ? "blackout_largest_over_256M_thp"
				 : "blackout_largest_over_256M_4k",
			     blackout_ms(large), blackout_ms(small));
}

static void ratios(struct ho_table *t, struct report *rep)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i].way == HO_MEMFERRY)
			ratios_of(t, rep, t->rows[i].bytes, t->rows[i].thp);
	ratio_of_sizes(t, rep, false);
	ratio_of_sizes(t, rep, true);
}

/* ----------------------------------------------------------------- table */

static void print_number(int width, int digits, double v, bool there)
{
	if (there)
		printf(" %*.*f", width, digits, v);
	else
		printf(" %*s", width, "-");
}

static void print_row(struct ho_row *row)
{
	bool faults = row->faults.count > 0;

	printf("  %-18s %-4s", way_names[row->way], row->thp ? "thp" : "4k");
	print_number(11, 3, blackout_ms(row), !is_loop(row));
	print_number(9, 3, total_s(row), true);
	print_number(8, 2, (double)row->bytes / total_s(row) / 1e9, row->way != HO_MEMFD);
	print_number(8, 2, drain_gb_per_s(row), drain_gb_per_s(row) > 0);
	print_number(9, 1, p50_us(row), faults);
	print_number(9, 1, (double)hist_percentile(&row->faults, 99) / 1e3, faults);
	print_number(9, 1, (double)hist_percentile(&row->faults, 99.9) / 1e3, faults);
	print_number(9, 1, (double)row->extra_ram / (double)MIB, true);
	printf("\n");
}

static void print(struct ho_table *t, const struct report *rep)
{
	uint64_t bytes = 0;
	char text[24];

	env_print();
	for (size_t i = 0; i < t->n; i++) {
		struct ho_row *row = &t->rows[i];

		if (row->bytes != bytes) {
			bytes = row->bytes;
			printf("\n%s (medians of %u)\n  %-18s %-4s %11s %9s %8s %8s %9s %9s %9s "
			       "%9s\n",
			       size_text(text, bytes),
			       bytes > GIB ? (t->rounds + 1) / 2 : t->rounds, "way", "page",
			       "blackout ms", "total s", "GB/s", "drain", "flt p50", "p99 us",
			       "p99.9 us", "extra MiB");
		}
		if (!row->skip[0] && row->n)
			print_row(row);
	}
	printf("\nratios\n");
	report_print_ratios(rep);
	report_print_skipped(rep);
}

int bench_handover(const struct bench_opts *opts, struct report *rep)
{
	struct ho_table t = { .rows = calloc(MAX_ROWS, sizeof(struct ho_row)),
			      .rounds = opts->quick ? ROUNDS_QUICK : ROUNDS };
	int r;

	if (!t.rows)
		return -ENOMEM;
	if (opts->rounds)
		t.rounds = opts->rounds < MAX_ROUNDS ? opts->rounds : MAX_ROUNDS;
	t.bare = (struct fault_row){ .op = OP_ZEROPAGE_BARE, .threads = 1 };
	hist_init(&t.bare.hist);
	add_rows(&t, opts);
	r = run_rounds(&t);
	if (r == 0) {
		rows_json(&t, rep);
		ratios(&t, rep);
		if (!opts->json)
			print(&t, rep);
		if (opts->plot)
			r = plot_handover(rep, opts->plot);
	}
	free(t.rows);
	return r;
}
