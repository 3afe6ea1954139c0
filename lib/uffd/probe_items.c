/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of what is probed. Access comes first: the rest needs a userfaultfd. */
#include "uffd/probe.h"

#define ACCESS(n, fn, text)                                                                    \
	{                                                                                      \
		"access." n, "access", text, fn, 0                                             \
	}
#define FEATURE(n, bits, text)                                                                 \
	{                                                                                      \
		"feature." n, "feature", text, mf_probe_feature, bits                          \
	}
#define IOCTL(n, fn, text)                                                                     \
	{                                                                                      \
		"ioctl." n, "ioctl", text, fn, 0                                               \
	}
#define SEM(n, fn, text)                                                                       \
	{                                                                                      \
		"sem." n, "semantics", text, fn, 0                                             \
	}

const struct mf_probe_spec mf_probe_specs[] = {
	ACCESS("syscall", mf_probe_syscall,
	       "the system call userfaultfd() without restrictions: faults from user mode and "
	       "from inside system calls are both handled. What a hand-over wants"),
	ACCESS("dev", mf_probe_device,
	       "/dev/userfaultfd: the same userfaultfd for whoever may open the device, with "
	       "no capability and no sysctl"),
	ACCESS("user_mode_only", mf_probe_user_mode,
	       "userfaultfd(UFFD_USER_MODE_ONLY): open to every user, but a system call that "
	       "runs into a missing page fails with EFAULT instead of waiting for it"),

	FEATURE("pagefault_flag_wp", MF_UFFD_FEATURE_PAGEFAULT_FLAG_WP,
		"write-protection faults: tells which pages are written to"),
	FEATURE("event_fork", MF_UFFD_FEATURE_EVENT_FORK,
		"an event for fork(), with a descriptor for the child's space; memferry keeps "
		"regions from children while they arrive, and does not need it"),
	FEATURE("event_remap", MF_UFFD_FEATURE_EVENT_REMAP,
		"an event for mremap(): a region that moves is followed"),
	FEATURE("event_remove", MF_UFFD_FEATURE_EVENT_REMOVE,
		"an event for MADV_DONTNEED and MADV_FREE: discarded pages are not brought back"),
	FEATURE("missing_hugetlbfs", MF_UFFD_FEATURE_MISSING_HUGETLBFS,
		"missing faults in hugetlb mappings: hugetlb regions can be handed over"),
	FEATURE("missing_shmem", MF_UFFD_FEATURE_MISSING_SHMEM,
		"missing faults in shared memory; memferry passes such regions by descriptor "
		"and does not need it"),
	FEATURE("event_unmap", MF_UFFD_FEATURE_EVENT_UNMAP,
		"an event for munmap(); memferry does not need it: there is nothing to bring to"),
	FEATURE("sigbus", MF_UFFD_FEATURE_SIGBUS,
		"SIGBUS in the faulting thread instead of a message: a program resolves its own "
		"faults without a second thread"),
	FEATURE("thread_id", MF_UFFD_FEATURE_THREAD_ID,
		"the message names the faulting thread: the handler can run on its CPU"),
	FEATURE("minor_hugetlbfs", MF_UFFD_FEATURE_MINOR_HUGETLBFS,
		"minor faults in hugetlb mappings; memferry does not need it"),
	FEATURE("minor_shmem", MF_UFFD_FEATURE_MINOR_SHMEM,
		"minor faults in shared memory; memferry does not need it"),
	FEATURE("exact_address", MF_UFFD_FEATURE_EXACT_ADDRESS,
		"the message holds the exact address, not that of the page; memferry does not "
		"need it"),
	FEATURE("wp_hugetlbfs_shmem", MF_UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
		"write-protection in hugetlb and shared memory; memferry does not need it"),
	FEATURE("wp_unpopulated", MF_UFFD_FEATURE_WP_UNPOPULATED,
		"write-protection of pages that are not there yet; memferry does not need it"),
	FEATURE("poison", MF_UFFD_FEATURE_POISON,
		"pages can be poisoned: what was lost gives SIGBUS, never a silent zero"),
	FEATURE("wp_async", MF_UFFD_FEATURE_WP_ASYNC,
		"the kernel notes writes by itself, without faults; memferry does not need it"),
	FEATURE("move", MF_UFFD_FEATURE_MOVE,
		"UFFDIO_MOVE: pages change their place without being copied"),
	FEATURE("move_cross_mm", MF_UFFD_FEATURE_MOVE_CROSS_MM,
		"UFFDIO_MOVE into another process, from memferry's kernel series. The bit alone "
		"proves little: see sem.move_cross_give"),
	FEATURE("move_take", MF_UFFD_FEATURE_MOVE_CROSS_MM | MF_UFFD_FEATURE_MOVE_TAKE,
		"UFFDIO_MOVE out of another process, from memferry's kernel series. The bit "
		"alone proves little: see sem.move_cross_take"),

	IOCTL("register", mf_probe_register, "put a range under the care of a userfaultfd"),
	IOCTL("unregister", mf_probe_unregister, "release a range"),
	IOCTL("wake", mf_probe_wake, "wake the threads that wait for a page, by hand"),
	IOCTL("copy", mf_probe_copy,
	      "fill a missing page with a copy: how pages arrive on every kernel"),
	IOCTL("zeropage", mf_probe_zeropage, "fill a missing page with zeros: holes arrive so"),
	IOCTL("writeprotect", mf_probe_writeprotect, "protect a range against writing"),
	IOCTL("continue", mf_probe_continue,
	      "map in a page that is in the page cache; memferry does not need it"),
	IOCTL("poison", mf_probe_poison, "make a missing page give SIGBUS"),
	IOCTL("move", mf_probe_move, "move a page to a missing page, without copying it"),

	SEM("move_same_space", mf_probe_move_same_space,
	    "MOVE within one address space delivers the page and leaves nothing behind: route "
	    "move"),
	SEM("move_task", mf_probe_move_task,
	    "MOVE may be done by a task that shares the address space but has a pid of its "
	    "own, as memferry's ferry task is"),
	SEM("move_thp", mf_probe_move_thp,
	    "MOVE of an aligned 2 MiB page moves it whole: it is one page table entry, and "
	    "stays huge"),
	SEM("move_busy_after_fork", mf_probe_move_busy,
	    "MOVE of a page shared with a forked child is refused (EBUSY) instead of taking it "
	    "away from the child"),
	SEM("move_cross_give", mf_probe_move_cross_give,
	    "MOVE from another process's memory into this one: route xmove. Mainline kernels "
	    "refuse it (EINVAL); it needs memferry's kernel series"),
	SEM("move_cross_take", mf_probe_move_cross_take,
	    "MOVE out of this process's memory into another one: route xmove. It needs "
	    "memferry's kernel series"),
	SEM("copy_cross", mf_probe_copy_cross,
	    "COPY by another process that was given the descriptor: routes copy and ferry, and "
	    "every hand-over"),
	SEM("copy_wakes", mf_probe_copy_wakes,
	    "a thread that waits for a page goes on when COPY brings it"),
	SEM("copy_exist", mf_probe_copy_exist,
	    "COPY onto a page that is there already is refused (EEXIST) and changes nothing: "
	    "two movers cannot overwrite each other"),
	SEM("poison_sigbus", mf_probe_poison_sigbus,
	    "touching a poisoned page is SIGBUS: the last resort when a page was lost"),
	SEM("close_reads_zero", mf_probe_close_reads_zero,
	    "after the last close of the descriptor missing pages read zeros, without a "
	    "warning: why memferry keeps it open in two processes until nothing is missing"),
	SEM("event_remove", mf_probe_event_remove, "the event for MADV_DONTNEED is delivered"),
	SEM("event_remap", mf_probe_event_remap, "the event for mremap() is delivered"),
	SEM("event_unmap", mf_probe_event_unmap,
	    "the event for munmap() is delivered; memferry "
	    "does not need it"),
	SEM("event_fork", mf_probe_event_fork,
	    "the event for fork() is delivered, with a descriptor; memferry does not need it"),
	SEM("thread_id", mf_probe_thread_id, "the message names the thread that faulted"),
	SEM("wp_anon", mf_probe_wp_anon,
	    "a write to a protected page of anonymous memory is reported and waits: how route "
	    "ferry takes pages"),
	SEM("sigbus_mode", mf_probe_sigbus_mode,
	    "with the sigbus feature a missing page is SIGBUS in the faulting thread"),
	SEM("minor_shmem", mf_probe_minor_shmem,
	    "minor faults in shared memory are reported; memferry does not need it"),
	SEM("hugetlb_missing", mf_probe_hugetlb_missing,
	    "missing hugetlb pages are reported and filled: hugetlb regions are copied so"),
	SEM("pidfd", mf_probe_pidfd,
	    "a descriptor for a process, readable when it has ended: how a dead peer is found"),
	SEM("memfd_seal", mf_probe_memfd_seal,
	    "memory shared by descriptor that can no longer be shrunk: holds the commit word"),
	SEM("process_vm_readv", mf_probe_process_vm_readv,
	    "one process reads the memory of another: how route ferry takes pages"),
	SEM("dontneed_locked", mf_probe_dontneed_locked,
	    "MADV_DONTNEED_LOCKED: mlocked memory is given back as it leaves"),
	SEM("populate_write", mf_probe_populate_write,
	    "MADV_POPULATE_WRITE: memory is made resident before it is needed; memferry does "
	    "not depend on it"),
	SEM("pagemap_scan", mf_probe_pagemap_scan,
	    "the PAGEMAP_SCAN ioctl tells which pages are present or huge: sem.move_thp looks "
	    "with it"),
	SEM("fixed_noreplace", mf_probe_fixed_noreplace,
	    "MAP_FIXED_NOREPLACE: a region is mapped at its old address only if that is free"),
};

const size_t mf_probe_n_specs = ARRAY_SIZE(mf_probe_specs);
