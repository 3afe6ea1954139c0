/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The probe's caller side: starts labs, keeps the time, answers questions. */
#include <errno.h>
#include <linux/prctl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/maps.h"
#include "uffd/probe.h"

#define FDS_NEEDED 8
#define OLD_FD_MAX 1024
#define LARGE (64 * MF_MIB)
#define MUCH_TOO_LARGE ((u64)1 << 40)
#define LOW ((u64)1 << 32)
#define TICK_NS ((s64)2 * (s64)MF_NSEC_PER_MSEC)

struct limit {
	u64 soft, hard;
};

static long get_limit(int which, struct limit *ret_limit)
{
	return mf_sys(__NR_prlimit64, 0, which, NULL, ret_limit, 0);
}

static void set_limit(int which, u64 soft, u64 hard)
{
	struct limit limit = { soft, hard };

	mf_sys(__NR_prlimit64, 0, which, &limit, NULL, 0);
}

/* ---- in the lab */

/*
 * The lab forks in its turn, and copying the page tables of the caller's gigabytes takes
 * 40 ms each. Its children need code, static data, heap and the stack with the calling
 * thread's storage; they do not get large mappings of nothing in particular. A sanitizer's
 * shadow they do get: it lies low, or is larger than any memory.
 */
static int keep_from_children(const struct mf_vma *vma, void *arg)
{
	u64 here = (u64)__builtin_frame_address(0), len = vma->end - vma->start;
	u64 tls = (u64)__builtin_thread_pointer();

	if (len < LARGE || len > MUCH_TOO_LARGE || vma->start < LOW || vma->name[0] == '[')
		return 0;
	if (vma->flags & (MF_VMA_SHARED | MF_VMA_FILE))
		return 0;
	if ((here >= vma->start && here < vma->end) || (tls >= vma->start && tls < vma->end))
		return 0;
	mf_sys_madvise((void *)vma->start, len, MADV_DONTFORK);
	return 0;
}

/*
 * The caller's descriptors go: a copy of them must not outlive a close() in the caller,
 * and a full table must not be in our way.
 */
static void lab_settle(pid_t caller)
{
	struct limit files;
	int fd;

	mf_sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mf_sys(__NR_getppid, 0, 0, 0, 0, 0) != caller)
		mf_sys_exit_group(1);
	if (mf_sys_close_range(0, ~0u))
		for (fd = 0; fd < OLD_FD_MAX; fd++)
			mf_sys_close(fd);
	if (get_limit(RLIMIT_NOFILE, &files) == 0)
		set_limit(RLIMIT_NOFILE, files.hard, files.hard);
	set_limit(RLIMIT_CORE, 0, 0);
	/* without /proc it is just slower */
	mf_maps_walk(0, ~(u64)0, keep_from_children, NULL);
}

static u8 *lab_page(void)
{
	long p = mf_sys_mmap(NULL, MF_PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mf_is_err(p))
		mf_sys_exit_group(1);
	memset((void *)p, MF_LAB_BYTE, MF_PAGE_SIZE);
	return (u8 *)p;
}

static void lab_main(struct mf_probe *probe, pid_t caller)
{
	struct mf_lab lab = { .probe = probe };
	u32 i;

	lab_settle(caller);
	lab.page = lab_page();
	for (i = probe->next; i < probe->count; i++) {
		lab.spec = &mf_probe_specs[i];
		lab.slot = &probe->slots[i];
		lab.spec->run(&lab);
		mf_store(&probe->next, i + 1);
	}
	mf_sys_exit_group(0);
}

/* ---- in the caller */

/*
 * Not libc's fork(): that would run the application's atfork handlers. No exit signal:
 * the application's SIGCHLD handler and its wait() for any child do not see the lab.
 * The lab keeps all signals blocked, so the application's handlers never run in it.
 */
static long start_lab(struct mf_probe *probe)
{
	pid_t caller = (pid_t)mf_sys_getpid();
	u64 all = ~(u64)0, old = 0;
	long pid;

	mf_sys(__NR_rt_sigprocmask, SIG_BLOCK, &all, &old, sizeof(all), 0);
	pid = mf_inject(MF_INJECT_CLONE);
	if (!pid)
		pid = mf_sys(__NR_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		lab_main(probe, caller);
	mf_sys(__NR_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old), 0);
	return pid;
}

static void note(struct mf_probe *probe, u32 index, enum mf_probe_state state, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));
static void note(struct mf_probe *probe, u32 index, enum mf_probe_state state, const char *fmt,
		 ...)
{
	va_list ap;

	probe->slots[index].state = state;
	va_start(ap, fmt);
	vsnprintf(probe->slots[index].why, sizeof(probe->slots[index].why), fmt, ap);
	va_end(ap);
}

/* The item that was under way when the lab ended takes the blame. */
static void blame(struct mf_probe *probe, int status, bool timed_out)
{
	u32 i = probe->next;

	if (i >= probe->count)
		return;
	if (timed_out)
		note(probe, i, MF_UNKNOWN, "did not come back within %d ms", MF_LAB_ITEM_MS);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
		note(probe, i, MF_DENIED, "a seccomp filter killed the process that tried it");
		snprintf(probe->slots[i].remedy, sizeof(probe->slots[i].remedy),
			 "allow the system call in the seccomp profile of this service or "
			 "container");
	} else if (WIFSIGNALED(status))
		note(probe, i, MF_UNKNOWN, "the process that tried it was ended by signal %d",
		     WTERMSIG(status));
	else
		note(probe, i, MF_UNKNOWN, "the process that tried it gave up with status %d",
		     WEXITSTATUS(status));
	probe->next = i + 1;
}

/*
 * A dead lab's children die by their death signal. If this process is init of a container
 * or a subreaper they became its children: take them. Otherwise this is ECHILD at once.
 */
static void reap_orphans(struct mf_probe *probe)
{
	int i;

	for (i = 0; i < MF_LAB_CHILDREN; i++) {
		if (probe->children[i])
			mf_sys_wait4((pid_t)probe->children[i], NULL, __WALL);
		probe->children[i] = 0;
	}
}

static bool reaped(pid_t pid, int *ret_status, int options)
{
	long r;

	do
		r = mf_sys_wait4(pid, ret_status, __WALL | options);
	while (r == -EINTR);
	return r != 0;
}

/* Until the lab has ended by itself, or an item's time or all time (@end) is up. */
static void watch_lab(struct mf_probe *probe, pid_t pid, u64 end)
{
	long pidfd = mf_sys_pidfd_open(pid); /* < 0: then by looking every tick */
	struct pollfd p = { .fd = (int)pidfd, .events = POLLIN };
	u64 item_end = mf_now_ns() + MF_LAB_ITEM_MS * MF_NSEC_PER_MSEC;
	u32 item = mf_load(&probe->next);
	bool timed_out = false;
	int status = 0;

	while (!reaped(pid, &status, WNOHANG)) {
		if (mf_load(&probe->next) != item) {
			item = mf_load(&probe->next);
			item_end = mf_now_ns() + MF_LAB_ITEM_MS * MF_NSEC_PER_MSEC;
		}
		if (mf_now_ns() > mf_min(item_end, end)) {
			timed_out = true;
			mf_sys(__NR_kill, pid, SIGKILL, 0, 0, 0);
			reaped(pid, &status, 0);
			break;
		}
		mf_sys_ppoll(&p, pidfd < 0 ? 0 : 1, TICK_NS);
	}
	if (pidfd >= 0)
		mf_sys_close((int)pidfd);
	blame(probe, status, timed_out);
	reap_orphans(probe);
}

static int run_labs(struct mf_probe *probe)
{
	u64 end = mf_now_ns() + MF_LAB_TOTAL_MS * MF_NSEC_PER_MSEC;
	long pid;

	while (probe->next < probe->count) {
		if (mf_now_ns() > end) {
			note(probe, probe->next++, MF_UNKNOWN,
			     "not tried: the probe's %d ms were used up", MF_LAB_TOTAL_MS);
			continue;
		}
		pid = start_lab(probe);
		if (pid < 0)
			return mf_fail((int)pid,
				       "cannot start a process to probe in: %s; look at "
				       "ulimit -u and the pids limit of the cgroup",
				       mf_errno_text((int)pid));
		watch_lab(probe, (pid_t)pid, end);
	}
	return 0;
}

static struct mf_probe *new_probe(void)
{
	size_t bytes = mf_align_up(sizeof(struct mf_probe) +
					   mf_probe_n_specs * sizeof(struct mf_probe_slot),
				   MF_PAGE_SIZE);
	long p = mf_sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			     -1, 0);
	struct mf_probe *probe = (struct mf_probe *)p;

	if (mf_is_err(p)) {
		mf_fail((int)p, "no memory for the probe: %s", mf_errno_text((int)p));
		return NULL;
	}
	probe->bytes = bytes;
	probe->count = (u32)mf_probe_n_specs;
	return probe;
}

MF_API int mf_probe_run(struct mf_probe **ret_probe)
{
	struct mf_probe *probe;
	struct limit files;
	int r;

	if (!ret_probe)
		return mf_fail(-EINVAL, "mf_probe_run: nowhere to put the result");
	if (get_limit(RLIMIT_NOFILE, &files) == 0 && files.hard < FDS_NEEDED)
		return mf_fail(-EMFILE,
			       "the probe needs %d descriptors and the hard limit is %llu; "
			       "raise it (ulimit -Hn)",
			       FDS_NEEDED, (unsigned long long)files.hard);
	probe = new_probe();
	if (!probe)
		return -ENOMEM;
	r = run_labs(probe);
	if (r) {
		mf_probe_free(probe);
		return r;
	}
	*ret_probe = probe;
	return 0;
}

MF_API size_t mf_probe_count(const struct mf_probe *probe)
{
	return probe->count;
}

/* The caller's struct may be of an older header: write no more than it has room for. */
static int fill_item(const struct mf_probe *probe, size_t i, struct mf_probe_item *ret_item)
{
	const struct mf_probe_spec *spec = &mf_probe_specs[i];
	struct mf_probe_item item = {
		.size = ret_item->size,
		.name = spec->name,
		.group = spec->group,
		.about = spec->about,
		.state = probe->slots[i].state,
		.why = probe->slots[i].why,
		.remedy = probe->slots[i].remedy,
	};

	if (ret_item->size < sizeof(item.size) || ret_item->size > sizeof(item))
		return mf_fail(-E2BIG,
			       "mf_probe_item: set .size = sizeof(item); a size of %zu "
			       "is of another version",
			       ret_item->size);
	memcpy(ret_item, &item, ret_item->size);
	return 0;
}

MF_API int mf_probe_item_at(const struct mf_probe *probe, size_t index,
			    struct mf_probe_item *ret_item)
{
	if (index >= probe->count)
		return mf_fail(-ERANGE, "the probe has %u items, there is none at %zu",
			       probe->count, index);
	return fill_item(probe, index, ret_item);
}

MF_API int mf_probe_item_named(const struct mf_probe *probe, const char *name,
			       struct mf_probe_item *ret_item)
{
	size_t i;

	for (i = 0; i < probe->count; i++)
		if (!strcmp(mf_probe_specs[i].name, name))
			return fill_item(probe, i, ret_item);
	return mf_fail(-ENOENT, "the probe has no item '%s'", name);
}

MF_API const char *mf_probe_state_name(enum mf_probe_state state)
{
	switch (state) {
	case MF_SUPPORTED:
		return "supported";
	case MF_MISSING:
		return "missing";
	case MF_DENIED:
		return "denied";
	case MF_UNKNOWN:
		break;
	}
	return "unknown";
}

MF_API void mf_probe_free(struct mf_probe *probe)
{
	if (probe)
		mf_sys_munmap(probe, probe->bytes);
}
