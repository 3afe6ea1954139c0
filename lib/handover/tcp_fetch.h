/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fetcher: the task in the successor's space that does over TCP what the source's ferry
 * task does on one machine. It reads the userfaultfd's messages, asks for pages, receives,
 * checks, places and acknowledges them. The guard watches it as it watches a ferry.
 *
 * Two threads in one task, as at the source. The *pilot* has the userfaultfd and the urgent
 * connection: it asks and places what was asked for. The *receiver* has the bulk connection
 * from the commit on, places what comes there, and sends the acknowledgements. Where pieces
 * lie now and what was discarded is kept in the tables of drain.h; "source addresses" there
 * are those of the regions in the source.
 *
 * Lock: gate, over the tables, the bitmaps, the queue of acknowledgements, and each placing,
 * for the reason that drain.c tells (gate_why). Sockets are used without it.
 */
#ifndef MF_HANDOVER_TCP_FETCH_H
#define MF_HANDOVER_TCP_FETCH_H

#include "handover/drain.h"
#include "handover/tcp_stream.h"

#define MF_FETCH_ACKS 4096 /* power of two; more than the source's window has frames */
#define MF_FETCH_TIMED 64

enum mf_fetch_why {
	MF_WHY_NONE = 0,
	MF_WHY_CLOSED = 1,   /* a connection ended */
	MF_WHY_SILENT = 2,   /* nothing came for too long */
	MF_WHY_CHECKSUM = 3, /* a page was not what had been sent */
	MF_WHY_NONSENSE = 4, /* the source does not follow the protocol */
	MF_WHY_KERNEL = 5,   /* a page could not be placed */
};

struct mf_fetch_ack {
	u32 region;
	u64 offset;
	u64 len;
};

struct mf_fetch {
	struct mf_shared *sh; /* the successor's own: counters, word, phase */
	struct mf_drain *d;   /* tables; and uffd, zeros, peer_pidfd (the main process) */
	int bell;	      /* eventfd: word, phase or hints have changed */
	int receiver_bell;    /* eventfd: the pilot wants the receiver to look */
	int guard_bell;
	u32 gate;
	u32 wanted; /* the pilot wants the gate: the receiver stands back */
	u32 kick;   /* futex for the receiver */
	u64 epoch;
	u64 stall_ns;
	u32 why; /* enum mf_fetch_why, for messages */
	u32 word_seen;

	u32 n_wire;
	u32 *local;  /* number of a region on the wire -> in d->region */
	u32 *wire;   /* and back */
	u64 n_units; /* pages, in units of their region's page size */
	u64 *got;    /* has come, or is not wanted any more */
	u64 *asked;
	u64 bytes_total, bytes_got;
	u64 n_waiting; /* asked for, not come */
	u32 drained;   /* receiver: the source has sent all */
	u32 complete;  /* receiver: and all has been placed and acknowledged */
	u64 ahead_dst; /* a fault here goes on where the last one ended */
	u64 ahead;     /* pages that were asked for then */
	u64 last_fault_ns;
	u32 last_tid;
	void *receiver_stack_top;

	struct mf_rx bulk_rx, urgent_rx;
	struct mf_tx bulk_tx, urgent_tx;
	u32 ack_head, ack_tail;
	u64 ack_bytes;
	struct mf_fetch_ack ack[MF_FETCH_ACKS];
	u32 late_region; /* what came before the commit is acknowledged after it */
	u64 late_src;

	u64 last_sign_ns, last_loop_ns;
	struct {
		u64 unit; /* plus one */
		u64 ns;
	} timed[MF_FETCH_TIMED];
};

int mf_fetch_main(void *fetch);
const char *mf_fetch_why_text(u32 why);

u64 mf_fetch_bytes(const struct mf_drain_region *region, u32 n_regions, u32 n_wire);
/* Lays it out in zeroed memory of that size; @wire[i] is the wire's number of @region[i]. */
void mf_fetch_layout(struct mf_fetch *f, const struct mf_drain_region *region, u32 n_regions,
		     const u32 *wire, u32 n_wire);

/* in tcp_fetch.c */
void __attribute__((noreturn)) mf_fetch_fail(struct mf_fetch *f, enum mf_fetch_why why);
/* What has come on a connection, by the thread that owns it. */
void mf_fetch_input(struct mf_fetch *f, struct mf_rx *rx);

/* in tcp_receiver.c */
int mf_fetch_receiver_main(void *fetch);
/* To be acknowledged; under the gate. */
void mf_fetch_ack(struct mf_fetch *f, u32 wire, u64 offset, u64 len);

/* in tcp_place.c */
/* Read the userfaultfd until nothing is waiting; pilot. */
void mf_fetch_read_uffd(struct mf_fetch *f);
/* Ask for what the application hinted at; receiver. */
void mf_fetch_hints(struct mf_fetch *f);
/* A whole PAGE frame: checks it, places it, notes that it is to be acknowledged. */
void mf_fetch_page(struct mf_fetch *f, struct mf_rx *rx, const struct mf_wire_header *h,
		   const u8 *payload);

static inline bool mf_fetch_ack_room(const struct mf_fetch *f)
{
	return f->ack_head - f->ack_tail < MF_FETCH_ACKS - 16;
}

static inline u64 mf_fetch_unit(const struct mf_drain_region *r, u64 src)
{
	return r->first_page + (src - r->src) / r->page_size;
}

static inline bool mf_fetch_bit(const u64 *bits, u64 i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

#endif /* MF_HANDOVER_TCP_FETCH_H */
