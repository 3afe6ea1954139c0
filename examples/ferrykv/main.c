// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * ferrykv: an in-memory key-value server for the Redis protocol whose successor takes over
 * its memory, its listeners and its clients while they wait a few milliseconds. It is the
 * worked example for memferry: all that concerns a hand-over is in handover.c.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <memferry.h>

#include "server.h"

enum {
	OPT_PORT = 256,
	OPT_BIND,
	OPT_UNIX,
	OPT_ARENA,
	OPT_THP,
	OPT_MLOCK,
	OPT_HANDOVER,
	OPT_TAKEOVER,
	OPT_TOKEN,
	OPT_SAMPLE,
	OPT_QUIET,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option options[] = {
	{ "port", required_argument, NULL, OPT_PORT },
	{ "bind", required_argument, NULL, OPT_BIND },
	{ "unixsocket", required_argument, NULL, OPT_UNIX },
	{ "arena", required_argument, NULL, OPT_ARENA },
	{ "thp", no_argument, NULL, OPT_THP },
	{ "mlock", no_argument, NULL, OPT_MLOCK },
	{ "handover", required_argument, NULL, OPT_HANDOVER },
	{ "takeover", required_argument, NULL, OPT_TAKEOVER },
	{ "token-file", required_argument, NULL, OPT_TOKEN },
	{ "sample-faults", required_argument, NULL, OPT_SAMPLE },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{},
};

static void usage(FILE *out)
{
	fputs("usage: ferrykv [OPTION...]\n\n"
	      "  --port N            TCP port (default 6379; 0: none)\n"
	      "  --bind ADDRESS      numeric address to listen on (default 127.0.0.1)\n"
	      "  --unixsocket PATH   also listen there\n"
	      "  --arena SIZE        memory for keys and values, as 512M or 4G (default 4G)\n"
	      "  --thp               ask for huge pages in the arena\n"
	      "  --mlock             lock the arena's pages\n"
	      "  --handover ADDRESS  where a successor may ask, as unix:/run/ferrykv.sock\n"
	      "  --takeover ADDRESS  succeed the server that listens there, then listen there\n"
	      "  --token-file PATH   a successor must show the secret that is written there\n"
	      "  --sample-faults HZ  measure the latency of so many faults a second\n"
	      "  --quiet             say nothing but errors\n",
	      out);
}

static int bad_value(const char *option, const char *value)
{
	fprintf(stderr, "ferrykv: --%s does not take '%s'; see ferrykv --help\n", option,
		value);
	return -EINVAL;
}

static int parse_number(const char *option, const char *text, unsigned long max,
			unsigned long *ret_n)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || end == text || *end || n > max || text[0] == '-')
		return bad_value(option, text);
	*ret_n = n;
	return 0;
}

static int parse_size(const char *option, const char *text, size_t *ret_size)
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
	if (errno || end == text || *end || text[0] == '-' || n > ((size_t)1 << 44) >> shift ||
	    n << shift < ARENA_MIN)
		return bad_value(option, text);
	*ret_size = (size_t)n << shift;
	return 0;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	unsigned long n;
	int c, i, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", options, &i)) != -1) {
		switch (c) {
		case OPT_PORT:
			r = parse_number("port", optarg, 65535, &n);
			o->port = r ? 0 : (int)n;
			break;
		case OPT_SAMPLE:
			r = parse_number("sample-faults", optarg, 100000, &n);
			o->sample_hz = r ? 0 : (unsigned int)n;
			break;
		case OPT_ARENA:
			r = parse_size("arena", optarg, &o->arena_bytes);
			break;
		case OPT_BIND:
			o->bind = optarg;
			break;
		case OPT_UNIX:
			o->unix_path = optarg;
			break;
		case OPT_THP:
			o->thp = true;
			break;
		case OPT_MLOCK:
			o->lock = true;
			break;
		case OPT_HANDOVER:
			o->handover = optarg;
			break;
		case OPT_TAKEOVER:
			o->takeover = optarg;
			break;
		case OPT_TOKEN:
			o->token_file = optarg;
			break;
		case OPT_QUIET:
			o->quiet = true;
			break;
		case OPT_HELP:
			usage(stdout);
			exit(0);
		case OPT_VERSION:
			printf("ferrykv %s\n", mf_version());
			exit(0);
		default:
			r = -EINVAL;
		}
	}
	if (r == 0 && optind < argc) {
		fprintf(stderr, "ferrykv: what is '%s'? See ferrykv --help\n", argv[optind]);
		r = -EINVAL;
	}
	return r;
}

static void signal_ready(struct server *srv, struct watch *w, uint32_t events)
{
	struct signalfd_siginfo info;

	if (read(w->fd, &info, sizeof(info)) == sizeof(info)) {
		server_log(srv, "got signal %u, stopping", info.ssi_signo);
		srv->stop = true;
	}
}

static int watch_signals(struct server *srv)
{
	static struct watch w = { -1, signal_ready };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	w.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return w.fd < 0 ? -errno : server_watch(srv, &w, EPOLLIN);
}

/* A server of its own: an empty store, listeners of its own. */
static int begin(struct server *srv)
{
	struct options *o = &srv->opt;
	int r = arena_create(&srv->store.arena, o->arena_bytes, o->thp, o->lock);

	if (r == 0)
		r = store_format(&srv->store);
	if (r < 0) {
		fprintf(stderr, "ferrykv: cannot set up an arena of %zu bytes: %s\n",
			o->arena_bytes, strerror(-r));
		return r;
	}
	return server_listen(srv);
}

static void use_all_descriptors(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int main(int argc, char **argv)
{
	static struct server srv = {
		.opt = { .bind = "127.0.0.1", .port = 6379, .arena_bytes = (size_t)4 << 30 },
	};

	if (parse_options(argc, argv, &srv.opt))
		return 2;
	use_all_descriptors();
	if (server_init(&srv) || watch_signals(&srv)) {
		perror("ferrykv");
		return 1;
	}
	if (srv.opt.takeover ? handover_take(&srv) : begin(&srv))
		return 1;
	if (handover_offer(&srv))
		return 1;
	if (server_run(&srv)) {
		perror("ferrykv");
		return 1;
	}
	if (!srv.handed_over && srv.opt.unix_path)
		unlink(srv.opt.unix_path);
	/*
	 * Straight out: after a hand-over the arena belongs to the successor, and there is
	 * nothing here that the kernel would not clean up.
	 */
	fflush(NULL);
	_exit(0);
}
