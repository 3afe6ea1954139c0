/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One attempt of a hand-over, seen from the source: from an accepted connection to
 * MF_HANDED_OVER or MF_RESUMED. docs/protocol.md has the messages.
 */
#ifndef MF_HANDOVER_SESSION_H
#define MF_HANDOVER_SESSION_H

#include "ferry/task.h"
#include "handover/channel.h"
#include "handover/drain.h"
#include "handover/state.h"

struct mf_source {
	struct mf_source_opts opts;
	char app[MF_WIRE_NAME_MAX];
	int epfd;
	int timer;
	int listener;
	char *address;	 /* as given to mf_source_listen() */
	char *unix_path; /* to unlink, if it was ours to make */
	u8 token[MF_TOKEN_BYTES];
	struct mf_region *region;
	size_t n_regions;
	struct mf_fd_list fds;
	struct mf_session *session; /* NULL: nobody is attached */
	bool handed_over;
};

enum mf_session_step {
	MF_STEP_HELLO, /* waiting for that message */
	MF_STEP_MAPPED,
	MF_STEP_QUIESCE,
	MF_STEP_OVER,
};

struct mf_session {
	struct mf_source *src;
	enum mf_session_step step;
	struct mf_channel ch;
	int peer_pidfd;
	s32 peer_pid;
	u64 epoch;
	struct mf_shared *sh;
	int sh_fd;

	/* the ferry task and what it works on */
	struct mf_task *ferry;
	struct mf_drain *drain;
	u64 drain_bytes;
	u8 *drainer_stack;
	u64 zeros, bounce, zeros_len; /* bounce: twice the length */
	int uffd, bell, guard_bell, pagemap, mem;
	u64 *dst; /* by region index: where it lies in the successor */
	u32 n_mapped;
	u32 placement;
};

/* Takes @sock over, also on failure. */
int mf_session_start(struct mf_source *src, int sock, struct mf_session **ret_ss);
/*
 * One frame is waiting, or the peer is gone. MF_IDLE: go on; MF_HANDED_OVER; -errno: the
 * attempt failed and the source has resumed; the peer was told.
 */
int mf_session_input(struct mf_session *ss);
/* Give up (time-out, shutdown): undo, tell the peer. */
void mf_session_abort(struct mf_session *ss, int err, const char *text);
/* Also ends a ferry task, unless the memory was handed over: then that lives on. */
void mf_session_free(struct mf_session *ss);

/* session_ferry.c */
int mf_session_start_ferry(struct mf_session *ss);
void mf_session_stop_ferry(struct mf_session *ss);
/* session_blackout.c: quiesce .. verdict. 1: committed; -errno: resumed. */
int mf_session_blackout(struct mf_session *ss);

#endif /* MF_HANDOVER_SESSION_H */
