/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One end of the protocol made by hand, so that it can be made wrong. */
#ifndef MF_TESTS_PEER_H
#define MF_TESTS_PEER_H

#include "base/fdpass.h"
#include "handover_rig.h"
#include "wire/msg.h"

#define PEER_ROOM (MF_WIRE_HEADER_BYTES + MF_WIRE_MAX_CONTROL)

struct peer {
	int sock;
	u64 epoch, seq;
	u8 buf[PEER_ROOM * 2];
	int fds[MF_FDPASS_MAX];
	size_t n_fds;
};

bool peer_connect(struct peer *p, struct rig *rig, int type);
/* The header of the next frame. */
struct mf_wire_header peer_header(struct peer *p);
/* Send @len bytes of p->buf; a negative @len is passed on. */
int peer_put(struct peer *p, int len, const int *fds, size_t n);
/* The type of the next frame, its payload at p->buf + header; -errno. */
int peer_get(struct peer *p, struct mf_wire_header *h, int timeout_ms);
/* The same, over all frames before one of @type, or an ABORT. */
int peer_get_past(struct peer *p, u16 type, struct mf_wire_header *h);

#endif /* MF_TESTS_PEER_H */
