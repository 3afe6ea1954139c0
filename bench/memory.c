/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LAST_WORD (PAGE - sizeof(uint64_t))

char *memory_map(void *hint, size_t len, bool thp)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	size_t all;
	char *p, *start;

	len = (len + HUGE - 1) & ~(HUGE - 1);
	all = hint ? len : len + HUGE;
	p = mmap(hint, all, PROT_READ | PROT_WRITE, flags | (hint ? MAP_FIXED_NOREPLACE : 0),
		 -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (start > p)
		munmap(p, (size_t)(start - p));
	if (start + len < p + all)
		munmap(start + len, (size_t)(p + all - start - len));
	if (madvise(start, len, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && thp) {
		munmap(start, len);
		return NULL;
	}
	return start;
}

void memory_stamp(char *p, size_t len, uint64_t seed)
{
	for (char *page = p; page < p + len; page += PAGE) {
		uint64_t word = memory_word(page, seed);

		*(uint64_t *)page = word;
		*(uint64_t *)(page + LAST_WORD) = ~word;
	}
}

size_t memory_count_wrong(const char *p, const char *origin, size_t len, uint64_t seed)
{
	size_t wrong = 0;

	for (size_t off = 0; off < len; off += PAGE) {
		uint64_t word = memory_word(origin + off, seed);

		wrong += *(const uint64_t *)(p + off) != word ||
			 *(const uint64_t *)(p + off + LAST_WORD) != ~word;
	}
	return wrong;
}

void memory_warm(size_t bytes)
{
	char *p = memory_map(NULL, bytes, true);

	if (!p)
		return;
	for (size_t off = 0; off < bytes; off += PAGE)
		p[off] = 1;
	munmap(p, (bytes + HUGE - 1) & ~(HUGE - 1));
}

/* A region may be several mappings, and a mapping may begin before it. */
int64_t memory_huge_bytes(const char *p, size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	uint64_t start = 0, end = 0, from = (uint64_t)p, kib, sum = 0;
	char line[512];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		uint64_t s, e;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &s, &e) == 2) {
			start = s;
			end = e;
		} else if (start < from + len && end > from &&
			   sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1) {
			sum += kib << 10;
		}
	}
	fclose(f);
	return (int64_t)sum;
}

static int64_t kib_line(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	size_t key_len = strlen(key);
	int64_t bytes = -ESRCH;
	char line[256];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, key_len))
			continue;
		bytes = strtoll(line + key_len, NULL, 10) << 10;
		break;
	}
	fclose(f);
	return bytes;
}

int64_t memory_rss_anon(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return kib_line(path, "RssAnon:");
}

uint64_t memory_available(void)
{
	int64_t bytes = kib_line("/proc/meminfo", "MemAvailable:");

	return bytes > 0 ? (uint64_t)bytes : 0;
}
