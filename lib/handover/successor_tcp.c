/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is different for the successor when the source is reached over TCP. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/address.h"
#include "handover/successor.h"
#include "handover/tcp_fetch.h"

#define RECEIVER_STACK (64 * MF_KIB)

/* -------------------------------------------------------------- connecting */

int mf_suc_tcp_connect(struct mf_successor *s, const char *address)
{
	int sock, r = mf_tcp_connect(address, (int)s->opts.timeout_ms, &sock);

	if (!r)
		r = mf_channel_init(&s->ch, sock, "the source", (int)s->opts.timeout_ms);
	s->ch.stream = true;
	return r;
}

/* The second connection, which requests and their answers have to themselves. */
int mf_suc_tcp_urgent(struct mf_successor *s)
{
	struct mf_msg_urgent m = { .has_token = s->opts.token != NULL };
	int sock, r = mf_tcp_connect_again(s->ch.sock, (int)s->opts.timeout_ms, &sock);

	if (!r)
		r = mf_channel_init(&s->urgent, sock, "the source", (int)s->opts.timeout_ms);
	if (r)
		return r;
	s->urgent.stream = true;
	s->urgent.epoch = s->ch.epoch;
	if (m.has_token)
		memcpy(m.token, s->opts.token, sizeof(m.token));
	return mf_channel_send(&s->urgent, urgent, &m, NULL, 0);
}

/* ------------------------------------------------------------------- fetch */

struct moving {
	struct mf_drain_region r;
	u32 wire;
};

static int by_src(const void *a, const void *b)
{
	const struct moving *x = a, *y = b;

	return (x->r.src > y->r.src) - (x->r.src < y->r.src);
}

static struct moving *moving_regions(const struct mf_successor *s, u64 *ret_largest)
{
	struct moving *list = calloc(s->n_regions + 1, sizeof(*list));
	u32 i;

	*ret_largest = MF_PAGE_SIZE;
	for (i = 0; list && i < s->n_regions; i++) {
		const struct mf_incoming *in = &s->region[i];

		list[i].wire = i;
		list[i].r = (struct mf_drain_region){
			.src = in->w.addr,
			.len = in->w.len,
			.dst = in->addr,
			.page_size = in->w.page_size,
			.hugetlb = in->w.kind == MF_WIRE_HUGETLB,
			.dontfork = !!(in->w.flags & MF_WIRE_REGION_DONTFORK),
			.thp = !!(in->w.flags & MF_WIRE_REGION_THP),
		};
		*ret_largest = mf_max(*ret_largest, in->w.page_size);
	}
	if (list)
		qsort(list, s->n_regions, sizeof(*list), by_src);
	return list;
}

/* Regions that overlap in the source cannot be told apart by their source addresses. */
static int check_overlap(const struct moving *list, u32 n)
{
	u32 i;

	for (i = 1; i < n; i++)
		if (list[i - 1].r.src + list[i - 1].r.len > list[i].r.src)
			return mf_fail(-EPROTO, "the source told regions that overlap");
	return 0;
}

static int map_private(u64 bytes, int prot, u64 *ret_addr)
{
	long p = mf_sys_mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);

	if (mf_is_err(p))
		return mf_fail((int)p, "no memory for the fetching task: %s",
			       mf_errno_text((int)p));
	mf_sys_madvise((void *)p, bytes, MADV_DONTFORK);
	*ret_addr = (u64)p;
	return 0;
}

static int lay_out(struct mf_successor *s, const struct moving *list)
{
	struct mf_drain_region *region = calloc(s->n_regions + 1, sizeof(*region));
	u32 *wire = calloc(s->n_regions + 1, sizeof(*wire)), i;
	u64 addr = 0;
	int r = 0;

	if (!region || !wire)
		r = mf_fail(-ENOMEM, "no memory for the region table");
	for (i = 0; !r && i < s->n_regions; i++) {
		region[i] = list[i].r;
		wire[i] = list[i].wire;
	}
	if (!r) {
		s->fetch_bytes =
			mf_fetch_bytes(region, s->n_regions, s->n_regions) + RECEIVER_STACK;
		r = map_private(s->fetch_bytes, PROT_READ | PROT_WRITE, &addr);
	}
	if (!r) {
		s->fetch_mem = (struct mf_fetch *)addr;
		mf_fetch_layout(s->fetch_mem, region, s->n_regions, wire, s->n_regions);
	}
	free(region);
	free(wire);
	return r;
}

static void fill(struct mf_successor *s)
{
	struct mf_fetch *f = s->fetch_mem;
	struct mf_drain *d = f->d;

	f->sh = d->sh = s->sh;
	d->uffd = s->uffd;
	d->peer_pidfd = s->self_pidfd;
	d->zeros = s->fetch_zeros;
	d->pagemap = d->mem = -1;
	d->peer_pagemap = s->pagemap;
	d->ordinary = !!(s->opts.flags & MF_SUCCESSOR_ORDINARY_PRIORITY);
	d->placement = s->opts.placement == MF_PLACE_AUTO ? MF_PLACE_SAME : s->opts.placement;
	s->sh->placement = d->placement;
	f->bell = s->ferry_bell;
	f->receiver_bell = s->receiver_bell;
	f->receiver_stack_top = (u8 *)f + s->fetch_bytes;
	f->guard_bell = s->guard_bell;
	f->epoch = s->ch.epoch;
	f->stall_ns = s->opts.timeout_ms * MF_NSEC_PER_MSEC;
	f->bulk_rx.sock = f->bulk_tx.sock = s->ch.sock;
	f->urgent_rx.sock = f->urgent_tx.sock = s->urgent.sock;
	f->bulk_rx.epoch = f->bulk_tx.epoch = s->ch.epoch;
	f->urgent_rx.epoch = f->urgent_tx.epoch = s->ch.epoch;
	f->urgent_tx.seq = s->urgent.seq_out;
	s->sh->bytes_total = f->bytes_total;
}

static int prepare_memory(struct mf_successor *s)
{
	struct moving *list = moving_regions(s, &s->fetch_zeros_len);
	int r;

	if (!list)
		return mf_fail(-ENOMEM, "no memory for the region table");
	r = check_overlap(list, s->n_regions);
	if (!r)
		r = lay_out(s, list);
	free(list);
	return r ? r : map_private(s->fetch_zeros_len, PROT_READ, &s->fetch_zeros);
}

int mf_suc_tcp_start_fetch(struct mf_successor *s)
{
	struct mf_task_opts opts = { .size = sizeof(opts), .name = "mf-fetch" };
	int keep[8], r;
	long fd;

	fd = mf_sys_eventfd(0, 02000000 | 04000 /* EFD_CLOEXEC | EFD_NONBLOCK */);
	if (fd < 0)
		return mf_fail((int)fd, "eventfd: %s", mf_errno_text((int)fd));
	s->receiver_bell = (int)fd;
	r = prepare_memory(s);
	if (r)
		return r;
	fill(s);
	keep[0] = s->uffd;
	keep[1] = s->self_pidfd;
	keep[2] = s->ferry_bell;
	keep[3] = s->guard_bell;
	keep[4] = s->ch.sock;
	keep[5] = s->urgent.sock;
	keep[6] = s->receiver_bell;
	keep[7] = s->pagemap;
	opts.keep_fds = keep;
	opts.n_keep_fds = ARRAY_SIZE(keep);
	r = mf_task_start(mf_fetch_main, s->fetch_mem, &opts, &s->fetch);
	if (r)
		return r;
	fd = mf_sys_dup(mf_task_pidfd(s->fetch));
	if (fd < 0)
		return mf_fail((int)fd, "dup: %s", mf_errno_text((int)fd));
	s->ferry_pidfd = (int)fd; /* whom the guard watches */
	return 0;
}

#define LEAVE_MS 1000

void mf_suc_tcp_stop_fetch(struct mf_successor *s)
{
	/* once all is released it goes by itself, having said so to the source */
	if (s->fetch && s->step == MF_SUC_COMMITTED)
		mf_task_wait(s->fetch, LEAVE_MS, NULL);
	mf_task_free(s->fetch);
	s->fetch = NULL;
	if (s->fetch_zeros)
		mf_sys_munmap((void *)s->fetch_zeros, s->fetch_zeros_len);
	if (s->fetch_mem)
		mf_sys_munmap(s->fetch_mem, s->fetch_bytes);
	s->fetch_zeros = 0;
	s->fetch_mem = NULL;
}

/* ------------------------------------------------------------------- state */

static int hear_blob(struct mf_successor *s, u8 *to, u64 len, u64 *at)
{
	struct mf_msg_blob m;
	struct mf_frame f;
	int r = mf_channel_expect(&s->ch, MF_MSG_BLOB, 0, &f);

	if (r)
		return r;
	if (mf_wire_decode_blob(f.payload, f.len, &m) || m.offset != *at || m.len > len - *at)
		return mf_fail(-EPROTO, "the source sent a broken BLOB");
	if (mf_crc32c(0, m.data, m.len) != m.crc)
		return mf_fail(-EBADMSG, "the state was damaged on its way");
	memcpy(to + *at, m.data, m.len);
	*at += m.len;
	return 0;
}

int mf_suc_tcp_state(struct mf_successor *s, u64 len)
{
	u64 at = 0;
	long p;
	int r = 0;

	if (!len)
		return 0;
	/* takes no memory before it is written: a length alone costs nothing */
	p = mf_sys_mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mf_is_err(p))
		return mf_fail((int)p, "no memory for %llu bytes of state",
			       (unsigned long long)len);
	s->blob = (const void *)p;
	s->blob_len = len;
	while (!r && at < len)
		r = hear_blob(s, (u8 *)p, len, &at);
	return r;
}

/* ------------------------------------------------------------------ commit */

/*
 * Only the source decides. Without its answer we cannot know, and must not run: stopped
 * twice is safe, running twice is not.
 */
int mf_suc_tcp_ask_commit(struct mf_successor *s)
{
	struct mf_frame f;
	int r = mf_channel_send_empty(&s->ch, MF_MSG_COMMIT);

	if (!r)
		r = mf_channel_expect(&s->ch, MF_MSG_COMMITTED, 0, &f);
	if (r == -ETIMEDOUT || r == -EOWNERDEAD)
		return mf_fail_in(-EOWNERDEAD,
				  "whether the source has handed over cannot be known, so this "
				  "process must not run");
	if (r)
		return mf_fail_in(-ECANCELED, "the source runs on");
	s->fetch_mem->bulk_rx.seq = s->ch.seq_in;
	s->fetch_mem->bulk_tx.seq = s->ch.seq_out;
	return 0;
}

/* The connections are the fetching task's alone now: when it ends, they do. */
void mf_suc_tcp_let_go(struct mf_successor *s)
{
	mf_channel_fini(&s->ch);
	mf_channel_fini(&s->urgent);
}
