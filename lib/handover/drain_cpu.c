/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the pilot runs. To resolve a fault two context switches are needed, and what
 * they cost depends on where: on the faulting thread's own CPU they are plain switches,
 * on another one they are interrupts and a wake from idle (docs/performance.md has the
 * figures). So with MF_PLACE_SAME the pilot follows the faulting thread, and the drainer,
 * which only wants time, keeps off that CPU if there is another.
 */
#include "handover/drain.h"

#include "base/sys.h"
#include "memferry.h"

#include "base/faultpath.h"

#define FOLLOW_EVERY_NS (250 * MF_NSEC_PER_USEC)
#define SCHED_RR_POLICY 2 /* sched(7): several such tasks on one CPU share it */
#define STAT_CPU_FIELD 39 /* proc(5), /proc/PID/stat: processor */

static void mask_set(u8 *mask, s32 cpu)
{
	mask[cpu / 8] |= (u8)(1 << (cpu % 8));
}

static bool mask_has(const u8 *mask, s32 cpu)
{
	return cpu >= 0 && cpu < MF_CPU_MASK_BYTES * 8 && (mask[cpu / 8] >> (cpu % 8) & 1);
}

void mf_drain_cpu_init(struct mf_drain *d)
{
	d->cpu = -1;
	mf_sys(__NR_sched_getaffinity, 0, MF_CPU_MASK_BYTES, d->cpus, 0, 0);
}

/*
 * A fault takes microseconds to serve, but a pilot of ordinary priority that wakes up on a
 * busy CPU waits milliseconds for its turn. So it asks for the lowest real-time priority;
 * it sleeps between faults, and runs only while a thread waits for it. Who may not have that
 * (no CAP_SYS_NICE, no RLIMIT_RTPRIO) does without.
 */
void mf_drain_go_first(bool ordinary)
{
	int priority = 1;

	if (!ordinary)
		mf_sys(__NR_sched_setscheduler, 0, SCHED_RR_POLICY, &priority, 0, 0);
}

static char *put_decimal(char *p, u32 v)
{
	char digits[10];
	int n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*p++ = digits[--n];
	return p;
}

static char *put_text(char *p, const char *text)
{
	while (*text)
		*p++ = *text++;
	return p;
}

/* The comm field may hold anything, spaces and parentheses too: count from the last one. */
static s32 parse_cpu(const char *text, long n)
{
	long i = n - 1;
	int field = 2;
	s32 cpu = 0;

	while (i > 0 && text[i] != ')')
		i--;
	for (; i < n && field < STAT_CPU_FIELD; i++)
		if (text[i] == ' ')
			field++;
	if (i >= n || text[i] < '0' || text[i] > '9')
		return -1;
	for (; i < n && text[i] >= '0' && text[i] <= '9' && cpu < 1 << 20; i++)
		cpu = cpu * 10 + (text[i] - '0');
	return cpu;
}

static s32 cpu_of(u32 tid)
{
	char path[32], text[1024];
	char *p = path;
	long fd, n;

	p = put_text(p, "/proc/");
	p = put_decimal(p, tid);
	p = put_text(p, "/stat");
	*p = 0;
	fd = mf_sys_openat(-100 /* AT_FDCWD */, path, 02000000 /* O_CLOEXEC */, 0);
	if (fd < 0)
		return -1;
	n = mf_sys_read((int)fd, text, sizeof(text));
	mf_sys_close((int)fd);
	return n > 0 ? parse_cpu(text, n) : -1;
}

s32 mf_cpu_sit(const u8 *allowed, s32 at, s32 cpu)
{
	u8 mask[MF_CPU_MASK_BYTES] = { 0 };

	if (cpu == at || !mask_has(allowed, cpu))
		return at;
	mask_set(mask, cpu);
	return mf_sys_sched_setaffinity(0, sizeof(mask), mask) == 0 ? cpu : at;
}

/* After a fault of thread @tid was served: be there for its next one. */
void mf_drain_cpu_follow(struct mf_drain *d, u32 tid)
{
	u64 now = mf_now_ns();

	if (d->placement != MF_PLACE_SAME || now - d->cpu_checked_ns < FOLLOW_EVERY_NS)
		return;
	d->cpu_checked_ns = now;
	mf_store(&d->cpu, mf_cpu_sit(d->cpus, d->cpu, cpu_of(tid)));
}

/* The drainer's side of it. */
void mf_drain_cpu_avoid(struct mf_drain *d)
{
	u8 mask[MF_CPU_MASK_BYTES];
	s32 cpu = mf_load(&d->cpu);
	u32 i, others = 0;

	if (cpu == d->cpu_avoided)
		return;
	d->cpu_avoided = cpu;
	for (i = 0; i < sizeof(mask); i++)
		mask[i] = d->cpus[i];
	if (cpu >= 0)
		mask[cpu / 8] &= (u8) ~(1 << (cpu % 8));
	for (i = 0; i < sizeof(mask); i++)
		others |= mask[i];
	if (others)
		mf_sys_sched_setaffinity(0, sizeof(mask), mask);
}
