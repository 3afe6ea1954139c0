/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "peer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct mf_wire_header peer_header(struct peer *p)
{
	return (struct mf_wire_header){ .version = MF_WIRE_VERSION_MAX,
					.epoch = p->epoch,
					.seq = p->seq++ };
}

int peer_put(struct peer *p, int len, const int *fds, size_t n)
{
	return len < 0 ? len : mf_fdpass_send(p->sock, p->buf, (size_t)len, fds, n, 1000);
}

int peer_get(struct peer *p, struct mf_wire_header *h, int timeout_ms)
{
	int n = mf_fdpass_recv(p->sock, p->buf, PEER_ROOM, p->fds, MF_FDPASS_MAX, &p->n_fds,
			       timeout_ms);

	if (n <= 0)
		return n ? n : -EPIPE;
	if (mf_wire_get_header(p->buf, (size_t)n, h))
		return -EPROTO;
	return h->type;
}

int peer_get_past(struct peer *p, u16 type, struct mf_wire_header *h)
{
	int r;

	for (;;) {
		r = peer_get(p, h, 3000);
		if (r < 0 || r == type || r == MF_MSG_ABORT)
			return r;
		mf_close_all(p->fds, p->n_fds);
	}
}

bool peer_connect(struct peer *p, struct rig *rig, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	memset(p, 0, sizeof(*p));
	strncpy(sun.sun_path, rig->path, sizeof(sun.sun_path) - 1);
	p->sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	return p->sock >= 0 && !connect(p->sock, (struct sockaddr *)&sun, sizeof(sun));
}
