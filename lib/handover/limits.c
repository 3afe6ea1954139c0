/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/fail.h"
#include "base/sys.h"

#define HUGE_SPARE 2 /* the pilot's and the drainer's */

static bool read_text(const char *path, char *buf, size_t size)
{
	long fd = mf_sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), n;

	if (fd < 0)
		return false;
	n = mf_sys_read((int)fd, buf, size - 1);
	mf_sys_close((int)fd);
	if (n <= 0)
		return false;
	buf[n] = 0;
	return true;
}

static bool read_number(const char *path, u64 *ret)
{
	char text[64], *end;

	if (!read_text(path, text, sizeof(text)))
		return false;
	*ret = strtoull(text, &end, 10);
	return end != text;
}

u64 mf_resident_bytes(void)
{
	char text[128];
	unsigned long long size, resident;

	if (!read_text("/proc/self/statm", text, sizeof(text)) ||
	    sscanf(text, "%llu %llu", &size, &resident) != 2)
		return 0;
	return resident * MF_PAGE_SIZE;
}

/* "ID:controllers:PATH" lines; v2 has no controllers, v1 names memory. */
void mf_memory_cgroup(char *buf, size_t size)
{
	char text[4096], *line, *save = NULL, *ctl, *path;

	buf[0] = 0;
	if (!read_text("/proc/self/cgroup", text, sizeof(text)))
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		ctl = strchr(line, ':');
		path = ctl ? strchr(ctl + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = 0;
		if (!strcmp(ctl + 1, "memory")) {
			snprintf(buf, size, "v1:%s", path);
			return;
		}
		if (!ctl[1])
			snprintf(buf, size, "v2:%s", path);
	}
}

/* What the group could give up at once: its clean page cache, more or less. */
static u64 file_cache(const char *dir, bool v1)
{
	const char *key = v1 ? "\ntotal_inactive_file " : "\ninactive_file ";
	char path[1200], text[8192], *at;

	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	if (!read_text(path, text, sizeof(text)))
		return 0;
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static bool room_in(const char *dir, bool v1, u64 *ret_room)
{
	char path[1200];
	u64 limit, usage;

	snprintf(path, sizeof(path), "%s/%s", dir, v1 ? "memory.limit_in_bytes" : "memory.max");
	if (!read_number(path, &limit)) /* "max" is no number: no limit here */
		return false;
	snprintf(path, sizeof(path), "%s/%s", dir,
		 v1 ? "memory.usage_in_bytes" : "memory.current");
	if (!read_number(path, &usage))
		return false;
	usage -= mf_min(usage, file_cache(dir, v1));
	*ret_room = limit > usage ? limit - usage : 0;
	return true;
}

/* Memory that moves within a group, or between groups below it, does not fill it. */
static bool holds_peer(const char *group, const char *peer)
{
	size_t n = strlen(group);

	return !strncmp(group, peer, n) &&
	       (peer[n] == 0 || peer[n] == '/' || group[n - 1] == '/');
}

static int fits_cgroup(u64 need, char *group, const char *peer)
{
	bool v1 = !strncmp(group, "v1:", 3);
	char dir[1024], *slash;
	u64 room;

	for (;;) {
		if (!*group || holds_peer(group, peer))
			return 0;
		snprintf(dir, sizeof(dir), "/sys/fs/cgroup%s%s", v1 ? "/memory" : "",
			 group + 3);
		if (room_in(dir, v1, &room) && room < need)
			return mf_fail(
				-ENOMEM,
				"%llu MiB are to arrive, but the memory limit of cgroup %s "
				"leaves %llu MiB: raise it",
				(unsigned long long)(need / MF_MIB), dir,
				(unsigned long long)(room / MF_MIB));
		slash = strrchr(group, '/');
		if (!slash || !slash[1])
			return 0;
		slash[slash == group + 3] = 0; /* keep the root's own slash */
	}
}

static int fits_rlimit(int which, const char *name, u64 used, u64 need)
{
	struct rlimit lim;

	if (getrlimit(which, &lim) || lim.rlim_cur == RLIM_INFINITY)
		return 0;
	if (used + need > lim.rlim_cur)
		return mf_fail(-ENOMEM, "%llu MiB are to arrive, but %s is %llu MiB: raise it",
			       (unsigned long long)(need / MF_MIB), name,
			       (unsigned long long)(lim.rlim_cur / MF_MIB));
	return 0;
}

int mf_memory_fits(u64 need, const char *peer_cgroup)
{
	char mine[512];
	int r;

	r = fits_rlimit(RLIMIT_AS, "the address space limit (ulimit -v)", 0, need);
	if (!r)
		r = fits_rlimit(RLIMIT_DATA, "the data limit (ulimit -d)", 0, need);
	if (r)
		return r;
	mf_memory_cgroup(mine, sizeof(mine));
	return fits_cgroup(need, mine, peer_cgroup);
}

static u64 huge_number(u64 page_size, const char *what)
{
	char path[128];
	u64 n = 0;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)(page_size / MF_KIB), what);
	read_number(path, &n);
	return n;
}

int mf_huge_pages_fit(u64 page_size)
{
	u64 free = huge_number(page_size, "free_hugepages");
	u64 reserved = huge_number(page_size, "resv_hugepages");
	u64 more = huge_number(page_size, "nr_overcommit_hugepages");

	more -= mf_min(more, huge_number(page_size, "surplus_hugepages"));
	if (free + more >= reserved + HUGE_SPARE)
		return 0;
	return mf_fail(-ENOMEM,
		       "no spare huge page of %llu KiB: each arrives before it is given back "
		       "there; %d must be free and not reserved, raise vm.nr_hugepages",
		       (unsigned long long)(page_size / MF_KIB), HUGE_SPARE);
}
