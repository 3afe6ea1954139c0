/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "unix:PATH" and "tcp:HOST:PORT". */
#ifndef MF_HANDOVER_ADDRESS_H
#define MF_HANDOVER_ADDRESS_H

#include "base/types.h"

/* The path of a unix: address, NULL if it is another kind. A bare path counts as unix. */
const char *mf_address_unix(const char *address);
bool mf_address_is_tcp(const char *address);

/* Listening socket at @path, mode 0600, non-blocking. Replaces a stale socket file. */
int mf_unix_listen(const char *path, int *ret_fd);
/* Waits at most @timeout_ms for room in the listener's queue: -ETIMEDOUT. */
int mf_unix_connect(const char *path, int timeout_ms, int *ret_fd);

/* The same for "tcp:HOST:PORT"; address_tcp.c. */
int mf_tcp_listen(const char *address, int *ret_fd);
/* Waits at most @timeout_ms. -ETIMEDOUT. */
int mf_tcp_connect(const char *address, int timeout_ms, int *ret_fd);
/* A second connection to where @sock is connected. */
int mf_tcp_connect_again(int sock, int timeout_ms, int *ret_fd);
/* How a connection to be used for frames is set up; failures do not matter. */
void mf_tcp_tune(int sock);
/* "127.0.0.1:4242": of the other end, into @text. */
void mf_tcp_peer_text(int sock, char *text, size_t size);
/* -errno */
int mf_tcp_port(int sock);

/*
 * A memferry listener that came with a hand-over, kept until the application listens at
 * the same path: so the path never goes unanswered. Thread-safe.
 */
void mf_inherit_listener(const char *path, int fd);
int mf_inherited_listener(const char *path); /* -1: none */

#endif /* MF_HANDOVER_ADDRESS_H */
