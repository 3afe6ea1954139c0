/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Charts of reports, drawn by gnuplot(1) into a PNG. */
#ifndef MF_BENCH_PLOT_H
#define MF_BENCH_PLOT_H

#include "bench.h"

/* 0; -ENOENT: no gnuplot; -ETIMEDOUT; -EIO: it failed. Says on stderr what is wrong. */
int plot_fault(const struct report *rep, const char *file);
int plot_bulk(const struct report *rep, const char *file);
int plot_handover(const struct report *rep, const char *file);

#endif /* MF_BENCH_PLOT_H */
