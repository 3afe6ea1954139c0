/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every message behind one interface, and samples of each: for tests and fuzzers only. */
#ifndef MF_WIRE_ANY_H
#define MF_WIRE_ANY_H

#include "msg.h"

/* Room for the largest control frame. */
#define MF_ANY_FRAME_BYTES (MF_WIRE_HEADER_BYTES + MF_WIRE_MAX_CONTROL)

union mf_any {
	struct mf_msg_hello hello;
	struct mf_msg_welcome welcome;
	struct mf_msg_regions regions;
	struct mf_msg_mapped mapped;
	struct mf_msg_ready ready;
	struct mf_msg_state state;
	struct mf_msg_fds fds;
	struct mf_msg_abort abort;
	struct mf_msg_urgent urgent;
	struct mf_msg_page_req page_req;
	struct mf_msg_ack ack;
	struct mf_msg_page page;
	struct mf_msg_blob blob;
};

/* By type; -ENOENT for a type that has no payload or does not exist. */
int mf_any_encode(u16 type, u8 *buf, size_t size, const struct mf_wire_header *h,
		  const union mf_any *m);
int mf_any_decode(u16 type, const u8 *payload, size_t len, union mf_any *ret_m);
/* Of the type's struct; 0 for a type as above. */
size_t mf_any_size(u16 type);

/*
 * The @i-th sample: each message as small and as large as it gets, and in between.
 * Everything not set is zero. False: there are no more.
 */
bool mf_any_sample(size_t i, u16 *ret_type, union mf_any *ret_m);

#endif /* MF_WIRE_ANY_H */
