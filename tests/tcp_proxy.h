/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A man in the middle of a hand-over over TCP: passes every byte on, and does one thing
 * wrong when a frame comes by that it waits for.
 */
#ifndef MF_TESTS_TCP_PROXY_H
#define MF_TESTS_TCP_PROXY_H

#include "base/types.h"

enum proxy_deed {
	PROXY_FLIP,  /* one bit of the payload */
	PROXY_CUT,   /* closes all connections instead of passing it on */
	PROXY_STALL, /* passes nothing on any more, on any connection */
	PROXY_HALF,  /* passes half of the frame on, then cuts */
	PROXY_TWICE, /* passes it on again */
};

struct proxy_plan {
	int to_port;
	u16 type;    /* of the frame; 0: none, an honest proxy */
	bool urgent; /* on the urgent connection */
	bool to_source;
	u32 nth; /* the so manyth of them, from 0 */
	u32 at;	 /* FLIP: byte of the payload; shorter frames do not count */
	enum proxy_deed deed;
	u32 *ret_done; /* shared memory: set when it was done */
};

/* Starts threads of this process; returns the port to connect to. */
int proxy_start(const struct proxy_plan *plan);

#endif /* MF_TESTS_TCP_PROXY_H */
