/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames with descriptors over a connected SOCK_SEQPACKET unix socket. */
#ifndef MF_BASE_FDPASS_H
#define MF_BASE_FDPASS_H

#include "types.h"

#define MF_FDPASS_MAX 253

/*
 * Send one packet with @n_fds descriptors. Waits at most @timeout_ms for room.
 * -ETIMEDOUT, -EPIPE (peer gone), or the kernel's errno.
 */
int mf_fdpass_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds,
		   int timeout_ms);
/*
 * Receive one packet of at most @size bytes; the descriptors that came with it
 * (close-on-exec) go to @ret_fds, which has room for @max_fds; *ret_n_fds is always
 * written. Returns its length; 0: end of file; -ETIMEDOUT; -EMSGSIZE: it was longer, or
 * carried more descriptors than @max_fds; -EMFILE: descriptors were lost to this process's
 * limit (MSG_CTRUNC). On failure no descriptor is left open.
 */
int mf_fdpass_recv(int sock, void *buf, size_t size, int *ret_fds, size_t max_fds,
		   size_t *ret_n_fds, int timeout_ms);

void mf_close_all(int *fds, size_t n); /* skips -1, sets each to -1 */

#endif /* MF_BASE_FDPASS_H */
