/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memferry demo: a key-value server with real data, under load, is succeeded several times
 * in a row, and every value is checked. Works only through what ferrykv(1) offers everybody.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../bench/bench.h"
#include "cli.h"
#include "demo.h"
#include "demo_data.h"
#include "demo_kv.h"
#include "demo_load.h"
#include "demo_procs.h"
#include "demo_ram.h"
#include "demo_report.h"

#define START_MS 10000
#define LEAVE_MS 20000
#define SIZE_MIN ((uint64_t)16 << 20)
#define SIZE_LIMIT ((uint64_t)1 << 40)
#define SAMPLE_HZ "1000"

volatile sig_atomic_t demo_signal;

struct demo {
	struct demo_opts opts;
	char dir[256], socket[300], address[300], arena[32], server[4096];
	int port;
	pid_t server_pid, benchmark_pid;
	struct kv kv; /* asks for INFO; stays connected through all hand-overs */
	struct demo_result result;
};

/* ------------------------------------------------------------- speaking */

static bool line_open;

static void say(bool keep_open, const char *fmt, va_list ap)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	if (line_open)
		fputs("\r\033[K", stderr);
	fputs("demo: ", stderr);
	vfprintf(stderr, fmt, ap);
	if (!keep_open)
		fputc('\n', stderr);
	line_open = keep_open;
	fflush(stderr);
	pthread_mutex_unlock(&lock);
}

void demo_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(false, fmt, ap);
	va_end(ap);
}

void demo_progress(const char *fmt, ...)
{
	static uint64_t last;
	uint64_t now = now_ns();
	va_list ap;

	if (!isatty(STDERR_FILENO) || now - last < 100000000)
		return;
	last = now;
	va_start(ap, fmt);
	say(true, fmt, ap);
	va_end(ap);
}

void demo_sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (!demo_signal && nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static void on_signal(int sig)
{
	demo_signal = sig;
}

/* -------------------------------------------------------------- options */

static void usage(FILE *out)
{
	fputs("usage: memferry demo [OPTION...]\n\n"
	      "Starts a key-value server, fills it, loads it, lets successors take it over while\n"
	      "clients are at work, and checks every value.\n\n"
	      "  --size SIZE      how much data (default 1G)\n"
	      "  --thp            in huge pages\n"
	      "  --handovers N    how many in a row (default 3)\n"
	      "  --json           the result as JSON\n"
	      "  --plot FILE      draw the clients' latency over time into a PNG\n"
	      "  --server PATH    the ferrykv to use (default: beside this program, or in PATH)\n"
	      "  --keep           keep the directory with the servers' logs\n",
	      out);
}

static int parse_size(const char *text, uint64_t *ret)
{
	unsigned int shift = 0;
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end == 'k' || *end == 'K')
		shift = 10;
	else if (*end == 'm' || *end == 'M')
		shift = 20;
	else if (*end == 'g' || *end == 'G')
		shift = 30;
	if (shift)
		end++;
	if (errno || *end || text[0] == '-' || n > SIZE_LIMIT >> shift ||
	    n << shift < SIZE_MIN) {
		fprintf(stderr,
			"memferry demo: --size takes 16M or more, as in 512M or 4G, "
			"not '%s'\n",
			text);
		return -EINVAL;
	}
	*ret = n << shift;
	return 0;
}

static int parse_handovers(const char *text, unsigned int *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || n < 1 || n > DEMO_HANDOVERS_MAX) {
		fprintf(stderr, "memferry demo: --handovers takes 1 to %d, not '%s'\n",
			DEMO_HANDOVERS_MAX, text);
		return -EINVAL;
	}
	*ret = (unsigned int)n;
	return 0;
}

/* 0, 1: done already (help), -EINVAL */
static int parse_options(int argc, char **argv, struct demo_opts *o)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "thp", no_argument, NULL, 't' },
		{ "handovers", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "plot", required_argument, NULL, 'p' },
		{ "server", required_argument, NULL, 'e' },
		{ "keep", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{},
	};
	int c, r = 0;

	*o = (struct demo_opts){ .size = (uint64_t)1 << 30, .handovers = 3 };
	while (r == 0 && (c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 's')
			r = parse_size(optarg, &o->size);
		else if (c == 'n')
			r = parse_handovers(optarg, &o->handovers);
		else if (c == 't')
			o->thp = true;
		else if (c == 'j')
			o->json = true;
		else if (c == 'p')
			o->plot = optarg;
		else if (c == 'e')
			o->server = optarg;
		else if (c == 'k')
			o->keep = true;
		else if (c == 'h')
			return usage(stdout), 1;
		else
			r = -EINVAL;
	}
	if (r == 0 && optind < argc) {
		fprintf(stderr, "memferry demo: what is '%s'? See memferry demo --help\n",
			argv[optind]);
		r = -EINVAL;
	}
	return r;
}

/* -------------------------------------------------------------- servers */

static int make_place(struct demo *d)
{
	const char *tmp = getenv("TMPDIR");

	/* a socket's path is short by law */
	if (!tmp || !*tmp || strlen(tmp) > 60)
		tmp = "/tmp";
	snprintf(d->dir, sizeof(d->dir), "%s/memferry-demo-XXXXXX", tmp);
	if (!mkdtemp(d->dir)) {
		demo_note("cannot make a directory in %s: %s", tmp, strerror(errno));
		d->dir[0] = '\0';
		return -errno;
	}
	snprintf(d->socket, sizeof(d->socket), "%s/clients", d->dir);
	snprintf(d->address, sizeof(d->address), "unix:%s/handover", d->dir);
	return 0;
}

static void remove_place(struct demo *d)
{
	char cmd[600];

	if (!d->dir[0])
		return;
	if (d->opts.keep) {
		demo_note("the servers' logs are in %s", d->dir);
		return;
	}
	snprintf(cmd, sizeof(cmd), "rm -rf -- '%s'", d->dir);
	if (system(cmd))
		demo_note("cannot remove %s", d->dir);
}

static int free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = -1;
	socklen_t len = sizeof(sa);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && !bind(fd, (struct sockaddr *)&sa, sizeof(sa)) &&
	    !getsockname(fd, (struct sockaddr *)&sa, &len))
		port = ntohs(sa.sin_port);
	if (fd >= 0)
		close(fd);
	return port;
}

/* The last words of a server, for whoever wonders why it is gone. */
static void show_log(const struct demo *d, const char *name)
{
	char path[400], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", d->dir, name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		demo_note("  %.*s", (int)strcspn(line, "\n"), line);
	if (f)
		fclose(f);
}

static pid_t start_server(struct demo *d, unsigned int number, bool takeover)
{
	char log[400], port[16];
	char *argv[20];
	int n = 0;

	snprintf(log, sizeof(log), "%s/server.%u", d->dir, number);
	snprintf(port, sizeof(port), "%d", d->port);
	argv[n++] = d->server;
	if (takeover) {
		argv[n++] = "--takeover";
		argv[n++] = d->address;
		argv[n++] = "--sample-faults";
		argv[n++] = SAMPLE_HZ;
	} else {
		argv[n++] = "--port";
		argv[n++] = port;
		argv[n++] = "--unixsocket";
		argv[n++] = d->socket;
		argv[n++] = "--handover";
		argv[n++] = d->address;
		argv[n++] = "--arena";
		argv[n++] = d->arena;
		if (d->opts.thp)
			argv[n++] = "--thp";
	}
	argv[n] = NULL;
	return procs_start(argv, log, log);
}

static int first_server(struct demo *d)
{
	/* room for what is rewritten with other lengths, and for redis-benchmark's keys */
	uint64_t arena = d->opts.size + d->opts.size / 2 + 256 * MIB;
	int r, status;

	r = procs_find_server(d->opts.server, d->server, sizeof(d->server));
	if (r) {
		demo_note("there is no ferrykv to run%s%s; name one with --server",
			  d->opts.server ? " at " : "", d->opts.server ? d->opts.server : "");
		return r;
	}
	snprintf(d->arena, sizeof(d->arena), "%lluM", (unsigned long long)(arena / MIB));
	d->port = free_port();
	if (d->port < 0)
		return -EADDRNOTAVAIL;
	d->server_pid = start_server(d, 0, false);
	if (d->server_pid < 0)
		return d->server_pid;
	for (unsigned int ms = 0; ms < START_MS && !demo_signal; ms += 10) {
		if (kv_open(&d->kv, d->socket) == 0)
			return 0;
		if (procs_ended(d->server_pid, &status))
			break;
		demo_sleep_ms(10);
	}
	demo_note("the server did not start:");
	show_log(d, "server.0");
	return -ESRCH;
}

/* ------------------------------------------------------ redis-benchmark */

static void start_benchmark(struct demo *d)
{
	char port[16], out[400], err[400];
	char *argv[] = { "redis-benchmark",
			 "-h",
			 "127.0.0.1",
			 "-p",
			 port,
			 "-t",
			 "set,get",
			 "-c",
			 "4",
			 "-r",
			 "20000",
			 "-d",
			 "256",
			 "-n",
			 "100000",
			 "-l",
			 "-q",
			 NULL };
	int status;

	snprintf(port, sizeof(port), "%d", d->port);
	snprintf(out, sizeof(out), "%s/benchmark.out", d->dir);
	snprintf(err, sizeof(err), "%s/benchmark.err", d->dir);
	d->benchmark_pid = procs_start(argv, out, err);
	demo_sleep_ms(500);
	d->result.benchmark_ran = d->benchmark_pid > 0;
	if (d->benchmark_pid > 0 && procs_ended(d->benchmark_pid, &status) &&
	    WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		demo_note("redis-benchmark is not installed (Debian: redis-tools): left out");
		d->result.benchmark_ran = false;
	}
}

static bool file_mentions_error(const struct demo *d, const char *name)
{
	char path[400], text[65536];
	bool found = false;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", d->dir, name);
	f = fopen(path, "re");
	while (f && !found && (n = fread(text, 1, sizeof(text) - 1, f))) {
		text[n] = '\0';
		found = strstr(text, "rror") || strstr(text, "closed");
	}
	if (f)
		fclose(f);
	return found;
}

/* It runs for ever, so having ended is a failure too: it does so when a reply is wrong. */
static bool benchmark_is_well(struct demo *d)
{
	int status;

	if (!d->result.benchmark_ran || d->result.benchmark_failed)
		return !d->result.benchmark_failed;
	if (procs_ended(d->benchmark_pid, &status))
		d->result.benchmark_failed = "ended too soon";
	else if (file_mentions_error(d, "benchmark.err") ||
		 file_mentions_error(d, "benchmark.out"))
		d->result.benchmark_failed = "met an error";
	if (d->result.benchmark_failed) {
		demo_note("redis-benchmark %s:", d->result.benchmark_failed);
		show_log(d, "benchmark.err");
	}
	return !d->result.benchmark_failed;
}

static void stop_benchmark(struct demo *d)
{
	int status;

	if (!d->result.benchmark_ran)
		return;
	benchmark_is_well(d);
	kill(d->benchmark_pid, SIGTERM);
	if (procs_wait(d->benchmark_pid, 5000, &status))
		kill(d->benchmark_pid, SIGKILL);
}

/* ----------------------------------------------------------- a hand-over */

/* Ask until the server @pid answers and has all of its memory. */
static int wait_drained(struct demo *d, pid_t pid, struct demo_handover *h)
{
	/* at the very least 50 MB/s, or something is wrong */
	uint64_t limit = now_ns() + 30000000000ull + d->opts.size * 20;
	double from = 0, draining = 1, total = 0, done = 0;
	int status, r;

	while (!demo_signal && now_ns() < limit) {
		r = kv_info(&d->kv, h->info, sizeof(h->info));
		if (r) {
			demo_note("INFO is not answered: %s", strerror(-r));
			return r;
		}
		kv_info_number(h->info, "process_id", &from);
		kv_info_number(h->info, "draining", &draining);
		if ((pid_t)from == pid && draining == 0)
			return 0;
		if (procs_ended(pid, &status))
			return -ESRCH;
		if (!kv_info_number(h->info, "bytes_total", &total) && total > 0 &&
		    !kv_info_number(h->info, "bytes_done", &done))
			demo_progress("hand-over: %.0f %%", 100 * done / total);
		demo_sleep_ms(10);
	}
	return demo_signal ? -EINTR : -ETIMEDOUT;
}

/* The old server leaves by itself; with any other status than 0 something was lost. */
static int wait_left(pid_t old)
{
	int status, r = procs_wait(old, LEAVE_MS, &status);

	if (r) {
		demo_note("the old server has not left");
		return r;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		demo_note("the old server ended with status %#x", (unsigned int)status);
		return -ECHILD;
	}
	return 0;
}

static int hand_over(struct demo *d, unsigned int number)
{
	struct demo_handover *h = &d->result.handover[number - 1];
	uint64_t level = demo_ram_mark();
	pid_t old = d->server_pid, pid;
	char log[32];
	int r;

	h->extra_ram = -1;
	h->start_ns = now_ns();
	pid = start_server(d, number, true);
	if (pid < 0)
		return pid;
	r = wait_drained(d, pid, h);
	if (r && r != -EINTR) {
		snprintf(log, sizeof(log), "server.%u", number);
		demo_note("hand-over %u failed: %s; its successor said:", number, strerror(-r));
		show_log(d, log);
	}
	if (r)
		return r;
	h->drained_ns = now_ns();
	d->server_pid = pid;
	d->result.n_handovers = number;
	r = wait_left(old);
	if (level)
		h->extra_ram = (int64_t)(demo_ram_peak() - level);
	return r;
}

static int verify(struct demo *d, uint64_t *ret_lost)
{
	int r = load_verify(d->result.load, ret_lost);

	d->result.lost += *ret_lost;
	d->result.verified_times += r == 0;
	return r;
}

static int one_round(struct demo *d, unsigned int number)
{
	struct demo_handover *h = &d->result.handover[number - 1];
	double blackout = 0;
	int r;

	demo_sleep_ms(DEMO_WINDOW_S * 1000);
	r = hand_over(d, number);
	if (r)
		return r;
	kv_info_number(h->info, "blackout_ms", &blackout);
	demo_note("hand-over %u: %.2f s, blackout %.2f ms", number,
		  (double)(h->drained_ns - h->start_ns) / 1e9, blackout);
	demo_sleep_ms(DEMO_WINDOW_S * 1000);
	h->end_ns = now_ns();
	if (!benchmark_is_well(d))
		return -EIO;
	r = verify(d, &h->lost);
	if (r == 0)
		demo_note("hand-over %u: %" PRIu64 " values read back, %" PRIu64 " lost",
			  number, d->result.values, h->lost);
	return r;
}

/* -------------------------------------------------------------- the play */

static int fill(struct demo *d)
{
	uint64_t start = now_ns();
	double s;
	int r;

	d->result.values = data_keys_for(d->opts.size);
	d->result.load = load_new(d->socket, (uint32_t)d->result.values);
	if (!d->result.load)
		return -ENOMEM;
	r = load_fill(d->result.load);
	s = (double)(now_ns() - start) / 1e9;
	if (r == 0)
		demo_note("filled with %" PRIu64 " values in %.1f s", d->result.values, s);
	return r;
}

static int play(struct demo *d)
{
	uint64_t lost = 0;
	double commands = 0;
	char info[DEMO_INFO_BYTES];
	int r;

	r = first_server(d);
	if (r == 0)
		r = fill(d);
	if (r || demo_signal)
		return r ? r : -EINTR;
	start_benchmark(d);
	r = demo_ram_start(d->benchmark_pid);
	if (r == 0)
		r = load_start(d->result.load);
	for (unsigned int i = 1; i <= d->opts.handovers && r == 0 && !demo_signal; i++)
		r = one_round(d, i);
	demo_ram_stop();
	stop_benchmark(d);
	load_stop(d->result.load);
	if (r || demo_signal)
		return r ? r : -EINTR;
	r = verify(d, &lost);
	if (r == 0 && kv_info(&d->kv, info, sizeof(info)) == 0 &&
	    kv_info_number(info, "total_commands_processed", &commands) == 0)
		d->result.commands = (uint64_t)commands;
	d->result.complete = r == 0;
	return r;
}

static int report(struct demo *d)
{
	struct demo_result *res = &d->result;
	bool verified;

	if (!res->load)
		return MF_EXIT_FAILURE;
	res->clients = load_faults(res->load);
	verified = demo_verified(res);
	if (d->opts.json)
		demo_print_json(res);
	else
		demo_print(res);
	if (d->opts.plot && demo_plot(res, d->opts.plot) == 0)
		demo_note("drew %s", d->opts.plot);
	fflush(stdout);
	if (verified)
		fprintf(d->opts.json ? stderr : stdout,
			"every value verified (%" PRIu64 " values, %" PRIu64 " times)\n",
			res->values, res->verified_times);
	else
		demo_note("not verified: %" PRIu64 " values lost, %" PRIu64
			  " wrong under load, "
			  "%" PRIu64 " error replies, %" PRIu64 " connections lost%s",
			  res->lost, res->clients.wrong, res->clients.errors,
			  res->clients.dropped,
			  res->complete ? "" : ", and it is not complete");
	return verified ? MF_EXIT_OK : MF_EXIT_FAILURE;
}

static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int mf_cmd_demo(int argc, char **argv)
{
	static struct demo demo; /* large */
	int r = parse_options(argc, argv, &demo.opts), status = MF_EXIT_FAILURE;

	if (r)
		return r > 0 ? MF_EXIT_OK : MF_EXIT_USAGE;
	demo.result.opts = &demo.opts;
	demo.kv.fd = -1;
	catch_signals();
	r = procs_init();
	if (r == 0)
		r = make_place(&demo);
	if (r == 0)
		play(&demo);
	if (demo_signal)
		demo_note("stopped by signal %d", (int)demo_signal);
	else if (r == 0)
		status = report(&demo);
	kv_close(&demo.kv);
	load_free(demo.result.load);
	procs_end_all();
	remove_place(&demo);
	return demo_signal ? 128 + demo_signal : status;
}
