/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A gnuplot(1) at the other end of a pipe:
 *
 *	struct gnuplot *g;
 *	gnuplot_open(&g, "latency.png", 1200, 700);
 *	fprintf(gnuplot_script(g), "plot ...");
 *	gnuplot_close(g);
 */
#ifndef MF_BENCH_GNUPLOT_H
#define MF_BENCH_GNUPLOT_H

#include <stdio.h>

struct gnuplot;

/* Prepares a script that draws into @png. 0, -ENOMEM, -EINVAL (the file's name). */
int gnuplot_open(struct gnuplot **ret, const char *png, int width, int height);
FILE *gnuplot_script(struct gnuplot *g);
/*
 * Runs the script, for at most half a minute, and frees @g. 0; -ENOENT: gnuplot is not
 * installed; -ETIMEDOUT; -EIO: it did not like the script. What failed is told on stderr.
 */
int gnuplot_close(struct gnuplot *g);

#endif /* MF_BENCH_GNUPLOT_H */
