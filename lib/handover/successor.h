/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MF_HANDOVER_SUCCESSOR_H
#define MF_HANDOVER_SUCCESSOR_H

#include <pthread.h>

#include "ferry/task.h"
#include "handover/channel.h"
#include "handover/guard.h"
#include "handover/state.h"

enum mf_successor_step {
	MF_SUC_ATTACHED,
	MF_SUC_LOADED, /* state received: the source is quiesced */
	MF_SUC_COMMITTED,
	MF_SUC_FAILED,
};

struct mf_incoming {
	struct mf_msg_region w;
	int fd;	  /* SHARED_FD, else -1 */
	u64 addr; /* here; 0: not mapped yet */
};

struct mf_successor {
	struct mf_successor_opts opts;
	char app[MF_WIRE_NAME_MAX];
	char *address;
	enum mf_successor_step step;
	struct mf_channel ch;
	struct mf_msg_welcome welcome;
	int peer_pidfd;
	s32 peer_pid;

	struct mf_shared *sh;
	int sh_fd;
	int uffd;
	int ferry_bell; /* to the ferry's pilot */
	int guard_bell; /* to our guard */
	int done;	/* final: mf_successor_pollfd() */
	int ferry_pidfd;
	s32 ferry_pid;
	int pagemap, maps, self_pidfd;
	int epfd; /* done, or the guard has died: mf_successor_pollfd() */

	struct mf_incoming *region;
	u32 n_regions;
	struct mf_fd_list fds;
	const void *blob;
	u64 blob_len;

	struct mf_task *guard;
	struct mf_guard *guard_mem;
	u64 guard_bytes;
	u32 guard_beat;	     /* as seen last, */
	u64 guard_seen_ns;   /* when, */
	u64 guard_silent_ns; /* and for how long it has been the same */

	/* over TCP: the second connection, and the task that does what a ferry does */
	struct mf_channel urgent;
	int receiver_bell;
	struct mf_task *fetch;
	struct mf_fetch *fetch_mem;
	u64 fetch_bytes;
	u64 fetch_zeros, fetch_zeros_len;

	char why[MF_WIRE_TEXT_MAX]; /* a region could not be mapped: the source shall hear it */

	pthread_t sampler;
	bool sampling;
};

/* successor_map.c */
int mf_suc_map(struct mf_successor *s, struct mf_incoming *in, unsigned int flags);
int mf_suc_unlock(struct mf_successor *s); /* give all regions their protection */
void mf_suc_unmap_all(struct mf_successor *s);

/* successor_guard.c */
/* What /proc has to give, and our own pidfd. */
int mf_suc_open_fds(struct mf_successor *s);
int mf_suc_start_guard(struct mf_successor *s);
void mf_suc_stop_guard(struct mf_successor *s);
/* Is the guard alive? If it died while it is still needed, start another one. */
int mf_suc_mind_guard(struct mf_successor *s);

/* successor_tcp.c */
int mf_suc_tcp_connect(struct mf_successor *s, const char *address);
int mf_suc_tcp_urgent(struct mf_successor *s);
int mf_suc_tcp_start_fetch(struct mf_successor *s);
void mf_suc_tcp_stop_fetch(struct mf_successor *s);
int mf_suc_tcp_state(struct mf_successor *s, u64 len);
int mf_suc_tcp_ask_commit(struct mf_successor *s);
void mf_suc_tcp_let_go(struct mf_successor *s);

/* sampler.c */
void mf_suc_start_sampler(struct mf_successor *s);
void mf_suc_stop_sampler(struct mf_successor *s);

/* place.c: measure the placements; fills ns[MF_PLACE_*], returns the best one */
u32 mf_place_measure(u32 ns[4]);

#endif /* MF_HANDOVER_SUCCESSOR_H */
