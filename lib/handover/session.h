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

#define MF_SOURCE_PENDING 4

struct mf_source {
	struct mf_source_opts opts;
	char app[MF_WIRE_NAME_MAX];
	int epfd;
	int timer;
	int listener;
	char *address;	 /* as given to mf_source_listen() */
	char *unix_path; /* to unlink, if it was ours to make */
	bool tcp;
	/* TCP: connections that came while one was attached, before their first frame */
	struct mf_channel pending[MF_SOURCE_PENDING];
	u32 n_pending;
	u8 token[MF_TOKEN_BYTES];
	struct mf_region *region;
	size_t n_regions;
	struct mf_fd_list fds;
	struct mf_session *session; /* NULL: nobody is attached */
	bool paused;		    /* the listener is not watched for a while */
	bool handed_over;
};

enum mf_session_step {
	MF_STEP_HELLO, /* waiting for that message */
	MF_STEP_MAPPED,
	MF_STEP_URGENT, /* TCP: the second connection */
	MF_STEP_QUIESCE,
	MF_STEP_OVER,
};

struct mf_session {
	struct mf_source *src;
	enum mf_session_step step;
	struct mf_channel ch;
	int peer_pidfd;
	s32 peer_pid;
	char peer_name[96]; /* "the successor (pid 4711)", for messages */
	u64 epoch;
	u8 token[MF_TOKEN_BYTES]; /* that HELLO brought */
	struct mf_shared *sh;
	int sh_fd;

	/* the ferry task and what it works on */
	struct mf_task *ferry;
	struct mf_drain *drain;
	u64 drain_bytes;
	u8 *drainer_stack;
	u64 zeros, bounce, zeros_len; /* bounce: twice the length */
	int uffd, bell, guard_bell, pagemap, mem, peer_pagemap;
	u64 *dst; /* by region index: where it lies in the successor */
	u32 n_mapped;
	u32 placement;

	/* TCP, in place of drain, uffd and bells */
	struct mf_channel urgent;
	struct mf_tcp_drain *tcp;
	u64 tcp_bytes;
	int self_pidfd;
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

/* session.c: if @r is an error, tell the peer; returns it */
int mf_session_judge(struct mf_session *ss, int r);
/* session.c: everything that READY stands for is there: start the ferry, and say so */
int mf_session_ready(struct mf_session *ss);

/* session_tcp.c; the first three are what the calls above do over TCP */
int mf_session_tcp_start_ferry(struct mf_session *ss);
void mf_session_tcp_stop_ferry(struct mf_session *ss);
int mf_session_tcp_send_state(struct mf_session *ss, const struct mf_state *st);
/* Can all that this source has be sent? -EOPNOTSUPP. */
int mf_session_tcp_check(const struct mf_source *src);
/* COMMIT came: decide, and let the ferry tell. -errno: it has changed its mind. */
int mf_session_tcp_commit(struct mf_session *ss);
/* The connections are the ferry's alone from now on. */
void mf_session_tcp_let_go(struct mf_session *ss);
/*
 * @ch brought URGENT as its first frame. True: it belongs to this attempt and was taken
 * over, *ret_r is as from mf_session_input().
 */
bool mf_session_tcp_urgent(struct mf_session *ss, struct mf_channel *ch,
			   const struct mf_frame *f, int *ret_r);

/* source_tcp.c: connections that come while a session is on */
int mf_source_pend(struct mf_source *src, int sock);
struct mf_channel *mf_source_pending(struct mf_source *src, int fd);
/* As mf_session_input() if it concerns the session, else MF_IDLE. */
int mf_source_on_pending(struct mf_source *src, struct mf_channel *ch);
/* Those that were closed again: with the session that they were for. */
void mf_source_drop_ended(struct mf_source *src);
void mf_source_drop_pending(struct mf_source *src);

int mf_same_bytes(const u8 *a, const u8 *b, size_t n);

#endif /* MF_HANDOVER_SESSION_H */
