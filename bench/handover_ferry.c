/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Both ends of a hand-over by memferry, as an application would write them. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "child.h"
#include "handover.h"
#include "memory.h"

#define STATE_BYTES 4096

static int save(void *arg, struct mf_state *state)
{
	static const char blob[STATE_BYTES] = "what the application would save";

	return mf_state_put(state, blob, sizeof(blob));
}

static int serve_until_handed_over(struct mf_source *src)
{
	uint64_t end = now_ns() + HO_WAIT_MS * 1000000ull;
	struct pollfd p = { .fd = mf_source_pollfd(src), .events = POLLIN };
	int r;

	while (now_ns() < end) {
		if (poll(&p, 1, 100) <= 0)
			continue;
		r = mf_source_dispatch(src);
		if (r == MF_HANDED_OVER)
			return 0;
		if (r == MF_RESUMED)
			return child_fail(-ECANCELED, "the hand-over was undone: %s",
					  mf_error());
		if (r < 0)
			return child_fail(r, "%s", mf_error());
	}
	return child_fail(-ETIMEDOUT, "no successor took the memory");
}

int ho_ferry_source(struct ho_cell *c)
{
	struct mf_source_opts opts = { .size = sizeof(opts), .app = "bench", .save = save };
	struct mf_source *src;
	int r;

	if (!ho_fill(c))
		return -ENOMEM;
	r = mf_source_new(&opts, &src);
	if (r == 0)
		r = mf_source_region(src, "memory", c->base, c->bytes, 0);
	if (r == 0)
		r = mf_source_listen(src, c->address);
	if (r)
		return child_fail(r, "%s", mf_error());
	ho_raise(&c->shared->source_ready);
	r = serve_until_handed_over(src);
	if (r)
		return r;
	/* stays until the referee has seen what memory the space takes */
	return ho_await(&c->shared->finish);
}

static int take_over(struct ho_cell *c, struct mf_successor **ret)
{
	struct mf_successor_opts opts = {
		.size = sizeof(opts),
		.app = "bench",
		.flags = MF_SUCCESSOR_FIXED_MAPPINGS,
	};
	struct ho_shared *s = c->shared;
	struct mf_successor *suc;
	const void *state;
	size_t state_len, len;
	void *addr;
	int r;

	s->begin_ns = now_ns();
	r = mf_successor_attach(c->address, &opts, &suc);
	if (r)
		return child_fail(r, "%s", mf_error());
	r = mf_successor_map(suc, "memory", 0, &addr, &len);
	if (r == 0) {
		s->stop_ns = now_ns();
		r = mf_successor_state(suc, &state, &state_len);
	}
	if (r == 0)
		r = mf_successor_commit(suc);
	if (r)
		return child_fail(r, "%s", mf_error());
	__atomic_store_n(&s->commit_ns, now_ns(), __ATOMIC_RELEASE);
	if (addr != c->base || len != c->bytes || state_len != STATE_BYTES)
		return child_fail(-EBADMSG, "wrong contents: the region or the state differ");
	*ret = suc;
	return 0;
}

int ho_ferry_successor(struct ho_cell *c)
{
	struct mf_successor *suc = NULL;
	int r = take_over(c, &suc);

	if (r)
		return r;
	r = mf_successor_wait(suc, HO_WAIT_MS + (int)(c->bytes / MIB) * 10);
	c->shared->complete_ns = now_ns();
	if (r)
		return child_fail(r, "waiting for the memory: %s", mf_error());
	c->shared->stats.size = sizeof(c->shared->stats);
	if (mf_successor_stats(suc, &c->shared->stats))
		c->shared->stats.size = 0;
	mf_successor_free(suc);
	return 0;
}
