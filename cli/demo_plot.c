/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every request's latency over time, with the hand-overs marked. */
#include <stdio.h>

#include "../bench/gnuplot.h"
#include "demo_kv.h"
#include "demo_report.h"

#define WIDTH 1400
#define HEIGHT 700

struct pen {
	FILE *f;
	uint64_t zero_ns;
};

static void put_sample(void *arg, const struct demo_sample *s)
{
	struct pen *pen = arg;

	if (s->due_ns >= pen->zero_ns)
		fprintf(pen->f, "%.4f %.4f\n", (double)(s->due_ns - pen->zero_ns) / 1e9,
			(double)s->took_ns / 1e6);
}

static double seconds(const struct pen *pen, uint64_t ns)
{
	return (double)(ns - pen->zero_ns) / 1e9;
}

static void put_marks(struct pen *pen, const struct demo_result *res)
{
	for (unsigned int i = 0; i < res->n_handovers; i++) {
		const struct demo_handover *h = &res->handover[i];
		double from = seconds(pen, h->start_ns), to = seconds(pen, h->drained_ns);
		double blackout;

		fprintf(pen->f,
			"set object %u rect from %.4f, graph 0 to %.4f, graph 1 behind "
			"fc rgb '#ffd9a0' fs solid 0.6 noborder\n",
			i + 1, from, to);
		fprintf(pen->f, "set label %u \"hand-over %u\\n%.2f s", i + 1, i + 1,
			to - from);
		if (kv_info_number(h->info, "blackout_ms", &blackout) == 0)
			fprintf(pen->f, "\\nblackout %.2f ms", blackout);
		fprintf(pen->f, "\" at %.4f, graph 0.96\n", to);
	}
}

int demo_plot(struct demo_result *res, const char *file)
{
	struct gnuplot *g;
	struct pen pen;
	int r;

	if (!res->n_handovers)
		return 0;
	r = gnuplot_open(&g, file, WIDTH, HEIGHT);
	if (r)
		return r;
	pen.f = gnuplot_script(g);
	pen.zero_ns = res->handover[0].start_ns - DEMO_WINDOW_S * 1000000000ull;
	fprintf(pen.f,
		"set title 'ferrykv, %.1f GiB: what clients see while it is handed over'\n"
		"set xlabel 'seconds'\nset ylabel 'request latency, ms'\nset logscale y\n"
		"set grid\nset key off\n",
		(double)res->opts->size / (double)(1ull << 30));
	put_marks(&pen, res);
	fprintf(pen.f, "plot '-' with points pt 7 ps 0.3 lc rgb '#1f5f9f'\n");
	load_samples(res->load, put_sample, &pen);
	fprintf(pen.f, "e\n");
	return gnuplot_close(g);
}
