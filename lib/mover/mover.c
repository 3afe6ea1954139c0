/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which route, and how many pages went by it. A switch and not a table of functions: a
 * table would have relocations.
 */
#include "mover/route.h"

#include "base/faultpath.h"

void mf_mover_pick(struct mf_mover *m, const struct mf_mover_caps *caps)
{
	m->give = MF_ROUTE_COPY;
	m->take = MF_ROUTE_NONE;
	if (caps->same_space) {
		if (caps->move)
			m->give = m->take = MF_ROUTE_MOVE;
		return;
	}
	if (caps->xmove)
		m->give = m->take = MF_ROUTE_XMOVE;
	else if (caps->ferry)
		m->take = MF_ROUTE_FERRY;
}

int mf_mover_give(struct mf_mover *m, u64 dst, u64 src, u64 len, unsigned int flags,
		  u64 *ret_done)
{
	enum mf_route route = m->give;
	int r;

	*ret_done = 0;
	switch (route) {
	case MF_ROUTE_MOVE:
	case MF_ROUTE_XMOVE:
		r = mf_route_move_give(m, dst, src, len, flags, ret_done);
		break;
	case MF_ROUTE_FERRY: /* it can drop pages of its space, and fill it no better than we */
	case MF_ROUTE_COPY:
		route = MF_ROUTE_COPY;
		r = mf_route_copy_give(m, dst, src, len, flags, ret_done);
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (*ret_done)
		mf_add(&m->pages[route], *ret_done / MF_PAGE_SIZE);
	return r;
}

static u64 count_bits(const u64 *bits)
{
	u64 n = 0, word;
	int i;

	for (i = 0; i < MF_TAKE_PAGES / 64; i++)
		for (word = bits[i]; word; word &= word - 1)
			n++;
	return n;
}

static bool window_bad(u64 dst, u64 src, u64 len)
{
	return mf_range_bad(dst, len) || mf_range_bad(src, len) ||
	       len > MF_TAKE_PAGES * MF_PAGE_SIZE ||
	       !mf_is_aligned(dst | src | len, MF_PAGE_SIZE);
}

int mf_mover_take(struct mf_mover *m, u64 dst, u64 src, u64 len, u64 ret_present[8])
{
	int r, i;

	for (i = 0; i < MF_TAKE_PAGES / 64; i++)
		ret_present[i] = 0;
	if (window_bad(dst, src, len))
		return -EINVAL;
	switch (m->take) {
	case MF_ROUTE_MOVE:
		r = mf_route_move_take(m, dst, src, len, 0, ret_present);
		break;
	case MF_ROUTE_XMOVE:
		r = mf_route_move_take(m, dst, src, len, MF_UFFDIO_MOVE_MODE_TAKE, ret_present);
		break;
	case MF_ROUTE_FERRY:
		r = mf_route_ferry_take(m, dst, src, len, ret_present);
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (r == MF_MOVED || r == MF_PARTLY)
		mf_add(&m->pages[m->take], count_bits(ret_present));
	return r;
}

const char *mf_route_name(enum mf_route route)
{
	switch (route) {
	case MF_ROUTE_MOVE:
		return "move";
	case MF_ROUTE_XMOVE:
		return "xmove";
	case MF_ROUTE_FERRY:
		return "ferry";
	case MF_ROUTE_COPY:
		return "copy";
	default:
		return "none";
	}
}
