/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a source declared: regions and named descriptors. */
#ifndef MF_HANDOVER_REGION_H
#define MF_HANDOVER_REGION_H

#include "wire/msg.h"

struct mf_region {
	struct mf_msg_region w; /* index is filled in when it is told */
	int fd;			/* SHARED_FD, else -1 */
};

struct mf_named_fd {
	char name[MF_WIRE_NAME_MAX];
	int fd;
};

/* Names are 1 to 63 printable characters. */
int mf_name_check(const char *name);

/*
 * Look at [addr, addr+len) and describe it: kind, page size, flags, protection. Slow
 * (smaps): when it is declared, not in a blackout.
 */
int mf_region_inspect(struct mf_msg_region *w, bool shared);
/*
 * Is it still what it was? Cheap. -ESTALE with a text that names the region and the
 * difference.
 */
int mf_region_verify(const struct mf_region *r);

/* 1 if @kind is moved, page by page; 0 if the descriptor is passed. */
static inline bool mf_region_moves(const struct mf_msg_region *w)
{
	return w->kind != MF_WIRE_SHARED_FD;
}

/*
 * A registry of ranges that this process is still receiving: they cannot be handed on
 * before they are complete. Thread-safe.
 */
struct mf_shared;
void mf_arriving_add(const struct mf_shared *sh, const struct mf_msg_region *w);
void mf_arriving_del(const struct mf_shared *sh);
bool mf_arriving(u64 addr, u64 len);

#endif /* MF_HANDOVER_REGION_H */
