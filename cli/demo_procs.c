/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "demo_procs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

#define ASK_MS 3000    /* for servers to leave after SIGTERM */
#define ORPHAN_MS 5000 /* for ferry tasks to leave by themselves */

static struct proc {
	pid_t pid;
	bool ended;
	int status;
} procs[PROCS_MAX];
static size_t n_procs;

int procs_init(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1) ? -errno : 0;
}

static void redirect(int fd, const char *path)
{
	int to = open(path ? path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (to >= 0 && to != fd) {
		dup2(to, fd);
		close(to);
	}
}

static void become(char *const argv[], const char *out, const char *err, pid_t parent)
{
	sigset_t none;

	/* if this program is killed outright, what it started goes too */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	/* a Ctrl-C at the terminal is for the demo, which then ends its servers itself */
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	redirect(STDIN_FILENO, NULL);
	redirect(STDOUT_FILENO, out);
	redirect(STDERR_FILENO, err);
	execvp(argv[0], argv);
	fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

pid_t procs_start(char *const argv[], const char *out, const char *err)
{
	pid_t parent = getpid(), pid;

	if (n_procs == PROCS_MAX)
		return -EAGAIN;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become(argv, out, err, parent);
	procs[n_procs++] = (struct proc){ .pid = pid };
	return pid;
}

/* Collect whoever has ended; orphans that came to us are only buried. */
static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		for (size_t i = 0; i < n_procs; i++) {
			if (procs[i].pid != pid || procs[i].ended)
				continue;
			procs[i].ended = true;
			procs[i].status = status;
		}
	}
}

bool procs_ended(pid_t pid, int *ret_status)
{
	reap();
	for (size_t i = 0; i < n_procs; i++) {
		if (procs[i].pid != pid || !procs[i].ended)
			continue;
		*ret_status = procs[i].status;
		return true;
	}
	return false;
}

int procs_wait(pid_t pid, unsigned int timeout_ms, int *ret_status)
{
	for (unsigned int ms = 0; !procs_ended(pid, ret_status); ms += 10) {
		if (demo_signal)
			return -EINTR;
		if (ms >= timeout_ms)
			return -ETIMEDOUT;
		demo_sleep_ms(10);
	}
	return 0;
}

static unsigned int signal_running(int sig)
{
	unsigned int n = 0;

	reap();
	for (size_t i = 0; i < n_procs; i++) {
		if (procs[i].ended)
			continue;
		kill(procs[i].pid, sig);
		n++;
	}
	return n;
}

static void bounded_nap(void)
{
	usleep(10000);
}

/* Ferry tasks end when their work is done; one that does not is ended. */
static void end_orphans(void)
{
	pid_t left[PROCS_MAX];
	size_t n = 0;

	for (unsigned int ms = 0; ms < ORPHAN_MS; ms += 10) {
		reap();
		n = procs_children(getpid(), left, PROCS_MAX);
		if (!n)
			return;
		bounded_nap();
	}
	for (size_t i = 0; i < n; i++) {
		demo_note("process %d did not end by itself, killing it", (int)left[i]);
		kill(left[i], SIGKILL);
		waitpid(left[i], NULL, __WALL);
	}
}

void procs_end_all(void)
{
	if (signal_running(SIGTERM)) {
		for (unsigned int ms = 0; ms < ASK_MS && signal_running(0); ms += 10)
			bounded_nap();
		for (unsigned int ms = 0; ms < ASK_MS && signal_running(SIGKILL); ms += 10)
			bounded_nap();
	}
	end_orphans();
}

size_t procs_children(pid_t pid, pid_t *ret_pids, size_t max)
{
	char path[64];
	size_t n = 0;
	FILE *f;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	while (f && n < max && fscanf(f, "%d", &child) == 1)
		ret_pids[n++] = child;
	if (f)
		fclose(f);
	return n;
}

static bool runnable(const char *path)
{
	return access(path, X_OK) == 0;
}

int procs_find_server(const char *wish, char *ret_path, size_t size)
{
	static const char *const beside[] = { "/examples/ferrykv", "/ferrykv",
					      "/../libexec/memferry/ferrykv" };
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (wish) {
		snprintf(ret_path, size, "%s", wish);
		return runnable(wish) ? 0 : -errno;
	}
	if (n > 0) {
		self[n] = '\0';
		*strrchr(self, '/') = '\0';
		for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
			snprintf(ret_path, size, "%s%s", self, beside[i]);
			if (runnable(ret_path))
				return 0;
		}
	}
	for (const char *p = getenv("PATH"); p && *p; p += strspn(p, ":")) {
		size_t len = strcspn(p, ":");

		snprintf(ret_path, size, "%.*s/ferrykv", (int)len, p);
		if (runnable(ret_path))
			return 0;
		p += len;
	}
	return -ENOENT;
}
