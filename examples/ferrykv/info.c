// SPDX-License-Identifier: LGPL-2.1-or-later
/* INFO's memferry section: what the library counted and measured. */
#include <inttypes.h>

#include "handover.h"

static void info_latency(struct buf *out, const char *name, const struct mf_latency *l)
{
	if (!l->count)
		return;
	buf_printf(out,
		   "%s_count:%" PRIu64 "\r\n%s_p50_us:%.3f\r\n%s_p99_us:%.3f\r\n"
		   "%s_p999_us:%.3f\r\n%s_max_us:%.3f\r\n",
		   name, l->count, name, (double)l->p50_ns / 1e3, name, (double)l->p99_ns / 1e3,
		   name, (double)l->p999_ns / 1e3, name, (double)l->max_ns / 1e3);
}

static void info_pages(struct buf *out, const struct mf_stats *st)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "bytes_total", st->bytes_total },
		{ "bytes_done", st->bytes_done },
		{ "pages_move", st->pages_move },
		{ "pages_give", st->pages_give },
		{ "pages_copy", st->pages_copy },
		{ "pages_fd", st->pages_fd },
		{ "pages_zero", st->pages_zero },
		{ "pages_poisoned", st->pages_poisoned },
		{ "pages_released", st->pages_released },
		{ "faults", st->faults },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		buf_printf(out, "%s:%" PRIu64 "\r\n", rows[i].name, rows[i].value);
}

void handover_info(const struct server *srv, struct buf *out)
{
	static const char *const places[] = { "auto", "same", "spin", "sleep" };
	struct handover *h = srv->handover;
	struct mf_stats st;

	buf_printf(out, "role:%s\r\nhandovers:%" PRIu64 "\r\ndraining:%d\r\noffering:%d\r\n",
		   h && h->is_successor ? "successor" : "first", h ? h->count : 0,
		   h && h->successor, h && h->listening);
	if (!h || !h->is_successor)
		return;
	st = h->stats;
	st.size = sizeof(st);
	if (h->successor)
		mf_successor_stats(h->successor, &st);
	info_pages(out, &st);
	buf_printf(out, "blackout_ms:%.3f\r\n", (double)st.blackout_ns / 1e6);
	if (st.drain_ns)
		buf_printf(out, "drain_ms:%.3f\r\n", (double)st.drain_ns / 1e6);
	if (st.total_ns)
		buf_printf(out, "total_ms:%.3f\r\n", (double)st.total_ns / 1e6);
	info_latency(out, "serve", &st.serve);
	info_latency(out, "fault", &st.fault);
	buf_printf(out,
		   "placement:%s\r\nplace_same_ns:%u\r\nplace_spin_ns:%u\r\n"
		   "place_sleep_ns:%u\r\n",
		   places[st.placement & 3], st.place_same_ns, st.place_spin_ns,
		   st.place_sleep_ns);
}
