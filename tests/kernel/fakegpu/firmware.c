// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes the firmware that panthor loads to standard output: the tables of its interfaces (layout.h), and nothing to
 * execute, since fakegpu.c plays the microcontroller. The form is that of drivers/gpu/drm/panthor/panthor_fw.c.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "layout.h"

#define READ		(1u << 0)
#define WRITE		(1u << 1)
#define EXECUTE		(1u << 2)
#define CACHED		(1u << 3)
#define COHERENT	(2u << 3)
#define IS_SHARED	(1u << 30)
#define ZERO		(1u << 31)

#define OPTIONAL	(1u << 31)	/* of an entry: who does not know its type may pass it over */

#define CODE_SIZE	0x1000u
#define TABLES_SIZE	(GROUP_TABLES + GROUPS * GROUP_TABLE)

enum { INTERFACE = 0, BUILD_INFO = 6 };

struct header {
	uint32_t magic;
	uint8_t minor, major;
	uint16_t reserved;
	uint32_t version_hash, reserved_too, size;
};

struct section {
	uint32_t type, flags, start, end, data_start, data_end;
};

struct build_info {
	uint32_t type, start, size;
};

static struct {
	struct header header;
	struct section code, shared;
	struct build_info info;
	uint8_t code_data[CODE_SIZE];
	uint32_t tables[TABLES_SIZE / 4];
	char sha[16];
} image;

static uint32_t offset_of(const void *part)
{
	return (const uint8_t *)part - (const uint8_t *)&image;
}

static uint32_t entry(uint32_t type, uint32_t size)
{
	return type | size << 8;
}

int main(void)
{
	uint32_t *t = image.tables;
	int g, s;

	image.header = (struct header){
		.magic = 0xc3f13a6e, .version_hash = 0xfa4e, .size = offset_of(image.code_data),
	};
	image.code = (struct section){
		entry(INTERFACE, sizeof(image.code)), READ | EXECUTE | CACHED, 0, CODE_SIZE,
		offset_of(image.code_data), offset_of(image.tables),
	};
	image.shared = (struct section){
		entry(INTERFACE, sizeof(image.shared)), READ | WRITE | COHERENT | IS_SHARED | ZERO,
		SHARED_START, SHARED_START + SHARED_SIZE, offset_of(image.tables), offset_of(image.sha),
	};
	strcpy(image.sha, "git_sha: fake");
	image.info = (struct build_info){
		entry(BUILD_INFO, sizeof(image.info)) | OPTIONAL, offset_of(image.sha), strlen(image.sha) + 1,
	};

	t[0] = 1u << 24 | 1u << 16;		/* version 1.1.0 of the interface */
	t[2] = GLOBAL_IN;
	t[3] = GLOBAL_OUT;
	t[4] = GROUPS;
	t[5] = GROUP_TABLE;
	for (g = 0; g < GROUPS; g++) {
		uint32_t *group = t + (GROUP_TABLES + g * GROUP_TABLE) / 4;

		group[1] = GROUP_IN(g);
		group[2] = GROUP_OUT(g);
		group[3] = 0x1000;		/* bytes to suspend a group into, and the same in protected mode */
		group[4] = 0x1000;
		group[5] = STREAMS;
		group[6] = STREAM_ROW;
		for (s = 0; s < STREAMS; s++) {
			uint32_t *row = group + (STREAM_ROWS + s * STREAM_ROW) / 4;

			row[0] = 95 | 8 << 8 | 7 << 16;	/* 96 registers, 8 scoreboards; compute, fragment, tiler */
			row[1] = STREAM_IN(g, s);
			row[2] = STREAM_OUT(g, s);
		}
	}
	return fwrite(&image, sizeof(image), 1, stdout) == 1 && fflush(stdout) == 0 ? 0 : 1;
}
