/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a number was measured: a result without this is worth nothing later. */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <memferry.h>

#include "bench.h"
#include "commit.h"

/* The value behind "key :" in /proc/cpuinfo, "" if there is none. */
static void cpuinfo(const char *key, char *buf, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	size_t key_len = strlen(key);
	char line[1024], *v;

	buf[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, key_len))
			continue;
		v = strchr(line, ':');
		if (!v)
			continue;
		v += strspn(v, ": \t");
		v[strcspn(v, "\n")] = '\0';
		snprintf(buf, size, "%s", v);
		break;
	}
	if (f)
		fclose(f);
}

/* "always [madvise] never" -> "madvise" */
static void chosen(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[256], *open;

	snprintf(buf, size, "unknown");
	if (!f)
		return;
	if (fgets(line, sizeof(line), f)) {
		open = strchr(line, '[');
		if (open) {
			open[strcspn(open, "]")] = '\0';
			snprintf(buf, size, "%s", open + 1);
		}
	}
	fclose(f);
}

static void machine(char *buf, size_t size)
{
	char model[200], flags[4096];
	struct sysinfo si;

	cpuinfo("model name", model, sizeof(model));
	cpuinfo("flags", flags, sizeof(flags));
	if (sysinfo(&si))
		memset(&si, 0, sizeof(si));
	snprintf(buf, size, "%s%s, %.1f GiB", model[0] ? model : "unknown CPU",
		 strstr(flags, " hypervisor") ? " (virtual machine)" : "",
		 (double)si.totalram * si.mem_unit / (double)GIB);
}

void env_json(struct json_object *obj)
{
	char text[300], thp[64];
	struct utsname un;

	machine(text, sizeof(text));
	json_add_string(obj, "machine", text);
	json_add_int(obj, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
	if (uname(&un) == 0)
		json_add_string(obj, "kernel", un.release);
	json_add_string(obj, "version", mf_version());
	if (BENCH_COMMIT[0])
		json_add_string(obj, "commit", BENCH_COMMIT);
	chosen("/sys/kernel/mm/transparent_hugepage/enabled", thp, sizeof(thp));
	json_add_string(obj, "thp", thp);
	chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", thp, sizeof(thp));
	json_add_string(obj, "thp_shmem", thp);
}

void env_print(void)
{
	char text[300], thp[64];
	struct utsname un;

	machine(text, sizeof(text));
	chosen("/sys/kernel/mm/transparent_hugepage/enabled", thp, sizeof(thp));
	printf("%s, %ld CPUs, Linux %s, THP %s, memferry %s%s%s\n", text,
	       sysconf(_SC_NPROCESSORS_ONLN), uname(&un) ? "?" : un.release, thp, mf_version(),
	       BENCH_COMMIT[0] ? " at " : "", BENCH_COMMIT);
}
