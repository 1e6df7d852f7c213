/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the interfaces of the firmware lie in the memory that it shares with panthor: firmware.c writes tables that say
 * so, and fakegpu.c, which plays the firmware, finds the interfaces by it. Addresses are those of the microcontroller.
 */
#ifndef FAKEGPU_LAYOUT_H
#define FAKEGPU_LAYOUT_H

#define SHARED_START	0x04000000u
#define SHARED_SIZE	0x20000u

#define GROUPS		8		/* command stream groups */
#define STREAMS		8		/* command streams of a group */

/* The tables: one of the whole, one of each group with a row for each stream. */
#define GROUP_TABLES	0x1000u
#define GROUP_TABLE	0x100u
#define STREAM_ROWS	0x40u
#define STREAM_ROW	0x10u

/* What is read and written while it runs: requests go in, acknowledgements come out. */
#define GLOBAL_IN	(SHARED_START + 0x8000)
#define GLOBAL_OUT	(SHARED_START + 0x8800)
#define GROUP_IN(g)	(SHARED_START + 0x9000 + (g) * 0x200)
#define GROUP_OUT(g)	(GROUP_IN(g) + 0x100)
#define STREAM_IN(g, s)	(SHARED_START + 0xb000 + ((g) * STREAMS + (s)) * 0x200)
#define STREAM_OUT(g, s) (STREAM_IN(g, s) + 0x100)

#endif
