/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mover/route.h"

#include "base/faultpath.h"

int mf_route_ferry_take(struct mf_mover *m, u64 dst, u64 src, u64 len, u64 ret_present[8])
{
	return -EOPNOTSUPP;
}
