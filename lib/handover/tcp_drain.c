/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pilot: answers page requests, and watches over what both threads depend on. */
#include "handover/tcp_drain.h"

#include <asm/errno.h>

#include "base/gate.h"
#include "base/mem.h"
#include "ferry/clone.h"
#include "memferry.h"

#include "base/faultpath.h"

#define FOLLOW_EVERY_NS (MF_NSEC_PER_MSEC)
#define BEAT_NS ((s64)50 * MF_NSEC_PER_MSEC)
#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62))
#define RX_URGENT (16 * MF_KIB)
#define RX_ACKS (64 * MF_KIB)

/* ------------------------------------------------------------------ tables */

struct sizes {
	u64 region, answered, streamed, acked, block_acked, rx_urgent, rx_bulk, page_buf,
		hidden_buf, total;
	u64 n_pages, n_blocks, largest;
};

static u64 take(u64 *at, u64 bytes)
{
	u64 here = *at;

	*at = mf_align_up(here + bytes, 64);
	return here;
}

static u64 blocks_of(const struct mf_tcp_region *r)
{
	return mf_align_up(r->src + r->len, MF_BLOCK_SIZE) / MF_BLOCK_SIZE -
	       r->src / MF_BLOCK_SIZE;
}

static void measure(const struct mf_tcp_region *region, u32 n, struct sizes *s)
{
	u64 at = mf_align_up(sizeof(struct mf_tcp_drain), 64), bits;
	u32 i;

	s->n_pages = s->n_blocks = 0;
	s->largest = MF_PAGE_SIZE;
	for (i = 0; i < n; i++) {
		s->n_pages += region[i].len / MF_PAGE_SIZE;
		s->n_blocks += blocks_of(&region[i]);
		s->largest = mf_max(s->largest, region[i].page_size);
	}
	bits = (s->n_pages + 63) / 64 * sizeof(u64);
	s->region = take(&at, n * sizeof(*region));
	s->answered = take(&at, bits);
	s->streamed = take(&at, bits);
	s->acked = take(&at, bits);
	s->block_acked = take(&at, s->n_blocks * sizeof(u16));
	s->rx_urgent = take(&at, RX_URGENT);
	s->rx_bulk = take(&at, RX_ACKS);
	at = mf_align_up(at, MF_PAGE_SIZE);
	s->page_buf = take(&at, mf_max(s->largest, MF_TCP_ANSWER));
	s->hidden_buf = take(&at, s->largest);
	s->total = mf_align_up(at, MF_PAGE_SIZE);
}

u64 mf_tcp_drain_bytes(const struct mf_tcp_region *region, u32 n_regions)
{
	struct sizes s;

	measure(region, n_regions, &s);
	return s.total;
}

void mf_tcp_drain_layout(struct mf_tcp_drain *d, const struct mf_tcp_region *region,
			 u32 n_regions)
{
	u64 page = 0, block = 0;
	struct sizes s;
	u32 i;

	measure(region, n_regions, &s);
	d->n_regions = n_regions;
	d->n_pages = s.n_pages;
	d->n_blocks = s.n_blocks;
	d->region = (void *)((u64)d + s.region);
	d->answered = (void *)((u64)d + s.answered);
	d->streamed = (void *)((u64)d + s.streamed);
	d->acked = (void *)((u64)d + s.acked);
	d->block_acked = (void *)((u64)d + s.block_acked);
	d->urgent_rx.buf = (void *)((u64)d + s.rx_urgent);
	d->urgent_rx.room = d->urgent_rx.eager = RX_URGENT;
	d->bulk_rx.buf = (void *)((u64)d + s.rx_bulk);
	d->bulk_rx.room = d->bulk_rx.eager = RX_ACKS;
	d->page_buf = (void *)((u64)d + s.page_buf);
	d->hidden_buf = (void *)((u64)d + s.hidden_buf);
	d->map_first = MF_TCP_NONE;
	for (i = 0; i < n_regions; i++) {
		d->region[i] = region[i];
		d->region[i].first_page = page;
		d->region[i].first_block = block;
		page += region[i].len / MF_PAGE_SIZE;
		block += blocks_of(&region[i]);
	}
}

const struct mf_tcp_region *mf_tcp_piece(const struct mf_tcp_drain *d, u32 region, u64 offset,
					 u64 len)
{
	const struct mf_tcp_region *r;

	if (region >= d->n_regions)
		return NULL;
	r = &d->region[region];
	if (offset >= r->len || len > r->len - offset ||
	    !mf_is_aligned(offset | len, r->page_size))
		return NULL;
	return r;
}

bool mf_tcp_read_hidden(const struct mf_tcp_drain *d, u64 src, u8 *buf, u64 len)
{
	return mf_sys_pread(d->mem, buf, len, src) == (long)len;
}

bool mf_tcp_is_zero(const void *p, u64 len)
{
	const u64 *w = p, *end = w + len / sizeof(u64);

	for (; w < end; w += 8)
		if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7])
			return false;
	return true;
}

void mf_tcp_leave(struct mf_tcp_drain *d, int status)
{
	/* the peer sees both connections end, for nobody else has them any more */
	mf_sys_exit_group(status);
}

/* ----------------------------------------------------------------- answers */

/* What the answer to a request says about a page. */
enum copied { COPIED_GONE, COPIED_DATA, COPIED_ZERO, COPIED_POISON };

static enum copied copy_out(struct mf_tcp_drain *d, const struct mf_tcp_region *r, u64 src,
			    u8 *to)
{
	u64 entry = PM_POPULATED;

	/* reading a hole would fill it; if this cannot be known, reading is right */
	mf_sys_pread(d->pagemap, &entry, sizeof(entry), src / MF_PAGE_SIZE * 8);
	if (!(entry & PM_POPULATED))
		return COPIED_ZERO;
	if (r->readable)
		mf_mem_copy(to, (const void *)src, r->page_size);
	else if (!mf_tcp_read_hidden(d, src, to, r->page_size))
		return COPIED_POISON;
	return mf_tcp_is_zero(to, r->page_size) ? COPIED_ZERO : COPIED_DATA;
}

static enum copied copy_page(struct mf_tcp_drain *d, const struct mf_tcp_region *r, u64 offset,
			     u8 *to)
{
	u64 page = r->first_page + offset / MF_PAGE_SIZE, i;
	enum copied c = COPIED_GONE;

	mf_gate_lock(&d->gate);
	if (!mf_bit(d->acked, page))
		c = copy_out(d, r, r->src + offset, to);
	mf_gate_unlock(&d->gate);
	for (i = 0; i < r->page_size / MF_PAGE_SIZE; i++)
		mf_bit_set(d->answered, page + i);
	return c;
}

static void push_all(struct mf_tcp_drain *d, struct iovec *iov, u32 n)
{
	struct pollfd p = { .fd = d->urgent_rx.sock, .events = POLLOUT };
	u64 end = mf_now_ns() + d->stall_ns;
	int r;

	while ((r = mf_iov_push(d->urgent_rx.sock, iov, n)) != 1) {
		if (r < 0 || mf_now_ns() > end)
			mf_tcp_leave(d, 2);
		p.revents = 0;
		mf_task_poll(&p, 1, BEAT_NS);
	}
}

static void send_answer(struct mf_tcp_drain *d, enum copied c, struct mf_msg_page *m)
{
	struct mf_wire_header h = { .version = MF_WIRE_VERSION_MAX, .epoch = d->epoch };
	u64 *counter = c == COPIED_DATA	  ? &d->sh->pages_copy
		       : c == COPIED_ZERO ? &d->sh->pages_zero
					  : &d->sh->pages_poisoned;
	u8 head[MF_PAGE_HEAD];
	struct iovec iov[2] = { { head, sizeof(head) }, { d->page_buf, m->len } };

	m->flags = MF_WIRE_PAGE_URGENT;
	if (c == COPIED_DATA)
		m->crc = mf_crc32c(0, d->page_buf, m->len);
	else
		m->flags |= c == COPIED_ZERO ? MF_WIRE_PAGE_ZERO : MF_WIRE_PAGE_POISON;
	mf_add(counter, m->len / MF_PAGE_SIZE);
	h.seq = d->urgent_seq++;
	mf_wire_encode_page(head, sizeof(head), &h, m);
	push_all(d, iov, c == COPIED_DATA ? 2 : 1);
}

/* One frame about the pages from @offset on that are of one kind. Returns their length. */
static u64 answer(struct mf_tcp_drain *d, u32 region, u64 offset, u64 end)
{
	const struct mf_tcp_region *r = &d->region[region];
	enum copied c = copy_page(d, r, offset, d->page_buf);
	struct mf_msg_page m = { .region = region, .offset = offset, .len = r->page_size };

	while (offset + m.len < end && m.len + r->page_size <= MF_TCP_ANSWER &&
	       copy_page(d, r, offset + m.len, d->page_buf + m.len) == c)
		m.len += r->page_size;
	if (c != COPIED_GONE) /* else it has arrived by the other connection meanwhile */
		send_answer(d, c, &m);
	return m.len;
}

/* ---------------------------------------------------------------- requests */

static void on_request(struct mf_tcp_drain *d, const struct mf_msg_page_req *q)
{
	const struct mf_tcp_region *r = mf_tcp_piece(d, q->region, q->offset, q->len);
	u64 start = mf_now_ns(), at;

	if (!r)
		mf_tcp_leave(d, 3);
	mf_add(&d->sh->faults, 1);
	for (at = q->offset; at < q->offset + q->len;)
		at += answer(d, q->region, at, q->offset + q->len);
	__atomic_store_n(&d->last_request_ns, start, __ATOMIC_RELAXED);
	if (d->hot.head - mf_load(&d->hot.tail) < MF_TCP_HOT) {
		d->hot.page[d->hot.head % MF_TCP_HOT] =
			r->first_page + q->offset / MF_PAGE_SIZE;
		mf_store(&d->hot.head, d->hot.head + 1);
	}
	mf_hist_add(&d->sh->serve, mf_now_ns() - start);
}

/*
 * Be where the requests come in: the processor that handles their packets has them in its
 * cache, and wakes nobody on another one.
 */
static void follow_packets(struct mf_tcp_drain *d)
{
	u64 now = mf_now_ns();
	u32 len = sizeof(s32);
	s32 cpu = -1;

	if (d->placement != MF_PLACE_SAME || now - d->cpu_checked_ns < FOLLOW_EVERY_NS)
		return;
	d->cpu_checked_ns = now;
	if (mf_sys(__NR_getsockopt, d->urgent_rx.sock, SOL_SOCKET, SO_INCOMING_CPU, &cpu,
		   &len) == 0)
		d->cpu = mf_cpu_sit(d->cpus, d->cpu, cpu);
}

/* False: the successor has closed this connection. */
static bool serve_urgent(struct mf_tcp_drain *d)
{
	struct mf_wire_header h;
	struct mf_msg_page_req q;
	const u8 *payload;
	long r = mf_rx_fill(&d->urgent_rx);

	if (r == -EPIPE)
		return false;
	while ((r = mf_rx_frame(&d->urgent_rx, &h, &payload)) == 1) {
		if (h.type != MF_MSG_PAGE_REQ || mf_wire_decode_page_req(payload, h.len, &q))
			mf_tcp_leave(d, 3);
		on_request(d, &q);
		mf_rx_next(&d->urgent_rx, &h);
		follow_packets(d);
	}
	if (r < 0)
		mf_tcp_leave(d, 3);
	return true;
}

/* -------------------------------------------------------------------- loop */

static void start_streamer(struct mf_tcp_drain *d)
{
	const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
				    CLONE_THREAD | CLONE_SYSVSEM;

	if (mf_clone(flags, d->streamer_stack_top, mf_tcp_streamer_main, d) < 0)
		mf_tcp_leave(d, 1);
}

/* The verdict, once it is there; true if the attempt goes on or has succeeded. */
static bool look_at_word(struct mf_tcp_drain *d)
{
	u32 word = mf_load(&d->sh->word);

	if (word == d->word_seen)
		return true;
	d->word_seen = word;
	if (word != MF_WORD_COMMITTED)
		return false;
	mf_cas32(&d->sh->phase, MF_PHASE_PREPARE, MF_PHASE_DRAIN);
	mf_store(&d->kick, 1);
	mf_sys_futex_wake(&d->kick, 1);
	return true;
}

enum { AT_URGENT, AT_BELL, AT_MAIN, AT_MAX };

int mf_tcp_drain_main(void *drain)
{
	struct mf_tcp_drain *d = drain;
	struct pollfd p[AT_MAX] = {
		[AT_URGENT] = { .fd = d->urgent_rx.sock, .events = POLLIN },
		[AT_BELL] = { .fd = d->bell, .events = POLLIN },
		[AT_MAIN] = { .fd = d->main_pidfd, .events = POLLIN },
	};
	struct mf_brake brake = { .rounds = 0 };
	bool main_gone;
	u64 count;

	d->cpu = -1;
	mf_sys(__NR_sched_getaffinity, 0, sizeof(d->cpus), d->cpus, 0, 0);
	start_streamer(d);
	mf_drain_go_first(d->ordinary);
	for (;;) {
		mf_stream_poll(p, AT_MAX, 1u << AT_URGENT | 1u << AT_BELL, BEAT_NS);
		mf_brake(&brake);
		mf_add(&d->sh->beat, 1);
		main_gone = p[AT_MAIN].revents; /* before the word: it cannot write it now */
		if (p[AT_BELL].revents)
			mf_sys_read(d->bell, &count, sizeof(count));
		if (!look_at_word(d))
			return 0;
		if (d->word_seen == MF_WORD_COMMITTED)
			p[AT_MAIN].fd = -1; /* it may go: its memory is not its own any more */
		else if (main_gone)
			return 2; /* nobody is left who could say yes */
		if (!p[AT_URGENT].revents || serve_urgent(d))
			continue;
		if (d->word_seen != MF_WORD_COMMITTED)
			return 2;
		p[AT_URGENT].fd = -1; /* the streamer finds out what that means */
	}
}
