/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "demo_report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../bench/bench.h"
#include "demo_kv.h"

#define MS 1e6
#define WINDOW_NS (DEMO_WINDOW_S * 1000000000ull)

static const char *const window_names[WINDOWS] = { "before", "during", "after" };

/* NAN: it was not measured. */
static double info(const struct demo_handover *h, const char *name)
{
	double value;

	return kv_info_number(h->info, name, &value) ? (double)NAN : value;
}

static void window_hist(struct demo_result *res, const struct demo_handover *h,
			enum demo_window w, struct hist *ret)
{
	const uint64_t from[WINDOWS] = { h->start_ns - WINDOW_NS, h->start_ns, h->drained_ns };
	const uint64_t to[WINDOWS] = { h->start_ns, h->drained_ns, h->end_ns };

	load_hist(res->load, from[w], to[w], ret);
}

/* Pages that came with their contents, by whichever route. */
static double pages_moved(const struct demo_handover *h)
{
	return info(h, "pages_move") + info(h, "pages_give") + info(h, "pages_copy");
}

static double drain_gb_per_s(const struct demo_handover *h)
{
	return pages_moved(h) * 4096 / 1e9 / (info(h, "drain_ms") / 1e3);
}

static double prepare_ms(const struct demo_handover *h)
{
	return info(h, "total_ms") - info(h, "blackout_ms") - info(h, "drain_ms");
}

bool demo_verified(const struct demo_result *res)
{
	return res->complete && res->values && !res->lost && !res->clients.wrong &&
	       !res->clients.errors && !res->clients.dropped && !res->benchmark_failed;
}

/* ---------------------------------------------------------------- table */

/* A row with one number for each hand-over; "-" for what was not measured. */
static void row(struct demo_result *res, const char *name, const char *unit, int digits,
		double (*get)(const struct demo_handover *h))
{
	printf("  %-26s", name);
	for (unsigned int i = 0; i < res->n_handovers; i++) {
		double v = get(&res->handover[i]);

		if (isnan(v))
			printf(" %12s", "-");
		else
			printf(" %12.*f", digits, v);
	}
	printf("  %s\n", unit);
}

#define INFO_GETTER(name)                                                                      \
	static double get_##name(const struct demo_handover *h)                                \
	{                                                                                      \
		return info(h, #name);                                                         \
	}

INFO_GETTER(blackout_ms)
INFO_GETTER(drain_ms)
INFO_GETTER(total_ms)
INFO_GETTER(faults)
INFO_GETTER(fault_count)
INFO_GETTER(fault_p50_us)
INFO_GETTER(fault_p99_us)
INFO_GETTER(fault_p999_us)
INFO_GETTER(serve_p50_us)
INFO_GETTER(serve_p99_us)
INFO_GETTER(serve_p999_us)
INFO_GETTER(pages_move)
INFO_GETTER(pages_give)
INFO_GETTER(pages_copy)
INFO_GETTER(pages_fd)
INFO_GETTER(pages_zero)

static double get_extra_mib(const struct demo_handover *h)
{
	return h->extra_ram < 0 ? (double)NAN : (double)h->extra_ram / (double)MIB;
}

static double get_lost(const struct demo_handover *h)
{
	return (double)h->lost;
}

static void print_handovers(struct demo_result *res)
{
	printf("\nhand-over                   ");
	for (unsigned int i = 0; i < res->n_handovers; i++)
		printf(" %12u", i + 1);
	printf("\n");
	row(res, "attach and prepare", "ms", 2, prepare_ms);
	row(res, "blackout", "ms", 2, get_blackout_ms);
	row(res, "drain", "ms", 1, get_drain_ms);
	row(res, "all of it", "ms", 1, get_total_ms);
	row(res, "drain speed", "GB/s", 2, drain_gb_per_s);
	row(res, "faults served", "", 0, get_faults);
	row(res, "  served in, p50", "us", 1, get_serve_p50_us);
	row(res, "  p99", "us", 1, get_serve_p99_us);
	row(res, "  p99.9", "us", 1, get_serve_p999_us);
	row(res, "  seen by the thread, p50", "us", 1, get_fault_p50_us);
	row(res, "  p99", "us", 1, get_fault_p99_us);
	row(res, "  p99.9", "us", 1, get_fault_p999_us);
	row(res, "  (samples)", "", 0, get_fault_count);
	row(res, "pages by move", "4 KiB", 0, get_pages_move);
	row(res, "  by give", "4 KiB", 0, get_pages_give);
	row(res, "  by copy", "4 KiB", 0, get_pages_copy);
	row(res, "  by descriptor", "4 KiB", 0, get_pages_fd);
	row(res, "  holes", "4 KiB", 0, get_pages_zero);
	row(res, "peak extra RAM", "MiB", 1, get_extra_mib);
	row(res, "values lost", "", 0, get_lost);
}

static void print_clients(struct demo_result *res)
{
	struct hist h;

	printf("\nclients' latency, ms             p50      p99      max   requests\n");
	for (unsigned int i = 0; i < res->n_handovers; i++) {
		for (enum demo_window w = 0; w < WINDOWS; w++) {
			window_hist(res, &res->handover[i], w, &h);
			printf("  hand-over %u %-7s", i + 1, window_names[w]);
			if (h.count)
				printf("       %8.2f %8.2f %8.2f %10" PRIu64 "\n",
				       (double)hist_percentile(&h, 50) / MS,
				       (double)hist_percentile(&h, 99) / MS,
				       (double)h.max_ns / MS, h.count);
			else
				printf("       %8s %8s %8s %10d\n", "-", "-", "-", 0);
		}
	}
}

void demo_print(struct demo_result *res)
{
	const struct load_faults *f = &res->clients;

	if (res->n_handovers) {
		print_handovers(res);
		print_clients(res);
	}
	printf("\n%" PRIu64 " commands, %" PRIu64
	       " values updated under load; wrong values %" PRIu64 ", error replies %" PRIu64
	       ", lost connections %" PRIu64 "; redis-benchmark: %s\n",
	       res->commands, load_updates(res->load), f->wrong, f->errors, f->dropped,
	       res->benchmark_failed ? res->benchmark_failed
	       : res->benchmark_ran  ? "no error"
				     : "not installed, left out");
	env_print();
}

/* ----------------------------------------------------------------- JSON */

/* What was not measured is left out. */
static void add_measured(struct json_object *obj, const char *key, double value)
{
	if (!isnan(value) && !isinf(value))
		json_add_double(obj, key, value);
}

static void add_count(struct json_object *obj, const char *key, double value)
{
	if (!isnan(value))
		json_add_int(obj, key, (int64_t)value);
}

static void add_latency(struct json_object *obj, const char *key, const struct demo_handover *h,
			const char *which)
{
	static const char *const parts[] = { "p50", "p99", "p999", "max" };
	struct json_object *lat;
	char name[32];

	snprintf(name, sizeof(name), "%s_count", which);
	if (isnan(info(h, name)))
		return;
	lat = json_object_new_object();
	add_count(lat, "count", info(h, name));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(name, sizeof(name), "%s_%s_us", which, parts[i]);
		add_measured(lat, parts[i], info(h, name));
	}
	json_object_object_add(obj, key, lat);
}

static void add_hist(struct json_object *obj, const char *key, const struct hist *h)
{
	struct json_object *o;

	if (!h->count)
		return;
	o = json_object_new_object();
	json_add_double(o, "p50", (double)hist_percentile(h, 50) / MS);
	json_add_double(o, "p99", (double)hist_percentile(h, 99) / MS);
	json_add_double(o, "max", (double)h->max_ns / MS);
	json_add_int(o, "count", (int64_t)h->count);
	json_object_object_add(obj, key, o);
}

static struct json_object *handover_json(struct demo_result *res, const struct demo_handover *h,
					 struct hist *all)
{
	static const char *const routes[] = { "move", "give", "copy", "fd", "zero" };
	struct json_object *obj = json_object_new_object();
	struct json_object *pages = json_object_new_object();
	struct json_object *clients = json_object_new_object();
	struct hist win = {};
	char name[32];

	add_measured(obj, "prepare_ms", prepare_ms(h));
	add_measured(obj, "blackout_ms", info(h, "blackout_ms"));
	add_measured(obj, "drain_ms", info(h, "drain_ms"));
	add_measured(obj, "total_s", info(h, "total_ms") / 1e3);
	add_count(obj, "faults", info(h, "faults"));
	add_latency(obj, "fault_us", h, "fault");
	add_latency(obj, "serve_us", h, "serve");
	add_measured(obj, "gb_per_s", drain_gb_per_s(h));
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		snprintf(name, sizeof(name), "pages_%s", routes[i]);
		add_count(pages, routes[i], info(h, name));
	}
	json_object_object_add(obj, "pages", pages);
	if (h->extra_ram >= 0)
		json_add_int(obj, "extra_ram_bytes", h->extra_ram);
	for (enum demo_window w = 0; w < WINDOWS; w++) {
		window_hist(res, h, w, &win);
		hist_merge(&all[w], &win);
		add_hist(clients, window_names[w], &win);
	}
	json_object_object_add(obj, "client_ms", clients);
	json_add_int(obj, "lost", (int64_t)h->lost);
	return obj;
}

static struct json_object *build_json(struct demo_result *res)
{
	struct json_object *root = json_object_new_object();
	struct json_object *list = json_object_new_array();
	struct json_object *clients = json_object_new_object();
	struct hist all[WINDOWS];

	json_add_int(root, "schema", DEMO_SCHEMA);
	env_json(root);
	json_add_int(root, "size", (int64_t)res->opts->size);
	json_add_bool(root, "arena_thp", res->opts->thp);
	json_add_bool(root, "verified", demo_verified(res));
	json_add_int(root, "values", (int64_t)res->values);
	json_add_int(root, "verified_times", (int64_t)res->verified_times);
	json_add_int(root, "lost", (int64_t)(res->lost + res->clients.wrong));
	json_add_int(root, "error_replies", (int64_t)res->clients.errors);
	json_add_int(root, "lost_connections", (int64_t)res->clients.dropped);
	if (res->benchmark_ran)
		json_add_bool(root, "redis_benchmark_ok", !res->benchmark_failed);
	json_add_int(root, "commands", (int64_t)res->commands);
	for (int w = 0; w < WINDOWS; w++)
		hist_init(&all[w]);
	for (unsigned int i = 0; i < res->n_handovers; i++)
		json_object_array_add(list, handover_json(res, &res->handover[i], all));
	json_object_object_add(root, "handovers", list);
	for (int w = 0; w < WINDOWS; w++)
		add_hist(clients, window_names[w], &all[w]);
	json_object_object_add(root, "client_ms", clients);
	return root;
}

int demo_print_json(struct demo_result *res)
{
	struct json_object *root = build_json(res);

	printf("%s\n", json_object_to_json_string_ext(
			       root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
	return fflush(stdout) ? -errno : 0;
}
