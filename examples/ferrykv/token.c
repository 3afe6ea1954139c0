// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "handover.h"

/* The successor finds the secret in a file that only this user can read. */
int token_write(struct server *srv)
{
	struct handover *h = srv->handover;
	uint8_t token[MF_TOKEN_BYTES];
	char path[4096], hex[2 * MF_TOKEN_BYTES + 1];
	ssize_t n;
	int fd;

	if (mf_source_token(h->source, token))
		return complain("no token");
	if (!memcmp(token, h->token, sizeof(token)))
		return 0;
	for (int i = 0; i < MF_TOKEN_BYTES; i++)
		sprintf(hex + 2 * i, "%02x", token[i]);
	snprintf(path, sizeof(path), "%s.new", srv->opt.token_file);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	n = fd < 0 ? -1 : write(fd, hex, sizeof(hex) - 1);
	if (fd >= 0)
		close(fd);
	if (n != (ssize_t)sizeof(hex) - 1 || rename(path, srv->opt.token_file)) {
		fprintf(stderr, "ferrykv: cannot write %s: %m\n", srv->opt.token_file);
		return -1;
	}
	memcpy(h->token, token, sizeof(token));
	return 0;
}

int token_read(const char *path, uint8_t ret_token[MF_TOKEN_BYTES])
{
	FILE *f = fopen(path, "re");
	unsigned int byte;
	int i = 0;

	for (; f && i < MF_TOKEN_BYTES && fscanf(f, "%2x", &byte) == 1; i++)
		ret_token[i] = (uint8_t)byte;
	if (f)
		fclose(f);
	if (i < MF_TOKEN_BYTES)
		fprintf(stderr, "ferrykv: there is no token in %s\n", path);
	return i < MF_TOKEN_BYTES ? -1 : 0;
}
