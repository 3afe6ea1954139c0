/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plot.h"

#include <stdio.h>
#include <string.h>

#include "gnuplot.h"

static const char *str(struct json_object *row, const char *key)
{
	const char *s = json_object_get_string(json_object_object_get(row, key));

	return s ? s : "";
}

static double num(struct json_object *row, const char *key)
{
	return json_object_get_double(json_object_object_get(row, key));
}

static bool is(struct json_object *row, const char *key, const char *value)
{
	return !strcmp(str(row, key), value);
}

static void where(FILE *out, const struct report *rep)
{
	fprintf(out, "set title noenhanced\n");
	fprintf(out,
		"set label 1 \"%s, %s CPUs, Linux %s, THP %s\" at screen 0.99,0.012 right "
		"font 'sans,8' noenhanced\n",
		str(rep->root, "machine"), str(rep->root, "cpus"), str(rep->root, "kernel"),
		str(rep->root, "thp"));
}

/* ----------------------------------------------------------------- fault */

static bool one_idle_thread(struct json_object *row)
{
	return num(row, "threads") == 1 && is(row, "load", "idle");
}

static void fault_data(FILE *out, const struct report *rep, const char *op)
{
	size_t n = json_object_array_length(rep->rows), at = 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_array_get_idx(rep->rows, i);

		if (!one_idle_thread(row))
			continue;
		if (is(row, "op", op))
			fprintf(out, "%zu %f %f %f\n", at, num(row, "p50_us"),
				num(row, "p99_us"), num(row, "p999_us"));
		at++;
	}
	fprintf(out, "EOD\n");
}

static void fault_tics(FILE *out, const struct report *rep)
{
	size_t n = json_object_array_length(rep->rows), at = 0;

	fprintf(out, "set xtics rotate by -40 noenhanced font 'sans,9' (");
	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_array_get_idx(rep->rows, i);

		if (!one_idle_thread(row))
			continue;
		fprintf(out, "%s\"%s %s %s\" %zu", at ? ", " : "", str(row, "op"),
			str(row, "handler"),
			is(row, "handler", "kernel") || is(row, "handler", "in-thread")
				? ""
				: str(row, "placement"),
			at);
		at++;
	}
	fprintf(out, ")\nset xrange [-0.7:%zu]\n", at);
}

int plot_fault(const struct report *rep, const char *file)
{
	static const char *const ops[] = { "move",
					   "copy",
					   "zeropage",
					   "zeropage-bare",
					   "first-touch-write",
					   "first-touch-read" };
	struct gnuplot *g;
	int r = gnuplot_open(&g, file, 1300, 750);
	FILE *out;

	if (r)
		return r;
	out = gnuplot_script(g);
	for (size_t i = 0; i < 6; i++) {
		fprintf(out, "$d%zu << EOD\n", i);
		fault_data(out, rep, ops[i]);
	}
	where(out, rep);
	fprintf(out,
		"set title 'Resolving a page fault, one faulting thread, idle: bar p50, "
		"whisker to p99, dot p99.9'\n"
		"set ylabel 'latency in the faulting thread [us]'\n"
		"set logscale y\nset yrange [0.1:*]\nset grid ytics mytics\n"
		"set style fill solid 0.8\nset boxwidth 0.8\nset key outside top center horizontal noenhanced\n"
		"set bmargin 9\n");
	fault_tics(out, rep);
	fprintf(out, "plot ");
	for (size_t i = 0; i < 6; i++)
		fprintf(out, "$d%zu using 1:2 with boxes lc %zu title '%s', ", i, i + 1,
			ops[i]);
	for (size_t i = 0; i < 6; i++)
		fprintf(out,
			"$d%zu using 1:2:2:3 with yerrorbars lc 'black' pt 0 notitle, "
			"$d%zu using 1:4 with points lc 'black' pt 7 ps 0.5 notitle%s",
			i, i, i < 5 ? ", " : "\n");
	return gnuplot_close(g);
}

/* ------------------------------------------------------------------ bulk */

static size_t bulk_data(FILE *out, const struct report *rep, const char *op, const char *page)
{
	size_t n = json_object_array_length(rep->rows), found = 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_array_get_idx(rep->rows, i);

		if (!is(row, "op", op) || !is(row, "page", page))
			continue;
		fprintf(out, "%f %f\n", num(row, "call_bytes") / 1024, num(row, "gb_per_s"));
		found++;
	}
	if (!found) /* gnuplot stops at a block without a line */
		fprintf(out, "NaN NaN\n");
	fprintf(out, "EOD\n");
	return found;
}

int plot_bulk(const struct report *rep, const char *file)
{
	static const char *const ops[] = { "move", "copy", "memcpy", "process_vm_readv" };
	struct gnuplot *g;
	int r = gnuplot_open(&g, file, 1100, 700);
	FILE *out;

	if (r)
		return r;
	out = gnuplot_script(g);
	for (size_t i = 0; i < 8; i++) {
		fprintf(out, "$d%zu << EOD\n", i);
		bulk_data(out, rep, ops[i % 4], i < 4 ? "4k" : "thp");
	}
	where(out, rep);
	fprintf(out,
		"set title 'Moving and copying memory, one thread'\n"
		"set xlabel 'bytes a call [KiB]'\nset ylabel 'GB/s'\n"
		"set logscale xy\nset grid\nset key outside right noenhanced\n"
		"set xtics (4,16,64,256,1024,2048,4096,16384,65536)\nset bmargin 5\nplot ");
	for (size_t i = 0; i < 8; i++)
		fprintf(out,
			"$d%zu using 1:2 with linespoints lc %zu lw 2 dt %d pt %d "
			"title '%s %s'%s",
			i, i % 4 + 1, i < 4 ? 1 : 2, i < 4 ? 7 : 5, ops[i % 4],
			i < 4 ? "4k" : "thp", i < 7 ? ", " : "\n");
	return gnuplot_close(g);
}

/* -------------------------------------------------------------- handover */

/* x: MiB; nested keys of fault_us as "fault_us.p50" */
static double value(struct json_object *row, const char *key)
{
	const char *dot = strchr(key, '.');
	struct json_object *inner;
	char outer[32];

	if (!dot)
		return num(row, key);
	snprintf(outer, sizeof(outer), "%.*s", (int)(dot - key), key);
	inner = json_object_object_get(row, outer);
	return inner ? num(inner, dot + 1) : 0;
}

static void handover_block(FILE *out, const struct report *rep, const char *way,
			   const char *page, const char *key)
{
	size_t n = json_object_array_length(rep->rows), found = 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_array_get_idx(rep->rows, i);
		double v = value(row, key);

		/* on a logarithmic axis there is no zero */
		if (!is(row, "way", way) || !is(row, "page", page) || v <= 0)
			continue;
		fprintf(out, "%f %f\n", num(row, "bytes") / 1048576, v);
		found++;
	}
	if (!found)
		fprintf(out, "NaN NaN\n");
	fprintf(out, "EOD\n");
}

static void handover_panel(FILE *out, const struct report *rep, const char *key,
			   const char *title)
{
	static const char *const ways[] = { "memferry", "stop-and-copy", "memfd",
					    "memferry-tcp", "uffd-copy" };

	for (size_t i = 0; i < 10; i++) {
		fprintf(out, "$d%zu << EOD\n", i);
		handover_block(out, rep, ways[i / 2], i % 2 ? "thp" : "4k", key);
	}
	fprintf(out, "set ylabel '%s'\nplot ", title);
	for (size_t i = 0; i < 10; i++)
		fprintf(out,
			"$d%zu using 1:2 with linespoints lc %zu lw 2 dt %d pt %d "
			"title '%s %s'%s",
			i, i / 2 + 1, i % 2 ? 2 : 1, i % 2 ? 5 : 7, ways[i / 2],
			i % 2 ? "thp" : "4k", i < 9 ? ", " : "\n");
}

int plot_handover(const struct report *rep, const char *file)
{
	struct gnuplot *g;
	int r = gnuplot_open(&g, file, 1500, 1000);
	FILE *out;

	if (r)
		return r;
	out = gnuplot_script(g);
	where(out, rep);
	fprintf(out, "set multiplot layout 2,2 title 'Handing over memory' margins "
		     "0.06,0.86,0.08,0.93 spacing 0.07,0.09\n"
		     "set xlabel 'memory [MiB]'\nset logscale xy\nset grid\n"
		     "set xtics (64,256,1024,4096,8192)\nset format y '%%g'\nunset key\n");
	handover_panel(out, rep, "blackout_ms", "blackout [ms]");
	fprintf(out, "set key at screen 0.99,0.93 noenhanced font 'sans,9'\nunset label 1\n");
	handover_panel(out, rep, "total_s", "until everything has arrived [s]");
	fprintf(out, "unset key\n");
	handover_panel(out, rep, "fault_us.p99", "fault p99 in the successor [us]");
	handover_panel(out, rep, "extra_ram_mib", "peak extra memory [MiB]");
	fprintf(out, "unset multiplot\n");
	return gnuplot_close(g);
}
