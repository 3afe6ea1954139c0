/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memferry: move private anonymous memory between address spaces, page by page.
 *
 * This is the only installed header. Conventions that hold for every call:
 *
 *  - A call returns 0 (or the positive value that its comment names) on success
 *    and -errno on failure; `errno` itself is not touched on purpose. The text
 *    behind the most recent failure in the calling thread, with what to do about
 *    it, is mf_error().
 *  - Out-parameters are named ret_* and are written on success only. Progress
 *    counts (ret_done) are always written.
 *  - Lengths are bytes, times are what the name says (_ms, _ns). Addresses and
 *    lengths of regions are multiples of the region's page size.
 *  - Option structs start with their own size: set `.size = sizeof(opts)`, leave
 *    the rest zero for defaults. A field that a newer header knows and an older
 *    library does not is refused (-E2BIG) unless it is zero.
 *  - Objects are not locked: one object is used by one thread at a time, different
 *    objects by different threads freely. Calls that may be made from any thread
 *    at any time say so.
 *  - The library never prints, never exits, and installs no signal handler.
 *    Descriptors it opens are close-on-exec.
 */
#ifndef MEMFERRY_H
#define MEMFERRY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEMFERRY_VERSION_MAJOR 0
#define MEMFERRY_VERSION_MINOR 1
#define MEMFERRY_VERSION_PATCH 0

#define MF_API __attribute__((visibility("default")))
#define MF_MUST_CHECK __attribute__((warn_unused_result))

/* "0.1.0"; the version of the library that is running. Any thread. */
MF_API const char *mf_version(void);

/*
 * What went wrong in the last failing memferry call of this thread, and what to do
 * about it; "" if none failed. Valid until the thread's next memferry call.
 */
MF_API const char *mf_error(void);

enum mf_log_level {
	MF_LOG_ERROR = 0,
	MF_LOG_WARN = 1,
	MF_LOG_INFO = 2,
	MF_LOG_DEBUG = 3,
};

typedef void (*mf_log_fn)(void *arg, int level, const char *text);

/*
 * Send the library's log lines (no newline at the end) to @fn; NULL turns the log
 * off, which is the default. Process-wide: set it before other calls are made.
 */
MF_API void mf_log_set(mf_log_fn fn, void *arg);

/* ------------------------------------------------------------------ probe */

enum mf_probe_state {
	MF_UNKNOWN = 0,	  /* the attempt itself could not be made */
	MF_SUPPORTED = 1, /* done, and it did what it should */
	MF_MISSING = 2,	  /* this kernel has no such thing */
	MF_DENIED = 3,	  /* it is there, but not for this user; see remedy */
};

struct mf_probe_item {
	size_t size;
	const char *name;  /* "ioctl.move", "sem.move_thp": stable, dotted */
	const char *group; /* "access", "feature", "ioctl", "semantics" */
	const char *about; /* what it is and what memferry uses it for */
	enum mf_probe_state state;
	const char *why;    /* what was tried and what came back */
	const char *remedy; /* what to do, "" if there is nothing to do */
};

struct mf_probe;

/*
 * Try everything memferry relies on, each on a throw-away userfaultfd. Takes a few
 * milliseconds, starts and reaps a few short-lived tasks of its own, changes nothing.
 * Strings belong to the probe and live until mf_probe_free().
 *
 * -ENOMEM, -EMFILE, -EAGAIN (no process): the probe itself could not run; free something
 * and try again.
 */
MF_API int mf_probe_run(struct mf_probe **ret_probe) MF_MUST_CHECK;
MF_API size_t mf_probe_count(const struct mf_probe *probe);
/* -ERANGE: no such index. */
MF_API int mf_probe_item_at(const struct mf_probe *probe, size_t index,
			    struct mf_probe_item *ret_item);
/* The item called @name. -ENOENT: no such item. */
MF_API int mf_probe_item_named(const struct mf_probe *probe, const char *name,
			       struct mf_probe_item *ret_item);
/* "supported", "missing", "denied", "unknown" */
MF_API const char *mf_probe_state_name(enum mf_probe_state state);
MF_API void mf_probe_free(struct mf_probe *probe);

/* ------------------------------------------------------------------- uffd */

/*
 * The userfaultfd calls one to one, on plain descriptors, for programs that serve
 * faults themselves. All but mf_uffd_open() are single system calls that allocate
 * nothing and use no thread-local state: they may be called from a task started by
 * mf_task_start() and from signal handlers. They do not set mf_error().
 */

#define MF_UFFD_USER_MODE_ONLY (1u << 0) /* faults from kernel mode are not handled */
#define MF_UFFD_BLOCKING (1u << 1)	 /* no O_NONBLOCK */

/* bits of UFFDIO_API features and UFFDIO_REGISTER modes are the kernel's own */
#define MF_UFFD_REGISTER_MISSING ((uint64_t)1 << 0)
#define MF_UFFD_REGISTER_WP ((uint64_t)1 << 1)

#define MF_UFFD_DONTWAKE (1u << 0)
#define MF_UFFD_WP (1u << 1)		  /* copy: arrives write-protected */
#define MF_UFFD_ALLOW_SRC_HOLES (1u << 2) /* move */

/*
 * A new userfaultfd of this process with @features enabled (0: none); tries the
 * system call, then /dev/userfaultfd.
 * -EPERM: not allowed, mf_error() names the remedy; -EINVAL: a feature is missing
 * on this kernel; -ENOSYS: no userfaultfd; -EMFILE/-ENFILE: descriptors used up.
 */
MF_API int mf_uffd_open(uint64_t features, unsigned int flags, int *ret_fd) MF_MUST_CHECK;
/* @ret_ioctls (may be NULL): which ioctls the range offers. */
MF_API int mf_uffd_register(int uffd, void *addr, size_t len, uint64_t mode,
			    uint64_t *ret_ioctls);
MF_API int mf_uffd_unregister(int uffd, void *addr, size_t len);
/*
 * Fill [dst, dst+len) of the userfaultfd's space. *ret_done is the number of bytes
 * done, also on failure. -EEXIST: the next page is already there; -EAGAIN: the
 * mappings are changing, or part was done: read events, then go on at *ret_done;
 * -ENOENT: not registered (any more), or a hole in the source of a move; -EBUSY:
 * page pinned or shared (move); -ESRCH: the space is gone.
 */
MF_API int mf_uffd_copy(int uffd, void *dst, const void *src, size_t len, unsigned int flags,
			size_t *ret_done);
MF_API int mf_uffd_zeropage(int uffd, void *dst, size_t len, unsigned int flags,
			    size_t *ret_done);
MF_API int mf_uffd_move(int uffd, void *dst, void *src, size_t len, unsigned int flags,
			size_t *ret_done);
MF_API int mf_uffd_poison(int uffd, void *dst, size_t len, unsigned int flags,
			  size_t *ret_done);
MF_API int mf_uffd_writeprotect(int uffd, void *addr, size_t len, int protect);
MF_API int mf_uffd_wake(int uffd, void *addr, size_t len);

enum mf_event_kind {
	MF_EVENT_FAULT = 1,
	MF_EVENT_FORK = 2,   /* fd: the child's userfaultfd, now yours */
	MF_EVENT_REMAP = 3,  /* addr -> to, len */
	MF_EVENT_REMOVE = 4, /* [addr, addr+len) was discarded */
	MF_EVENT_UNMAP = 5,
};

#define MF_FAULT_WRITE (1u << 0)
#define MF_FAULT_WP (1u << 1)

struct mf_event {
	uint32_t kind;
	uint32_t flags; /* MF_FAULT_* */
	uint64_t addr;
	uint64_t len;
	uint64_t to;
	uint32_t tid; /* faulting thread, with UFFD_FEATURE_THREAD_ID */
	int32_t fd;
};

/*
 * Read up to @max events (at most 16 a call). Returns how many (≥ 1);
 * -EAGAIN: none waiting (non-blocking descriptor).
 */
MF_API int mf_uffd_read(int uffd, struct mf_event *ret_events, size_t max) MF_MUST_CHECK;

/* ------------------------------------------------------------------- task */

/*
 * A ferry task: shares this process's memory, has a pid and descriptors of its own,
 * and outlives the process's main thread, even by SIGKILL. @fn runs on a stack of
 * its own with every signal blocked and *no libc state*: it may use its own memory,
 * raw system calls and the mf_uffd_* calls above, nothing else (no malloc, stdio,
 * pthreads, errno). Its return value is the exit status.
 */
struct mf_task;

struct mf_task_opts {
	size_t size;
	const char *name;    /* comm, at most 15 bytes; default "mf-task" */
	size_t stack_bytes;  /* default 64 KiB */
	const int *keep_fds; /* the descriptors that it keeps; all others are closed */
	size_t n_keep_fds;   /* numbers stay the same as in the caller */
};

/* -EAGAIN, -ENOMEM: no task to be had (pids limit, memory). */
MF_API int mf_task_start(int (*fn)(void *arg), void *arg, const struct mf_task_opts *opts,
			 struct mf_task **ret_task) MF_MUST_CHECK;
MF_API pid_t mf_task_pid(const struct mf_task *task);
/* A pidfd of the task; belongs to the object. */
MF_API int mf_task_pidfd(const struct mf_task *task);
/* Wait for its end. *ret_status as waitpid(2) gives it. -ETIMEDOUT. */
MF_API int mf_task_wait(struct mf_task *task, int timeout_ms, int *ret_status);
MF_API int mf_task_kill(struct mf_task *task);
/* Also kills and reaps it if it still runs. NULL is fine. */
MF_API void mf_task_free(struct mf_task *task);

/* ------------------------------------------------------------- statistics */

struct mf_latency {
	uint64_t count;
	uint64_t p50_ns;
	uint64_t p99_ns;
	uint64_t p999_ns;
	uint64_t max_ns;
};

/* What a hand-over did so far. The caller sets .size; may be read at any time. */
struct mf_stats {
	size_t size;
	uint64_t bytes_total;	 /* of all moved regions, holes included */
	uint64_t bytes_done;	 /* arrived, or known to be holes */
	uint64_t pages_move;	 /* 4 KiB units by route: UFFDIO_MOVE within one space */
	uint64_t pages_give;	 /* UFFDIO_MOVE across spaces */
	uint64_t pages_copy;	 /* UFFDIO_COPY */
	uint64_t pages_fd;	 /* passed in place by their file descriptor */
	uint64_t pages_zero;	 /* holes, or discarded by the successor under way */
	uint64_t pages_poisoned; /* contents lost: access is SIGBUS */
	uint64_t pages_released; /* given back by the source */
	uint64_t pages_huge;	 /* put together again to huge pages after they arrived */
	uint64_t faults;	 /* fault messages served */
	uint64_t blackout_ns;	 /* quiesce asked for .. commit done */
	uint64_t drain_ns;	 /* commit .. last page arrived; 0 while draining */
	uint64_t total_ns;	 /* attach .. last page arrived; 0 while draining */
	struct mf_latency serve; /* fault message read .. page placed, in the ferry */
	struct mf_latency fault; /* seen by the faulting thread: sampled, see options */
	uint32_t placement;	 /* MF_PLACE_*: where faults are served */
	uint32_t place_same_ns;	 /* what the three placements cost here when measured */
	uint32_t place_spin_ns;
	uint32_t place_sleep_ns;
};

#define MF_PLACE_AUTO 0u  /* measure at attach, take the fastest */
#define MF_PLACE_SAME 1u  /* on the faulting thread's CPU */
#define MF_PLACE_SPIN 2u  /* on another CPU, spinning while faults are frequent */
#define MF_PLACE_SLEEP 3u /* on any CPU, asleep between faults */

/* ----------------------------------------------------------------- source */

/*
 * The process that has the memory. It declares regions and descriptors once, then
 * waits for a successor inside its own event loop:
 *
 *	mf_source_new(&opts, &src);
 *	mf_source_region(src, "arena", arena, arena_len, 0);
 *	mf_source_fd(src, "listener", listen_fd);
 *	mf_source_listen(src, "unix:/run/app.memferry");
 *	... poll mf_source_pollfd(src); when readable:
 *	if (mf_source_dispatch(src) == MF_HANDED_OVER)
 *		_exit(0);
 */
struct mf_source;
struct mf_state; /* what save() fills */

#define MF_TOKEN_BYTES 16

struct mf_source_opts {
	size_t size;
	const char *app;      /* name of the application; the successor must say the same */
	uint32_t app_version; /* schema of the saved state; told to the successor */
	uint32_t timeout_ms;  /* bound for every wait on the other side; default 5000 */
	/*
	 * Called from mf_source_dispatch(), in this order. Return 0 or -errno; a
	 * failure cancels the hand-over and calls resume(). Any may be NULL.
	 */
	int (*quiesce)(void *arg); /* stop every thread that writes to a region */
	int (*save)(void *arg, struct mf_state *state);
	int (*resume)(void *arg);    /* the hand-over did not happen: go on serving */
	void (*released)(void *arg); /* committed: the memory is no longer ours */
	void *arg;
	uint32_t flags;	    /* MF_SOURCE_* */
	uint32_t placement; /* MF_PLACE_* */
};

#define MF_SOURCE_TOKEN (1u << 0) /* the successor must show mf_source_token() */
/* The ferry's fault thread does without the lowest real-time priority, which else it takes
 * where it may (CAP_SYS_NICE or RLIMIT_RTPRIO). */
#define MF_SOURCE_ORDINARY_PRIORITY (1u << 1)

/* -EINVAL, -E2BIG: options; -ENOMEM. */
MF_API int mf_source_new(const struct mf_source_opts *opts,
			 struct mf_source **ret_source) MF_MUST_CHECK;

#define MF_REGION_RELOCATABLE (1u << 0) /* the application can live with another address */

/*
 * Declare [addr, addr+len): one or more adjacent private anonymous mappings (4 KiB,
 * THP, mlocked, or hugetlb: found out by looking). It stays the caller's until the
 * commit. @name is copied, at most 63 bytes, unique.
 * -EINVAL: not aligned, not mapped, not private anonymous, overlapping; -EEXIST: name.
 */
MF_API int mf_source_region(struct mf_source *source, const char *name, void *addr, size_t len,
			    unsigned int flags);
/* A region on a memfd or shmem file, mapped MAP_SHARED: passed in place. @fd is dup'ed. */
MF_API int mf_source_region_fd(struct mf_source *source, const char *name, void *addr,
			       size_t len, int fd, uint64_t offset, unsigned int flags);
/* Forget a region (the application unmapped it). -ENOENT; -EBUSY in mid hand-over. */
MF_API int mf_source_region_del(struct mf_source *source, const char *name);
/* A descriptor that goes along. @fd is dup'ed. -EEXIST: name. */
MF_API int mf_source_fd(struct mf_source *source, const char *name, int fd);

/*
 * Wait for successors at @address: "unix:PATH" (mode 0600; a stale socket file is
 * replaced, a live one is -EADDRINUSE) or "tcp:HOST:PORT" (copies over the network,
 * passes no descriptors, trusts the network: see memferry_source(3)).
 */
MF_API int mf_source_listen(struct mf_source *source, const char *address);
/* The port that "tcp:HOST:0" got, or the one that was asked for. -EINVAL: not listening. */
MF_API int mf_source_port(const struct mf_source *source);
/* With MF_SOURCE_TOKEN: the secret for the next successor; new after every attach. */
MF_API int mf_source_token(const struct mf_source *source, uint8_t ret_token[MF_TOKEN_BYTES]);
/* Readable when mf_source_dispatch() has something to do. Belongs to the object. */
MF_API int mf_source_pollfd(const struct mf_source *source);

#define MF_IDLE 0	 /* nothing, or not finished: go on serving */
#define MF_HANDED_OVER 1 /* the successor owns regions and descriptors: exit */
#define MF_RESUMED 2	 /* an attempt failed, mf_error() says why: go on serving */

/*
 * Do what is due; does not block but for the blackout itself (from quiesce() to the
 * successor's commit, at most timeout_ms). Returns MF_IDLE, MF_HANDED_OVER,
 * MF_RESUMED, or -errno if the source itself is broken.
 * After MF_HANDED_OVER the regions must not be touched: the ferry task empties them.
 */
MF_API int mf_source_dispatch(struct mf_source *source) MF_MUST_CHECK;
/* Loop over dispatch until MF_HANDED_OVER or an error; for programs without a loop. */
MF_API int mf_source_serve(struct mf_source *source) MF_MUST_CHECK;
/*
 * After MF_HANDED_OVER: wait until the last page has left (not needed: the ferry
 * task does not depend on this process). 0: drained; -ETIMEDOUT; -EOWNERDEAD: the
 * successor or the ferry task died first.
 */
MF_API int mf_source_wait(struct mf_source *source, int timeout_ms);
MF_API int mf_source_stats(const struct mf_source *source, struct mf_stats *ret_stats);
/* The ferry task's pid while one runs, else 0. */
MF_API pid_t mf_source_ferry_pid(const struct mf_source *source);
/* Stops listening. A ferry task that already serves goes on. NULL is fine. */
MF_API void mf_source_free(struct mf_source *source);

/* Inside save(): append bytes, or a named descriptor (dup'ed). -ENOMEM, -EINVAL. */
MF_API int mf_state_put(struct mf_state *state, const void *data, size_t len);
MF_API int mf_state_fd(struct mf_state *state, const char *name, int fd);

/* -------------------------------------------------------------- successor */

/*
 * The process that takes over:
 *
 *	mf_successor_attach("unix:/run/app.memferry", &opts, &suc);
 *	mf_successor_map(suc, "arena", 0, &addr, &len);
 *	mf_successor_state(suc, &blob, &blob_len);     source is quiesced from here
 *	... load and check the state; region memory may be read and written
 *	listen_fd = mf_successor_fd(suc, "listener");
 *	mf_successor_commit(suc);                      from here the memory is ours
 *	... serve; the rest arrives behind our back
 *
 * Before the commit everything can be undone by mf_successor_free(): the source
 * then resumes untouched.
 */
struct mf_successor;

/*
 * For users who may not serve faults from kernel mode (no CAP_SYS_PTRACE, no access to
 * /dev/userfaultfd): until all has arrived, system calls on absent region memory fail
 * with EFAULT, so the application must touch what it passes to the kernel first.
 */
#define MF_SUCCESSOR_USER_MODE_ONLY (1u << 0)
/*
 * A promise: until all has arrived the application does not discard region memory
 * (MADV_DONTNEED, MADV_FREE) and does not mremap() it. Then no such event has to be waited
 * for between fault and drain: faults are served faster, and the drain is faster while
 * they come. If the promise is broken the process is ended (SIGKILL), and notice_fd tells.
 */
#define MF_SUCCESSOR_FIXED_MAPPINGS (1u << 2)
/* As MF_SOURCE_ORDINARY_PRIORITY, for the fault thread that works here when it is over TCP. */
#define MF_SUCCESSOR_ORDINARY_PRIORITY (1u << 1)

struct mf_successor_opts {
	size_t size;
	const char *app;      /* must equal the source's */
	uint32_t timeout_ms;  /* bound for every wait on the other side; default 5000 */
	uint32_t flags;	      /* MF_SUCCESSOR_* */
	const uint8_t *token; /* MF_TOKEN_BYTES, or NULL */
	uint32_t placement;   /* MF_PLACE_* */
	uint32_t sample_hz;   /* touch this many absent pages a second from a thread of
				* the library and time them: fills mf_stats.fault */
	/*
	 * If memory is lost (the source's side died before all had arrived) a line
	 * that says so is written here before the first SIGBUS. -1 or 0: nowhere.
	 */
	int notice_fd;
};

/*
 * Connect and learn what there is. -ECONNREFUSED/-ENOENT: nobody listens; -EACCES:
 * other user or bad token; -EPROTO: not a memferry source; -EPROTONOSUPPORT: no common
 * version; -EBUSY: it is in another hand-over or still draining; -ETIMEDOUT;
 * -EPERM: no userfaultfd (mf_error() has the remedy); -ENODATA: wrong app.
 */
MF_API int mf_successor_attach(const char *address, const struct mf_successor_opts *opts,
			       struct mf_successor **ret_successor) MF_MUST_CHECK;
/* The app_version that the source told. */
MF_API uint32_t mf_successor_app_version(const struct mf_successor *successor);

#define MF_MAP_RELOCATE (1u << 0) /* any address will do */

/*
 * Map region @name, at the source's address, or with MF_MAP_RELOCATE and a relocatable
 * region anywhere. It must not be touched (SIGSEGV) before mf_successor_state().
 * -ENOENT: no such region; -EEXIST: the address is taken here; -ENOMEM: a limit
 * (mf_error() names it); -EALREADY: mapped before.
 */
MF_API int mf_successor_map(struct mf_successor *successor, const char *name,
			    unsigned int flags, void **ret_addr, size_t *ret_len);
/* The @index-th region's name, NULL past the last. */
MF_API const char *mf_successor_region_name(const struct mf_successor *successor, size_t index);
/*
 * Quiesce the source and receive its state, which belongs to the object. Regions not
 * yet mapped are mapped first, at their own addresses. From here until
 * mf_successor_commit() neither side serves: the blackout.
 * -ECANCELED: the source could not quiesce; -EOWNERDEAD: it died; -ETIMEDOUT.
 */
MF_API int mf_successor_state(struct mf_successor *successor, const void **ret_data,
			      size_t *ret_len);
/* A descriptor by name: yours from now on. -ENOENT: none, or fetched before. */
MF_API int mf_successor_fd(struct mf_successor *successor, const char *name);
/*
 * Take the memory: one compare-and-swap. 0: it is ours, run. -ECANCELED: the source
 * had given up and runs on: free this object and exit. -EOWNERDEAD: the memory's
 * side is gone.
 */
MF_API int mf_successor_commit(struct mf_successor *successor);
/* Bring this range soon. Any thread, any time. -ENOBUFS: too many hints, drop it. */
MF_API int mf_successor_hint(struct mf_successor *successor, const void *addr, size_t len);
/*
 * Wait until everything has arrived: 0; -ETIMEDOUT (0 ms: just ask); -EOWNERDEAD: the
 * ferry task died or stopped, what had not arrived is poisoned (mf_stats.pages_poisoned);
 * -EIO: complete but for pages that were unreadable in the source, which are poisoned.
 */
MF_API int mf_successor_wait(struct mf_successor *successor, int timeout_ms);
/*
 * Readable once mf_successor_wait() would not block, or when it ought to be called with 0 ms
 * because the guard task was killed and is to be replaced. Belongs to the object.
 */
MF_API int mf_successor_pollfd(const struct mf_successor *successor);
MF_API int mf_successor_stats(const struct mf_successor *successor, struct mf_stats *ret_stats);
/*
 * Before the commit: undo (regions unmapped, source told). After it: waits until the
 * memory is complete, at most as long as the drain goes on, then frees; the regions stay
 * mapped. NULL is fine.
 */
MF_API void mf_successor_free(struct mf_successor *successor);

#ifdef __cplusplus
}
#endif

#endif /* MEMFERRY_H */
