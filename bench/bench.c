/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "memferry bench": which measurement, with which options. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cli/cli.h"
#include "bench.h"

struct measurement {
	const char *name;
	int (*run)(const struct bench_opts *opts, struct report *rep);
};

static const struct measurement measurements[] = {
	{ "fault", bench_fault },
	{ "bulk", bench_bulk },
	{ "handover", bench_handover },
};

#define N_MEASUREMENTS (sizeof(measurements) / sizeof(measurements[0]))

static const struct option options[] = {
	{ "quick", no_argument, NULL, 'q' },
	{ "json", no_argument, NULL, 'j' },
	{ "plot", required_argument, NULL, 'p' },
	{ "rounds", required_argument, NULL, 'r' },
	{ "sizes", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{},
};

static const char usage_text[] =
	"usage: memferry bench fault|bulk|handover|all [OPTION...]\n\n"
	"  fault     how long a page fault takes, seen by the thread that faults\n"
	"  bulk      GB/s of moving and copying, by call size\n"
	"  handover  a successor takes over memory: memferry against other ways\n"
	"  all       the three of them\n\n"
	"  --quick         fewer rows and rounds: a first look, within ten seconds each\n"
	"  --json          results as JSON\n"
	"  --plot FILE     draw a chart (PNG, by gnuplot); with all: NAME-fault.png ...\n"
	"  --rounds N      repeat each row N times, in shuffled order\n"
	"  --sizes LIST    handover: sizes of the memory, such as 64M,1G\n";

/* "64M" */
static int parse_size(const char *text, char **end, uint64_t *ret)
{
	unsigned long long n = strtoull(text, end, 10);
	unsigned int shift = 0;

	if (*end == text || n == 0)
		return -EINVAL;
	switch (**end) {
	case 'G':
	case 'g':
		shift = 30;
		break;
	case 'M':
	case 'm':
		shift = 20;
		break;
	case 'K':
	case 'k':
		shift = 10;
		break;
	default:
		return -EINVAL;
	}
	++*end;
	if (n > (UINT64_MAX >> shift) || (n << shift) % (2 * MIB))
		return -EINVAL;
	*ret = n << shift;
	return 0;
}

static int parse_sizes(const char *text, struct bench_opts *opts)
{
	char *end;

	for (;; text = end + 1) {
		if (opts->n_sizes == BENCH_MAX_SIZES ||
		    parse_size(text, &end, &opts->sizes[opts->n_sizes]))
			return -EINVAL;
		opts->n_sizes++;
		if (*end == '\0')
			return 0;
		if (*end != ',')
			return -EINVAL;
	}
}

static int bad(const char *what, const char *value)
{
	fprintf(stderr, "memferry bench: %s: '%s'; see memferry bench --help\n", what, value);
	return MF_EXIT_USAGE;
}

static int parse(int argc, char **argv, struct bench_opts *opts)
{
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'q':
			opts->quick = true;
			break;
		case 'j':
			opts->json = true;
			break;
		case 'p':
			opts->plot = optarg;
			break;
		case 'r':
			opts->rounds = (unsigned int)strtoul(optarg, &end, 10);
			if (*end || opts->rounds < 1 || opts->rounds > 100)
				return bad("--rounds takes a number from 1 to 100", optarg);
			break;
		case 's':
			opts->n_sizes = 0;
			if (parse_sizes(optarg, opts))
				return bad("--sizes takes multiples of 2M, as in 64M,1G",
					   optarg);
			break;
		case 'h':
			fputs(usage_text, stdout);
			return -1;
		default:
			return MF_EXIT_USAGE;
		}
	}
	return MF_EXIT_OK;
}

static int run_one(const struct measurement *m, const struct bench_opts *opts,
		   struct report *rep)
{
	int r = report_init(rep, m->name);

	if (r == 0)
		r = m->run(opts, rep);
	if (r < 0)
		fprintf(stderr, "memferry bench %s: %s\n", m->name, strerror(-r));
	if (rep->wrong_data)
		fprintf(stderr, "memferry bench %s: some pages had wrong contents\n", m->name);
	return r < 0 || rep->wrong_data ? MF_EXIT_FAILURE : MF_EXIT_OK;
}

static void print_json(struct json_object *obj)
{
	puts(json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PRETTY |
							 JSON_C_TO_STRING_NOSLASHESCAPE |
							 JSON_C_TO_STRING_SPACED));
}

/* "x.png" -> "x-fault.png" */
static void plot_name(char *buf, size_t size, const char *file, const char *name)
{
	const char *dot = strrchr(file, '.');
	size_t stem = dot && !strchr(dot, '/') ? (size_t)(dot - file) : strlen(file);

	snprintf(buf, size, "%.*s-%s.png", (int)stem, file, name);
}

static int run_all(const struct bench_opts *opts)
{
	struct json_object *all = json_object_new_object();
	int status = MF_EXIT_OK;

	json_add_int(all, "schema", BENCH_SCHEMA);
	json_add_string(all, "bench", "all");
	env_json(all);
	for (size_t i = 0; i < N_MEASUREMENTS; i++) {
		const struct measurement *m = &measurements[i];
		struct bench_opts mine = *opts;
		char file[4096];
		struct report rep;

		if (opts->plot) {
			plot_name(file, sizeof(file), opts->plot, m->name);
			mine.plot = file;
		}
		if (!opts->json)
			printf("%s==== %s\n", i ? "\n" : "", m->name);
		if (run_one(m, &mine, &rep))
			status = MF_EXIT_FAILURE;
		json_object_object_add(all, m->name, json_object_get(rep.root));
		report_free(&rep);
	}
	if (opts->json)
		print_json(all);
	json_object_put(all);
	return status;
}

static int run_named(const char *name, const struct bench_opts *opts)
{
	struct report rep;
	int status;

	if (!strcmp(name, "all"))
		return run_all(opts);
	for (size_t i = 0; i < N_MEASUREMENTS; i++) {
		if (strcmp(name, measurements[i].name))
			continue;
		status = run_one(&measurements[i], opts, &rep);
		if (opts->json && status == MF_EXIT_OK)
			print_json(rep.root);
		report_free(&rep);
		return status;
	}
	return bad("there is no such measurement", name);
}

int mf_cmd_bench(int argc, char **argv)
{
	struct bench_opts opts = { 0 };
	int r = parse(argc, argv, &opts);

	if (r)
		return r < 0 ? MF_EXIT_OK : r;
	if (optind + 1 != argc) {
		fputs(usage_text, stderr);
		return MF_EXIT_USAGE;
	}
	return run_named(argv[optind], &opts);
}
