/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MF_HANDOVER_PLACE_H
#define MF_HANDOVER_PLACE_H

#include "base/types.h"

struct mf_place_job {
	int uffd;
	bool spin;
	u32 ready;
	u32 stop;
	u32 cpu_mask_bytes; /* 0: anywhere */
	u8 cpu_mask[128];
};

int mf_place_task(void *job);

#endif /* MF_HANDOVER_PLACE_H */
