/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "demo_data.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* splitmix64: a counter, scrambled */
uint64_t data_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t seed_of(uint32_t index, uint32_t version)
{
	return ((uint64_t)version << 32 | index) * UINT64_C(0xd1342543de82ef95);
}

void data_key(char ret_key[DATA_KEY_BYTES], uint32_t index)
{
	snprintf(ret_key, DATA_KEY_BYTES, "demo:%08x", index);
}

size_t data_len(uint32_t index, uint32_t version)
{
	uint64_t state = seed_of(index, version) ^ 1;
	double u = (double)(data_random(&state) >> 11) / (double)(UINT64_C(1) << 53);

	return (size_t)(DATA_LEN_MIN * pow((double)DATA_LEN_MAX / DATA_LEN_MIN, u));
}

/*
 * Five random words, then three from a small vocabulary: no two pages are alike, and a
 * compressor would still find something, as in data that people keep.
 */
void data_fill(char *buf, uint32_t index, uint32_t version)
{
	static const char words[16][9] = {
		"ferry   ",
		"harbour ",
		"\"name\": \"",
		"2024-01-",
		"00000000",
		"</item>\n",
		"        ",
		"\0\0\0\0\0\0\0\0",
		"status=o",
		"{\"id\": 1",
		"captain ",
		"the and ",
		"\xff\xff\xff\xff\xff\xff\xff\xff",
		"https://",
		"\r\n\r\n\r\n\r\n",
		"passeng ",
	};
	size_t len = data_len(index, version);
	uint64_t state = seed_of(index, version), word;

	for (size_t at = 0; at < len; at += 8) {
		size_t n = len - at < 8 ? len - at : 8;

		word = data_random(&state);
		if ((at >> 3) % 8 >= 5)
			memcpy(&word, words[word & 15], 8);
		memcpy(buf + at, &word, n);
	}
}

uint32_t data_keys_for(uint64_t bytes)
{
	double mean = (DATA_LEN_MAX - DATA_LEN_MIN) / log((double)DATA_LEN_MAX / DATA_LEN_MIN);

	return (uint32_t)((double)bytes / mean) + 1;
}
