/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fills the server with the data set, keeps asking for it under load, and checks all of it.
 *
 * The clients of the load each own a part of the keys, so that each knows the version of
 * every value that it reads. A request is due at a fixed time; its latency counts from then,
 * whether or not the one before it was answered by then, as a caller would see it.
 */
#ifndef MF_DEMO_LOAD_H
#define MF_DEMO_LOAD_H

#include "demo.h"

#define LOAD_CLIENTS 4
#define LOAD_RATE 500 /* requests a second, of each client */

struct load;

/* Set up for @n_keys keys on the server at @path. NULL: no memory. */
struct load *load_new(const char *path, uint32_t n_keys);
void load_free(struct load *l);

/* Write the first version of every value. 0 or -errno, told on stderr. */
int load_fill(struct load *l);
int load_start(struct load *l);
void load_stop(struct load *l);
/*
 * Read back every value and compare; the clients rest meanwhile. *ret_lost is the number
 * of those that were missing or wrong.
 */
int load_verify(struct load *l, uint64_t *ret_lost);

/* What the clients met: wrong values, error replies, connections that were cut. */
struct load_faults {
	uint64_t wrong, errors, dropped;
};
struct load_faults load_faults(struct load *l);
uint64_t load_updates(struct load *l);

/* Only when stopped: the latencies of the requests that were due in [from, to). */
void load_hist(struct load *l, uint64_t from_ns, uint64_t to_ns, struct hist *h);
typedef void (*load_sample_fn)(void *arg, const struct demo_sample *s);
void load_samples(struct load *l, load_sample_fn fn, void *arg);

#endif /* MF_DEMO_LOAD_H */
