/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memferry probe: what this kernel and this user can do. */
#include <getopt.h>
#include <json-c/json.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <memferry.h>

#include "../bench/bench.h"
#include "cli.h"
#include "routes.h"

#define PROBE_SCHEMA 1
#define WIDTH_PIPE 96
#define WIDTH_LEAST 60
#define CAP_SYS_PTRACE_BIT 19

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "explain", required_argument, NULL, 'e' },
	{ "help", no_argument, NULL, 'h' },
	{},
};

static void usage(FILE *out)
{
	fputs("usage: memferry probe [--json | --explain ITEM]\n\n"
	      "Tries what this kernel and this user can do, each thing by doing it on a\n"
	      "throw-away userfaultfd. Changes nothing.\n\n"
	      "  --json          for programs\n"
	      "  --explain ITEM  one item: what it is for, what came back, what to do\n"
	      "  --help          this text\n\n"
	      "Status 0 also if things are missing; 1: the probe could not run; 2: usage.\n",
	      out);
}

/* ---- for people */

/* Escape sequences, or nothing at all. */
struct paint {
	const char *state[4]; /* by enum mf_probe_state */
	const char *bold, *off;
};

static struct paint paint_for(FILE *out)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	bool plain = !isatty(fileno(out)) || (no && no[0]) || (term && !strcmp(term, "dumb"));

	if (plain)
		return (struct paint){ { "", "", "", "" }, "", "" };
	return (struct paint){
		.state = { [MF_UNKNOWN] = "\033[33m",
			   [MF_SUPPORTED] = "\033[32m",
			   [MF_MISSING] = "\033[31m",
			   [MF_DENIED] = "\033[35m" },
		.bold = "\033[1m",
		.off = "\033[0m",
	};
}

static int width(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col)
		return WIDTH_PIPE;
	return ws.ws_col < WIDTH_LEAST ? WIDTH_LEAST : ws.ws_col;
}

/* @text in lines that end before @columns; each line after the first starts at @indent. */
static void print_wrapped(const char *text, int indent, int columns)
{
	int at = indent;

	while (*text) {
		int word = (int)strcspn(text, " ");

		if (at > indent && at + 1 + word >= columns) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		printf("%.*s", word, text);
		at += word;
		text += word;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static const struct {
	const char *group, *title;
} titles[] = {
	{ "access", "How a userfaultfd can be had" },
	{ "feature", "Features" },
	{ "ioctl", "Ioctls" },
	{ "semantics", "What memferry relies on" },
};

static const char *title_of(const char *group)
{
	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
		if (!strcmp(titles[i].group, group))
			return titles[i].title;
	return group;
}

#define NAME_COLUMNS 27
#define STATE_COLUMNS 10

static void print_row(const struct mf_probe_item *item, const struct paint *paint)
{
	int indent = 2 + NAME_COLUMNS + STATE_COLUMNS;

	printf("  %-*s%s%-*s%s", NAME_COLUMNS, item->name, paint->state[item->state],
	       STATE_COLUMNS, mf_probe_state_name(item->state), paint->off);
	print_wrapped(item->why, indent, width());
	if (item->remedy[0]) {
		printf("%*s", indent, "");
		fputs("-> ", stdout);
		print_wrapped(item->remedy, indent + 3, width());
	}
}

static void print_verdict(const struct mf_probe *probe, const struct paint *paint)
{
	static const enum mf_probe_state as[] = {
		[ROUTE_NO] = MF_MISSING, [ROUTE_LIMITED] = MF_UNKNOWN, [ROUTE_YES] = MF_SUPPORTED
	};
	char why[1024];

	printf("\n%sWhat memferry can do here%s\n", paint->bold, paint->off);
	for (size_t i = 0; i < n_routes; i++) {
		enum route_state state = route_state(probe, &routes[i], why, sizeof(why));

		printf("  %-11s%s%-8s%s", routes[i].name, paint->state[as[state]],
		       route_state_name(state), paint->off);
		print_wrapped(routes[i].about, 21, width());
		if (!why[0])
			continue;
		printf("%*s", 21, "");
		fputs(state == ROUTE_NO ? "as " : "but ", stdout);
		print_wrapped(why, 25, width());
	}
}

static int print_table(const struct mf_probe *probe)
{
	struct mf_probe_item item = { .size = sizeof(item) };
	struct paint paint = paint_for(stdout);
	const char *group = "";

	env_print();
	for (size_t i = 0; i < mf_probe_count(probe); i++) {
		if (mf_probe_item_at(probe, i, &item))
			return MF_EXIT_FAILURE;
		if (strcmp(group, item.group))
			printf("\n%s%s%s\n", paint.bold, title_of(item.group), paint.off);
		group = item.group;
		print_row(&item, &paint);
	}
	print_verdict(probe, &paint);
	return MF_EXIT_OK;
}

static void print_field(const char *label, const char *text)
{
	printf("%-11s", label);
	print_wrapped(text, 11, width());
}

static void print_routes(const char *item)
{
	char needed[256], better[256];

	routes_with(item, false, needed, sizeof(needed));
	routes_with(item, true, better, sizeof(better));
	if (!strncmp(item, "access.", 7))
		snprintf(needed, sizeof(needed), "every route needs one of the access items");
	if (needed[0])
		print_field("needed by", needed);
	if (better[0])
		print_field("helps", better);
	if (!needed[0] && !better[0])
		print_field("needed by", "no route");
}

static int explain(const struct mf_probe *probe, const char *name)
{
	struct mf_probe_item item = { .size = sizeof(item) };
	struct paint paint = paint_for(stdout);

	if (mf_probe_item_named(probe, name, &item)) {
		fprintf(stderr,
			"memferry probe: there is no item '%s'; memferry probe lists "
			"them\n",
			name);
		return MF_EXIT_USAGE;
	}
	printf("%s%s%s is %s%s%s\n\n", paint.bold, item.name, paint.off,
	       paint.state[item.state], mf_probe_state_name(item.state), paint.off);
	print_field("what", item.about);
	print_field("tried", item.why);
	if (item.remedy[0])
		print_field("to do", item.remedy);
	else
		print_field("to do",
			    item.state == MF_MISSING ? "nothing, on this kernel" : "nothing");
	print_routes(item.name);
	return MF_EXIT_OK;
}

/* ---- for programs */

static bool cap_sys_ptrace(void)
{
	unsigned long long caps = 0;
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (f)
		fclose(f);
	return caps >> CAP_SYS_PTRACE_BIT & 1;
}

static struct json_object *json_user(void)
{
	struct json_object *user = json_object_new_object();
	struct passwd *pw = getpwuid(geteuid());

	json_add_int(user, "uid", geteuid());
	if (pw)
		json_add_string(user, "name", pw->pw_name);
	json_add_bool(user, "cap_sys_ptrace", cap_sys_ptrace());
	return user;
}

static struct json_object *json_items(const struct mf_probe *probe)
{
	struct json_object *items = json_object_new_array();
	struct mf_probe_item item = { .size = sizeof(item) };

	for (size_t i = 0; i < mf_probe_count(probe); i++) {
		struct json_object *o = json_object_new_object();

		if (mf_probe_item_at(probe, i, &item) == 0) {
			json_add_string(o, "name", item.name);
			json_add_string(o, "group", item.group);
			json_add_string(o, "state", mf_probe_state_name(item.state));
			json_add_string(o, "why", item.why);
			json_add_string(o, "remedy", item.remedy);
			json_add_string(o, "about", item.about);
		}
		json_object_array_add(items, o);
	}
	return items;
}

static struct json_object *json_routes(const struct mf_probe *probe)
{
	struct json_object *list = json_object_new_array();
	char why[1024];

	for (size_t i = 0; i < n_routes; i++) {
		struct json_object *o = json_object_new_object();
		enum route_state state = route_state(probe, &routes[i], why, sizeof(why));

		json_add_string(o, "name", routes[i].name);
		json_add_string(o, "state", route_state_name(state));
		json_add_string(o, "why", why);
		json_object_array_add(list, o);
	}
	return list;
}

static int print_json(const struct mf_probe *probe)
{
	struct json_object *root = json_object_new_object();
	const char *text;

	json_add_int(root, "schema", PROBE_SCHEMA);
	env_json(root);
	json_object_object_add(root, "user", json_user());
	json_object_object_add(root, "items", json_items(probe));
	json_object_object_add(root, "routes", json_routes(probe));
	text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE);
	puts(text);
	json_object_put(root);
	return MF_EXIT_OK;
}

int mf_cmd_probe(int argc, char **argv)
{
	struct mf_probe *probe;
	const char *item = NULL;
	bool json = false;
	int c, status;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'e':
			item = optarg;
			break;
		case 'h':
			usage(stdout);
			return MF_EXIT_OK;
		default:
			return MF_EXIT_USAGE;
		}
	}
	if (optind < argc || (json && item)) {
		usage(stderr);
		return MF_EXIT_USAGE;
	}
	if (mf_probe_run(&probe)) {
		fprintf(stderr, "memferry probe: %s\n", mf_error());
		return MF_EXIT_FAILURE;
	}
	status = json ? print_json(probe) : item ? explain(probe, item) : print_table(probe);
	mf_probe_free(probe);
	return status;
}
