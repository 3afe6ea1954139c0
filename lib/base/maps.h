/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel says about mappings: /proc/self/maps and the VmFlags of smaps. */
#ifndef MF_BASE_MAPS_H
#define MF_BASE_MAPS_H

#include "types.h"

#define MF_VMA_SHARED (1u << 0)
#define MF_VMA_FILE (1u << 1)	   /* has an inode (memfd and shmem included) */
#define MF_VMA_LOCKED (1u << 2)	   /* VmFlags lo */
#define MF_VMA_HUGETLB (1u << 3)   /* ht */
#define MF_VMA_THP (1u << 4)	   /* hg */
#define MF_VMA_NOTHP (1u << 5)	   /* nh */
#define MF_VMA_DONTFORK (1u << 6)  /* dc */
#define MF_VMA_NORESERVE (1u << 7) /* nr */
#define MF_VMA_DONTDUMP (1u << 8)  /* dd */
#define MF_VMA_UFFD (1u << 9)	   /* um, uw or ui: registered with a userfaultfd */
#define MF_VMA_SPECIAL (1u << 10)  /* io, pf, mm: device or pfn mapping */
#define MF_VMA_STACK (1u << 11)	   /* gd: grows down */

struct mf_vma {
	u64 start, end;
	u32 prot;  /* PROT_* */
	u32 flags; /* MF_VMA_*; those after FILE only from mf_maps_walk_flags() */
	u64 offset;
	u64 inode;
	u64 kernel_page_size; /* only from mf_maps_walk_flags() */
	char name[64];	      /* truncated */
};

/* Return 0 to go on, anything else to stop with that value. */
typedef int (*mf_vma_fn)(const struct mf_vma *vma, void *arg);

/*
 * Call @fn for each mapping of this process that overlaps [start, end), in order. Reads
 * /proc/self/maps, cheap whatever is resident. Returns what @fn stopped with, 0, or
 * -errno.
 */
int mf_maps_walk(u64 start, u64 end, mf_vma_fn fn, void *arg);
/*
 * The same from /proc/self/smaps, with all flags and the page size. The kernel counts
 * the resident pages of every mapping for this: milliseconds for gigabytes. Not for a
 * blackout.
 */
int mf_maps_walk_flags(u64 start, u64 end, mf_vma_fn fn, void *arg);

#endif /* MF_BASE_MAPS_H */
