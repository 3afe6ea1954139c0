/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * contain [-t SECONDS] [-g MILLISECONDS] [-o DIR] [-l] -- CMD [ARGS]
 *
 * Run one test so that nothing it starts can hang or outlive it. A fault that nobody serves
 * blocks its thread for ever, and ferry tasks outlive their process by design, so a plain
 * time-out that kills one process is not enough.
 *
 * contain is the subreaper of everything below CMD: a process that loses its parent becomes
 * our child instead of init's, and the tree below us is the whole truth. At the time limit
 * (-t, default 60, times MF_TIME_SCALE of the environment) or on SIGTERM it writes down
 * where each thread of the tree is, kills exactly these processes, and exits 124. When CMD
 * has ended, descendants that are still there after a grace period (-g, default 3000) are a
 * leak: they are shown and killed, and the exit status is 125 if it would have been 0 or
 * 77; with -l leftovers are killed and not held against the test. Else CMD's own status is
 * passed on, 128 + N for a signal N. -o DIR: reports go to a file in DIR as well.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROCS 4096
#define EXIT_TIMEOUT 124
#define EXIT_LEAK 125
#define GDB_SECONDS 10 /* for all processes together: reading absent memory can hang gdb */

struct proc {
	pid_t pid, ppid;
	char state;
	bool ours;
};

struct tree {
	struct proc proc[MAX_PROCS];
	size_t n;
};

static struct tree tree;
static FILE *report; /* the copy in DIR, or NULL */
static sigset_t waited_for, mask_before;

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	va_list ap, copy;

	va_start(ap, fmt);
	va_copy(copy, ap);
	vfprintf(stderr, fmt, ap);
	if (report)
		vfprintf(report, fmt, copy);
	va_end(copy);
	va_end(ap);
}

/* Up to @size - 1 bytes of a /proc file; the length, 0 if it cannot be read. */
static size_t slurp(char *buf, size_t size, const char *fmt, ...)
{
	char path[128];
	ssize_t n;
	va_list ap;
	int fd;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	buf[0] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		n = 0;
	while (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return n;
}

/* ---- who is below us */

static void list_processes(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *de;
	char buf[512];

	tree.n = 0;
	while (dir && (de = readdir(dir)) && tree.n < MAX_PROCS) {
		struct proc *p = &tree.proc[tree.n];
		char *end;

		*p = (struct proc){ .pid = atoi(de->d_name) };
		if (p->pid <= 0 || !slurp(buf, sizeof(buf), "/proc/%d/stat", p->pid))
			continue;
		end = strrchr(buf, ')'); /* the name before it may contain anything */
		if (end && sscanf(end + 1, " %c %d", &p->state, &p->ppid) == 2)
			tree.n++;
	}
	if (dir)
		closedir(dir);
}

/* Mark what descends from us; how many live (zombies wait for their parents only). */
static size_t find_descendants(void)
{
	pid_t self = getpid();
	size_t found = 0;
	bool again = true;

	list_processes();
	while (again) {
		again = false;
		for (size_t i = 0; i < tree.n; i++) {
			struct proc *p = &tree.proc[i];
			bool below = p->ppid == self;

			for (size_t j = 0; j < tree.n && !below && !p->ours; j++)
				below = tree.proc[j].ours && tree.proc[j].pid == p->ppid;
			if (p->ours || !below)
				continue;
			p->ours = again = true;
			found += p->state != 'Z' && p->state != 'X';
		}
	}
	return found;
}

/* ---- where they are */

static void show_thread(pid_t pid, pid_t tid)
{
	char comm[64], stat[512], wchan[128], nr[256], stack[4096];
	const char *state;

	slurp(comm, sizeof(comm), "/proc/%d/task/%d/comm", pid, tid);
	slurp(stat, sizeof(stat), "/proc/%d/task/%d/stat", pid, tid);
	slurp(wchan, sizeof(wchan), "/proc/%d/task/%d/wchan", pid, tid);
	slurp(nr, sizeof(nr), "/proc/%d/task/%d/syscall", pid, tid);
	state = strrchr(stat, ')');
	say("  thread %d (%s) state %.1s wchan %s\n    syscall %s\n", tid, comm,
	    state && state[1] ? state + 2 : "?", wchan, nr);
	slurp(stack, sizeof(stack), "/proc/%d/task/%d/stack", pid, tid);
	for (char *save, *line = strtok_r(stack, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		say("    %s\n", line);
}

static void show_process(const struct proc *p)
{
	char path[64], cmd[512], comm[64];
	size_t n = slurp(cmd, sizeof(cmd), "/proc/%d/cmdline", p->pid);
	struct dirent *de;
	DIR *dir;

	for (size_t i = 0; i + 1 < n; i++)
		if (cmd[i] == '\0')
			cmd[i] = ' ';
	slurp(comm, sizeof(comm), "/proc/%d/comm", p->pid);
	say("process %d (%s) parent %d state %c: %s\n", p->pid, comm, p->ppid, p->state, cmd);
	snprintf(path, sizeof(path), "/proc/%d/task", p->pid);
	dir = opendir(path);
	while (dir && (de = readdir(dir)))
		if (atoi(de->d_name) > 0)
			show_thread(p->pid, atoi(de->d_name));
	if (dir)
		closedir(dir);
}

static int wait_until(pid_t pid, int64_t deadline)
{
	int status = 0;

	while (waitpid(pid, &status, WNOHANG | __WALL) == 0) {
		if (now_ms() > deadline)
			return -ETIMEDOUT;
		usleep(20000);
	}
	return status;
}

/* User-space stacks, if gdb is here. Its output goes where ours goes. */
static void show_backtrace(pid_t pid, int64_t deadline)
{
	char arg[16];
	pid_t gdb;

	if (access("/usr/bin/gdb", X_OK) || now_ms() > deadline)
		return;
	snprintf(arg, sizeof(arg), "%d", pid);
	fflush(NULL);
	gdb = fork();
	if (gdb == 0) {
		sigprocmask(SIG_SETMASK, &mask_before, NULL);
		dup2(report ? fileno(report) : STDERR_FILENO, STDOUT_FILENO);
		dup2(STDOUT_FILENO, STDERR_FILENO);
		setenv("DEBUGINFOD_URLS", "", 1);
		execl("/usr/bin/gdb", "gdb", "-nx", "-q", "-batch", "-p", arg, "-ex",
		      "thread apply all backtrace 20", (char *)NULL);
		_exit(127);
	}
	if (gdb > 0 && wait_until(gdb, deadline) == -ETIMEDOUT) {
		say("  (gdb did not come back and was stopped)\n");
		kill(gdb, SIGKILL);
		waitpid(gdb, NULL, 0);
	}
}

static void show_tree(bool backtraces)
{
	int64_t deadline = now_ms() + GDB_SECONDS * 1000;

	for (size_t i = 0; i < tree.n; i++)
		if (tree.proc[i].ours)
			show_process(&tree.proc[i]);
	for (size_t i = 0; i < tree.n && backtraces; i++)
		if (tree.proc[i].ours && tree.proc[i].state != 'Z')
			show_backtrace(tree.proc[i].pid, deadline);
}

/* ---- their end */

static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
		;
}

/* Until none is left: what is being killed may have forked after we looked. */
static void kill_tree(void)
{
	int64_t deadline = now_ms() + 10000;

	while (find_descendants() > 0 && now_ms() < deadline) {
		for (size_t i = 0; i < tree.n; i++)
			if (tree.proc[i].ours)
				kill(tree.proc[i].pid, SIGKILL);
		usleep(5000);
		reap();
	}
	reap();
	if (find_descendants() > 0)
		say("contain: some processes survive SIGKILL for 10 seconds\n");
}

static bool wait_for_none(int64_t grace_ms)
{
	int64_t deadline = now_ms() + grace_ms;

	for (;;) {
		reap();
		if (find_descendants() == 0)
			return true;
		if (now_ms() >= deadline)
			return false;
		usleep(10000);
	}
}

/* Wait for @child, reaping what else comes by. 0, or the reason to give up. */
static const char *supervise(pid_t child, int64_t limit_ms, int *ret_status)
{
	int64_t deadline = now_ms() + limit_ms;

	for (;;) {
		pid_t pid = waitpid(-1, ret_status, WNOHANG | __WALL);
		int64_t left = deadline - now_ms();
		struct timespec ts = { left / 1000, left % 1000 * 1000000 };
		int sig;

		if (pid == child)
			return NULL;
		if (pid > 0)
			continue;
		if (left <= 0)
			return "time limit reached";
		sig = sigtimedwait(&waited_for, NULL, &ts);
		if (sig > 0 && sig != SIGCHLD)
			return "asked to stop";
	}
}

static pid_t start(char **argv)
{
	pid_t contain = getpid();
	pid_t child = fork();

	if (child)
		return child;
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != contain)
		_exit(127);
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	execvp(argv[0], argv);
	fprintf(stderr, "contain: cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int usage(void)
{
	fputs("usage: contain [-t SECONDS] [-g MILLISECONDS] [-o DIR] [-l] -- CMD [ARGS]\n",
	      stderr);
	return 2;
}

static void open_report(const char *dir, const char *cmd)
{
	const char *name = strrchr(cmd, '/');
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s.%d.txt", dir, name ? name + 1 : cmd, getpid());
	report = fopen(path, "we");
	if (!report)
		fprintf(stderr, "contain: cannot write %s: %s\n", path, strerror(errno));
}

static int verdict(int status, const char *cmd, bool leftovers_allowed, long grace_ms)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

	if (WIFSIGNALED(status))
		say("contain: %s ended by signal %d (%s)\n", cmd, WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	if (wait_for_none(leftovers_allowed ? 0 : grace_ms))
		return code;
	if (!leftovers_allowed) {
		say("contain: %s left processes behind:\n", cmd);
		show_tree(false);
		if (code == 0 || code == 77)
			code = EXIT_LEAK;
	}
	kill_tree();
	return code;
}

int main(int argc, char **argv)
{
	const char *scale = getenv("MF_TIME_SCALE"), *dir = NULL, *why;
	long seconds = 60, grace_ms = 3000;
	bool leftovers_allowed = false;
	int opt, status = 0;
	pid_t child;

	while ((opt = getopt(argc, argv, "+t:g:o:l")) != -1) {
		if (opt == 't')
			seconds = atol(optarg);
		else if (opt == 'g')
			grace_ms = atol(optarg);
		else if (opt == 'o')
			dir = optarg;
		else if (opt == 'l')
			leftovers_allowed = true;
		else
			return usage();
	}
	if (optind == argc || seconds <= 0 || grace_ms < 0)
		return usage();
	if (scale && atol(scale) > 0)
		seconds *= atol(scale);
	argv += optind;
	if (dir)
		open_report(dir, argv[0]);

	sigemptyset(&waited_for);
	for (size_t i = 0; i < 4; i++)
		sigaddset(&waited_for, (int[]){ SIGCHLD, SIGTERM, SIGINT, SIGHUP }[i]);
	sigprocmask(SIG_BLOCK, &waited_for, &mask_before);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		return perror("contain: PR_SET_CHILD_SUBREAPER"), 126;
	child = start(argv);
	if (child < 0)
		return perror("contain: fork"), 126;

	why = supervise(child, seconds * 1000, &status);
	if (!why)
		return verdict(status, argv[0], leftovers_allowed, grace_ms);
	say("contain: %s: %s (%ld s); this is where everything was:\n", argv[0], why, seconds);
	find_descendants();
	show_tree(true);
	kill_tree();
	return EXIT_TIMEOUT;
}
