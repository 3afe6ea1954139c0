/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guards that still put huge pages together when their successor object is freed. They
 * need nothing from it but their own memory; whoever passes by later takes it back.
 * Thread-safe.
 */
#ifndef MF_HANDOVER_RETIRED_H
#define MF_HANDOVER_RETIRED_H

#include "base/types.h"

struct mf_task;
struct mf_shared;

void mf_retire(struct mf_task *task, void *mem, u64 bytes, struct mf_shared *sh);
/* Free those that have ended. */
void mf_retired_reap(void);

#endif /* MF_HANDOVER_RETIRED_H */
