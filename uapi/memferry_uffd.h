/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The userfaultfd ABI as memferry uses it. Distribution headers lag behind the running
 * kernel (6.1's know neither MOVE nor POISON), so the numbers live here. Where the
 * installed header does know a thing, a static assertion holds the two together.
 *
 * Sources: Documentation/admin-guide/mm/userfaultfd.rst and the ioctl definitions in
 * the kernel's uapi header; the last block is this project's kernel series.
 */
#ifndef MEMFERRY_UFFD_H
#define MEMFERRY_UFFD_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>

struct mf_uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};

struct mf_uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define MF_UFFDIO_MOVE _IOWR(0xAA, 0x05, struct mf_uffdio_move)
#define MF_UFFDIO_POISON _IOWR(0xAA, 0x08, struct mf_uffdio_poison)

#define MF_UFFDIO_MOVE_MODE_DONTWAKE ((__u64)1 << 0)
#define MF_UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((__u64)1 << 1)
#define MF_UFFDIO_POISON_MODE_DONTWAKE ((__u64)1 << 0)

#define MF_UFFD_FEATURE_PAGEFAULT_FLAG_WP ((__u64)1 << 0)
#define MF_UFFD_FEATURE_EVENT_FORK ((__u64)1 << 1)
#define MF_UFFD_FEATURE_EVENT_REMAP ((__u64)1 << 2)
#define MF_UFFD_FEATURE_EVENT_REMOVE ((__u64)1 << 3)
#define MF_UFFD_FEATURE_MISSING_HUGETLBFS ((__u64)1 << 4)
#define MF_UFFD_FEATURE_MISSING_SHMEM ((__u64)1 << 5)
#define MF_UFFD_FEATURE_EVENT_UNMAP ((__u64)1 << 6)
#define MF_UFFD_FEATURE_SIGBUS ((__u64)1 << 7)
#define MF_UFFD_FEATURE_THREAD_ID ((__u64)1 << 8)
#define MF_UFFD_FEATURE_MINOR_HUGETLBFS ((__u64)1 << 9)
#define MF_UFFD_FEATURE_MINOR_SHMEM ((__u64)1 << 10)
#define MF_UFFD_FEATURE_EXACT_ADDRESS ((__u64)1 << 11)
#define MF_UFFD_FEATURE_WP_HUGETLBFS_SHMEM ((__u64)1 << 12)
#define MF_UFFD_FEATURE_WP_UNPOPULATED ((__u64)1 << 13)
#define MF_UFFD_FEATURE_POISON ((__u64)1 << 14)
#define MF_UFFD_FEATURE_WP_ASYNC ((__u64)1 << 15)
#define MF_UFFD_FEATURE_MOVE ((__u64)1 << 16)

/* the kernel series of this project */
#define MF_UFFD_FEATURE_MOVE_CROSS_MM ((__u64)1 << 19)
#define MF_UFFD_FEATURE_MOVE_TAKE ((__u64)1 << 20) /* requires MOVE_CROSS_MM */
#define MF_UFFDIO_MOVE_MODE_TAKE ((__u64)1 << 2)

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

_Static_assert(sizeof(struct mf_uffdio_move) == 40, "uffdio_move is ABI");
_Static_assert(sizeof(struct mf_uffdio_poison) == 32, "uffdio_poison is ABI");
#ifdef UFFDIO_MOVE
_Static_assert(MF_UFFDIO_MOVE == UFFDIO_MOVE, "UFFDIO_MOVE");
#endif
#ifdef UFFDIO_POISON
_Static_assert(MF_UFFDIO_POISON == UFFDIO_POISON, "UFFDIO_POISON");
#endif

#endif /* MEMFERRY_UFFD_H */
