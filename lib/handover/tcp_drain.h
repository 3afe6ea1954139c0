/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program of the ferry task in the source's space when the successor is at the other
 * end of two TCP connections: answer its page requests, and after the commit stream all
 * that is left and give back what was acknowledged.
 *
 * Two threads in one task, so that a request never waits for bulk data to be sent. The
 * *pilot* owns the urgent connection, the *streamer* the bulk connection and the memory:
 * it alone drops pages. Each bitmap has one writing thread.
 *
 * Lock: gate. The pilot holds it while it copies a page out, the streamer while it notes
 * that pages were acknowledged, after which it may drop them. So the pilot never sends a
 * page that is just being dropped.
 */
#ifndef MF_HANDOVER_TCP_DRAIN_H
#define MF_HANDOVER_TCP_DRAIN_H

#include "handover/drain.h"
#include "handover/tcp_stream.h"

#define MF_TCP_HOT 1024 /* power of two */
#define MF_TCP_ANSWER (64 * MF_KIB)
#define MF_TCP_WISHES 64 /* power of two */
#define MF_TCP_NONE (~(u64)0)

struct mf_tcp_region {
	u64 src;
	u64 len;
	u64 page_size;
	u64 first_page; /* of all regions in order, in 4 KiB units: index in the bitmaps */
	u64 first_block;
	u32 hugetlb;
	u32 readable;
};

/* Pages that somebody wants soon; one producer, one consumer. */
struct mf_tcp_hot {
	u32 head;
	u32 tail;
	u64 page[MF_TCP_HOT];
};

struct mf_tcp_drain {
	struct mf_shared *sh; /* the source's own: counters, word, phase */
	int pagemap;
	int mem;	/* of this space, for what cannot be read otherwise; may be -1 */
	int main_pidfd; /* of the source itself, which decides until the commit */
	int bell;	/* eventfd: the word has changed */
	u64 epoch;
	u64 stall_ns;  /* without a sign of the peer for so long: it is lost */
	u32 placement; /* MF_PLACE_* */
	u32 ordinary;  /* the pilot does without a real-time priority */
	u32 word_seen;
	u32 kick; /* futex for the streamer */
	u32 gate;

	u32 n_regions;
	struct mf_tcp_region *region; /* by their number on the wire */
	u64 n_pages;
	u64 n_blocks;
	u64 *answered;	  /* pilot: sent because it was asked for */
	u64 *streamed;	  /* streamer: sent */
	u64 *acked;	  /* streamer, under gate */
	u16 *block_acked; /* streamer: pages of each block */

	/* pilot */
	struct mf_rx urgent_rx;
	u64 urgent_seq;
	u8 cpus[MF_CPU_MASK_BYTES]; /* allowed to us at start */
	s32 cpu;		    /* where the pilot is pinned; -1: nowhere */
	u64 cpu_checked_ns;
	u8 *page_buf; /* an answer: as large as the largest page, or MF_TCP_ANSWER */
	struct mf_tcp_hot hot;

	/* streamer */
	void *streamer_stack_top;
	struct mf_rx bulk_rx;
	u64 bulk_seq;
	u64 at, end; /* pages being streamed */
	u64 next;    /* after them, first page of the linear rest */
	u64 in_flight, n_acked;
	u64 last_sign_ns;
	u64 last_request_ns; /* written by the pilot */
	bool drained_sent;
	u32 n_iov;
	struct iovec iov[2];
	u8 *hidden_buf; /* a page of a region without PROT_READ */
	u8 head[MF_PAGE_HEAD];
	u64 wish[MF_TCP_WISHES];
	u32 wish_head, wish_tail;
	u64 map_first; /* what map holds; MF_TCP_NONE: nothing */
	u64 map[MF_BLOCK_PAGES];
};

int mf_tcp_drain_main(void *drain);

/* Bytes for all of it, buffers included, and laying it out in zeroed memory. */
u64 mf_tcp_drain_bytes(const struct mf_tcp_region *region, u32 n_regions);
void mf_tcp_drain_layout(struct mf_tcp_drain *d, const struct mf_tcp_region *region,
			 u32 n_regions);

/* in tcp_streamer.c */
int mf_tcp_streamer_main(void *drain);

/* for both */
static inline bool mf_bit(const u64 *bits, u64 i)
{
	return __atomic_load_n(&bits[i / 64], __ATOMIC_RELAXED) >> (i % 64) & 1;
}

/* by the one thread that writes @bits */
static inline void mf_bit_set(u64 *bits, u64 i)
{
	__atomic_store_n(&bits[i / 64], bits[i / 64] | (u64)1 << (i % 64), __ATOMIC_RELAXED);
}

/* A page that cannot be read, into @buf. */
bool mf_tcp_read_hidden(const struct mf_tcp_drain *d, u64 src, u8 *buf, u64 len);
bool mf_tcp_is_zero(const void *p, u64 len);
/* A piece that the peer named: NULL if it is not within one region, in whole pages. */
const struct mf_tcp_region *mf_tcp_piece(const struct mf_tcp_drain *d, u32 region, u64 offset,
					 u64 len);
void __attribute__((noreturn)) mf_tcp_leave(struct mf_tcp_drain *d, int status);

#endif /* MF_HANDOVER_TCP_DRAIN_H */
