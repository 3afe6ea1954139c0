/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hist.h"

#include <string.h>

static unsigned int slot_of(uint64_t ns)
{
	unsigned int shift;

	if (ns > HIST_MAX_NS)
		ns = HIST_MAX_NS;
	if (ns < 2 * HIST_SUB)
		return (unsigned int)ns;
	shift = 63 - (unsigned int)__builtin_clzll(ns) - HIST_SUB_BITS;
	/* ns >> shift is in [HIST_SUB, 2 * HIST_SUB) */
	return shift * HIST_SUB + (unsigned int)(ns >> shift);
}

/* the middle of a slot: half the error of either edge */
static uint64_t slot_value(unsigned int slot)
{
	unsigned int shift;
	uint64_t low;

	if (slot < 2 * HIST_SUB)
		return slot;
	shift = slot / HIST_SUB - 1;
	low = (uint64_t)(slot % HIST_SUB + HIST_SUB) << shift;
	return low + (((uint64_t)1 << shift) >> 1);
}

void hist_init(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min_ns = UINT64_MAX;
}

void hist_record(struct hist *h, uint64_t ns)
{
	h->slot[slot_of(ns)]++;
	h->count++;
	h->sum_ns += ns;
	if (ns < h->min_ns)
		h->min_ns = ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

void hist_merge(struct hist *h, const struct hist *from)
{
	for (unsigned int i = 0; i < HIST_SLOTS; i++)
		h->slot[i] += from->slot[i];
	h->count += from->count;
	h->sum_ns += from->sum_ns;
	if (from->min_ns < h->min_ns)
		h->min_ns = from->min_ns;
	if (from->max_ns > h->max_ns)
		h->max_ns = from->max_ns;
}

/* the middle of a slot can lie outside what was seen */
static uint64_t within_seen(const struct hist *h, uint64_t ns)
{
	if (ns < h->min_ns)
		return h->min_ns;
	return ns > h->max_ns ? h->max_ns : ns;
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
	double want = (double)h->count * percent / 100.0;
	uint64_t need = (uint64_t)want, seen = 0;

	if (h->count == 0)
		return 0;
	if ((double)need < want)
		need++;
	if (need >= h->count)
		return h->max_ns;
	if (need == 0)
		return h->min_ns;
	for (unsigned int i = 0; i < HIST_SLOTS; i++) {
		seen += h->slot[i];
		if (seen >= need)
			return within_seen(h, slot_value(i));
	}
	return h->max_ns;
}

double hist_mean(const struct hist *h)
{
	return h->count ? (double)h->sum_ns / (double)h->count : 0.0;
}
