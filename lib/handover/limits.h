/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Would the memory fit? Asked before anything is touched. */
#ifndef MF_HANDOVER_LIMITS_H
#define MF_HANDOVER_LIMITS_H

#include "base/types.h"

/* Resident anonymous and file memory of this process, bytes; 0 if unknown. */
u64 mf_resident_bytes(void);
/* Path of this process's memory cgroup ("" if there is none or it cannot be known). */
void mf_memory_cgroup(char *buf, size_t size);
/*
 * Can this process take @need more bytes? Moves within one cgroup change nothing there,
 * so @peer_cgroup equal to ours always fits. -ENOMEM with the limit's name.
 */
int mf_memory_fits(u64 need, const char *peer_cgroup);
/*
 * Is a huge page of that size free, one for each thread that brings some? The source's go
 * back to the pool one by one as they arrive. -ENOMEM with a text.
 */
int mf_huge_pages_fit(u64 page_size);

#endif /* MF_HANDOVER_LIMITS_H */
