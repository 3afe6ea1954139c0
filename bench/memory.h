/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory to measure with: mapped as asked for, and each page stamped with where it was
 * and a seed, so that a page that went astray is seen.
 */
#ifndef MF_BENCH_MEMORY_H
#define MF_BENCH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096ul
#define HUGE (2ul << 20)

/*
 * Private anonymous memory, nothing in it yet. @len is rounded up to 2 MiB, and so is
 * the address, whatever the page size, so that 4k and thp rows differ in nothing else.
 * @hint: a fixed address, or NULL. @thp: MADV_HUGEPAGE, else MADV_NOHUGEPAGE. NULL: none.
 */
char *memory_map(void *hint, size_t len, bool thp);
/* Write a stamp at both ends of every page. */
void memory_stamp(char *p, size_t len, uint64_t seed);
/* How many pages of @p do not carry the stamps that memory_stamp(origin) wrote. */
size_t memory_count_wrong(const char *p, const char *origin, size_t len, uint64_t seed);
/*
 * Use @bytes of free memory once and give them back. A virtual machine may have returned
 * free pages to its host; getting them back costs many times the copy that is measured,
 * and would be charged to whichever way happens to be first.
 */
void memory_warm(size_t bytes);
/* Bytes of [p, p + len) that are mapped by huge pages (smaps); -errno. */
int64_t memory_huge_bytes(const char *p, size_t len);
/* RssAnon of a process in bytes (of its space, that is); -errno. */
int64_t memory_rss_anon(pid_t pid);
/* MemAvailable in bytes, 0 if unknown */
uint64_t memory_available(void);

static inline uint64_t memory_word(const void *page, uint64_t seed)
{
	return ((uint64_t)page + seed) * 0x9e3779b97f4a7c15ull | 1;
}

#endif /* MF_BENCH_MEMORY_H */
