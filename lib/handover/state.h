/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What save() hands over beside the memory: bytes and named descriptors. */
#ifndef MF_HANDOVER_STATE_H
#define MF_HANDOVER_STATE_H

#include "handover/region.h"

struct mf_fd_list {
	struct mf_named_fd *fd;
	size_t n, room;
};

/* Takes @fd over on success. -EEXIST: the name is there already. */
int mf_fd_list_add(struct mf_fd_list *l, const char *name, int fd);
/* Takes the named descriptor out of the list; -ENOENT. */
int mf_fd_list_take(struct mf_fd_list *l, const char *name);
void mf_fd_list_free(struct mf_fd_list *l); /* closes them */

struct mf_state {
	u8 *data;
	size_t len, room;
	struct mf_fd_list fds;
};

void mf_state_free(struct mf_state *st);
/* A sealed memfd with the bytes. */
int mf_state_to_memfd(const struct mf_state *st, int *ret_fd);
/* Map a peer's memfd of @len bytes, after checking size and seals. NULL data if len is 0. */
int mf_state_from_memfd(int fd, u64 len, const void **ret_data);

/* A sealed memfd for the shared page; and mapping one, ours or a peer's. */
struct mf_shared;
int mf_shared_create(u64 epoch, int *ret_fd, struct mf_shared **ret_sh);
int mf_shared_map(int fd, u64 epoch, struct mf_shared **ret_sh);
void mf_shared_unmap(struct mf_shared *sh);

struct mf_stats;
/* As mf_source_stats() and mf_successor_stats() give it; @sh may be NULL. */
int mf_stats_from(const struct mf_shared *sh, struct mf_stats *ret_stats);

#endif /* MF_HANDOVER_STATE_H */
