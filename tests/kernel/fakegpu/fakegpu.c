// SPDX-License-Identifier: GPL-2.0-only
/*
 * A Mali-G610 of registers only, for User Mode Linux: what panthor reads and writes, no shader ever runs.
 *
 * The registers are callbacks of logic_iomem, the three interrupts an irq_domain of ours, the GPU a node of the device
 * tree. Firmware requests are acknowledged in the doorbell write; command streams are followed as far as panthor's own
 * ring buffer goes (moves and SYNC_ADD64), calls into user streams do nothing. Memory is reached as the hardware does
 * it: through the page tables that panthor wrote, from AS_TRANSTAB on.
 *
 * Not played: faults, the protected mode, a tiler out of memory, performance counters.
 */
#include <linux/debugfs.h>
#include <linux/dma-direction.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/logic_iomem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/of_platform.h>
#include <linux/platform_device.h>
#include <linux/seq_file.h>
#include <linux/tracepoint.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "layout.h"

#define REG_SPACE	0x200000
#define FILE_SPACE	0x4000		/* registers that are kept in regs[] */
#define FLUSH_ID	0x10000		/* a page of RAM: panthor maps it to user space */
#define DOORBELLS	0x80000

enum { JOB, MMU, GPU, IRQS };
static const u32 int_base[IRQS] = { 0x1000, 0x2000, 0x20 };
static const char *const int_name[IRQS] = { "job", "mmu", "gpu" };

#define GPU_RESET_DONE	BIT(8)
#define GPU_FLUSH_DONE	BIT(17)
#define JOB_GLOBAL	BIT(31)		/* lower bits: a group */
#define MCU_CONTROL	0x700
#define MCU_STATUS	0x704
#define MCU_DISABLED	0
#define MCU_ENABLED	1
#define MCU_HALTED	2
#define AS_BASE		0x2400
#define AS(n, r)	(AS_BASE + (n) * 0x40 + (r))
#define TRANSTAB	0x0
#define MEMATTR		0x8
#define AS_COMMAND	0x18
#define TRANSCFG	0x30

/* Bits of requests and acknowledgements. Where the two differ, something is asked for; an event is the other way round. */
#define GLB_EVENTS	GENMASK(26, 20)
#define GLB_IDLE	BIT(26)
#define CSG_EVENTS	(BIT(28) | BIT(29) | BIT(31))
#define CSG_SYNC_UPDATE	BIT(28)
#define CSG_IDLE	BIT(29)
#define CS_EVENTS	(BIT(26) | BIT(27) | BIT(30) | BIT(31))
#define GLB_HALT	BIT(0)
#define STATE_MASK	7		/* of a group or a stream */
#define STATE_START	1
#define STATE_RESUME	3

/* Where the fields of an interface lie. */
#define REQUEST		0x0		/* in, and the acknowledgement out */
#define EVENT_MASK	0x4		/* in, of the whole and of a group: which changes interrupt */
#define DOORBELLS_REQ	0x8		/* in and out, of the whole (groups) and of a group (streams) */
#define GROUP_CONFIG	0x50		/* in: the address space */
#define GROUP_STATUS	0x18		/* out: idle or not */
#define STREAM_CONFIG	0x4		/* in: the doorbell */
#define RING_BASE	0x10		/* in: the ring buffer, and the pages with its ends */
#define RING_SIZE	0x18
#define RING_INPUT	0x30
#define RING_OUTPUT	0x38

/* Instructions that panthor puts around a call. */
#define OP_MOV48	1
#define OP_MOV32	2
#define OP_SYNC_ADD64	51

/* Registers. */
#define GPU_COMMAND	0x30
#define COMMAND_RESET	1
#define COMMAND_FLUSH	4
#define TIMESTAMP	0x98
#define POWER_ON	0x180		/* shader, tiler, L2: 0x10 bytes apart; the same for those below */
#define POWER_OFF	0x1c0
#define POWER_READY	0x140

static struct {
	raw_spinlock_t lock;
	u32 regs[FILE_SPACE / 4];
	u32 raw[IRQS], mask[IRQS];
	int virq[IRQS];
	u32 *flush_id;
	struct resource res;
	struct irq_domain *domain;
	struct device_node *bus;
	struct tasklet_struct line;
	struct dentry *dir;
	struct device *dev;
	/* What happened, for the debugfs file. */
	u64 reads, writes, irqs[IRQS], as_cmd[8], resets, flushes, boots, halts, jobs, lost;
} g;

static u32 *reg(u32 offset)
{
	return &g.regs[offset / 4];
}

static u64 reg64(u32 offset)
{
	return *reg(offset) | (u64)*reg(offset + 4) << 32;
}

/* -------- interrupts: level-triggered lines, delivered from a tasklet -------- */

static void line_work(struct tasklet_struct *t)
{
	int i;

	for (i = 0; i < IRQS; i++) {
		if (!(READ_ONCE(g.raw[i]) & READ_ONCE(g.mask[i])) || !g.virq[i])
			continue;
		g.irqs[i]++;
		generic_handle_irq_safe(g.virq[i]);
	}
}

static void lines_changed(int i)
{
	if (g.raw[i] & g.mask[i])
		tasklet_schedule(&g.line);
}

static void raise(int i, u32 bits)
{
	g.raw[i] |= bits;
	lines_changed(i);
}

/* -------- memory, through the page tables -------- */

#define PTE_ADDR	GENMASK_ULL(47, 12)

static void *at(u32 as, u64 va)
{
	u64 table = reg64(AS(as, TRANSTAB)) & PTE_ADDR;
	int level;

	for (level = 0; table && level < 4; level++) {
		int shift = 39 - 9 * level;
		u64 pte = ((u64 *)phys_to_virt(table))[(va >> shift) & 511];

		if (!(pte & 1))
			break;
		if (level == 3 || !(pte & 2))
			return phys_to_virt((pte & PTE_ADDR & ~((1ull << shift) - 1)) | (va & ((1ull << shift) - 1)));
		table = pte & PTE_ADDR;
	}
	g.lost++;
	return NULL;
}

static u32 mcu_read(u32 va)
{
	u32 *p = at(0, va);

	return p ? READ_ONCE(*p) : 0;
}

static void mcu_write(u32 va, u32 value)
{
	u32 *p = at(0, va);

	if (p)
		WRITE_ONCE(*p, value);
}

static u64 mcu_read64(u32 va)
{
	return mcu_read(va) | (u64)mcu_read(va + 4) << 32;
}

/* -------- the firmware -------- */

/* Follows one ring buffer to its end. True if it had anything in it. */
static bool run_ring(int csg, int cs)
{
	u32 in = mcu_read64(STREAM_IN(csg, cs) + RING_INPUT), out = mcu_read64(STREAM_IN(csg, cs) + RING_OUTPUT);
	u64 base = mcu_read64(STREAM_IN(csg, cs) + RING_BASE), size = mcu_read(STREAM_IN(csg, cs) + RING_SIZE);
	u32 as = mcu_read(GROUP_IN(csg) + GROUP_CONFIG) & 0xf;
	u32 r[256] = {};
	u64 insert, extract;
	bool any = false;

	if (!in || !out || !size || !base)
		return false;
	insert = mcu_read64(in);
	extract = mcu_read64(out);
	while (extract < insert) {
		u64 *p = at(as, base + (extract & (size - 1)));
		u64 i = p ? *p : 0;
		u8 d = i >> 48, a = i >> 40, b = i >> 32;

		switch (i >> 56) {
		case OP_MOV48:
			r[d] = i;
			r[(u8)(d + 1)] = (i >> 32) & 0xffff;
			break;
		case OP_MOV32:
			r[d] = i;
			break;
		case OP_SYNC_ADD64: {
			u64 *s = at(as, r[a] | (u64)r[(u8)(a + 1)] << 32);

			if (s)
				*s += r[b] | (u64)r[(u8)(b + 1)] << 32;
			g.jobs++;
			break;
		}
		}
		extract += 8;
		any = true;
	}
	mcu_write(out, extract);
	mcu_write(out + 4, extract >> 32);
	mcu_write(out + 8, 0);
	return any;
}

static void group_event(int csg, u32 bits)
{
	mcu_write(GROUP_OUT(csg), mcu_read(GROUP_OUT(csg)) ^ bits);
	raise(JOB, BIT(csg));
}

static void run_group(int csg, u32 streams)
{
	bool any = false;
	int s;

	for (s = 0; s < STREAMS; s++)
		if (streams & BIT(s) && (mcu_read(STREAM_OUT(csg, s)) & STATE_MASK) == STATE_START)
			any |= run_ring(csg, s);
	if (any) {
		/* An event is a difference between ack and req: raise those that are not pending. */
		u32 pending = mcu_read(GROUP_IN(csg)) ^ mcu_read(GROUP_OUT(csg));

		mcu_write(GROUP_OUT(csg) + GROUP_STATUS, 1); /* idle */
		group_event(csg, (CSG_SYNC_UPDATE | CSG_IDLE) & ~pending);
		if (!((mcu_read(GLOBAL_IN) ^ mcu_read(GLOBAL_OUT)) & GLB_IDLE)) {
			mcu_write(GLOBAL_OUT, mcu_read(GLOBAL_OUT) ^ GLB_IDLE);
			raise(JOB, JOB_GLOBAL);
		}
	}
}

static void group_requests(int csg)
{
	u32 req = mcu_read(GROUP_IN(csg)), ack = mcu_read(GROUP_OUT(csg));
	u32 now = (req & ~CSG_EVENTS) | (ack & CSG_EVENTS);
	int s;

	for (s = 0; s < STREAMS; s++) {
		u32 cs_ack = mcu_read(STREAM_OUT(csg, s));

		mcu_write(STREAM_OUT(csg, s), (mcu_read(STREAM_IN(csg, s)) & ~CS_EVENTS) | (cs_ack & CS_EVENTS));
	}
	mcu_write(GROUP_OUT(csg) + DOORBELLS_REQ, mcu_read(GROUP_IN(csg) + DOORBELLS_REQ));
	mcu_write(GROUP_OUT(csg), now);
	if ((now ^ ack) & mcu_read(GROUP_IN(csg) + EVENT_MASK))
		raise(JOB, BIT(csg));
	if ((now & STATE_MASK) == STATE_START || (now & STATE_MASK) == STATE_RESUME)
		run_group(csg, ~0);
}

static void global_requests(void)
{
	u32 req = mcu_read(GLOBAL_IN), ack = mcu_read(GLOBAL_OUT), groups;
	u32 now = (req & ~GLB_EVENTS) | (ack & GLB_EVENTS);
	int i;

	mcu_write(GLOBAL_OUT, now);
	if (req & GLB_HALT) {
		g.halts++;
		*reg(MCU_STATUS) = MCU_HALTED;
		return;
	}
	groups = mcu_read(GLOBAL_IN + DOORBELLS_REQ) ^ mcu_read(GLOBAL_OUT + DOORBELLS_REQ);
	mcu_write(GLOBAL_OUT + DOORBELLS_REQ, mcu_read(GLOBAL_IN + DOORBELLS_REQ));
	for (i = 0; i < GROUPS; i++)
		if (groups & BIT(i))
			group_requests(i);
	if ((now ^ ack) & mcu_read(GLOBAL_IN + EVENT_MASK))
		raise(JOB, JOB_GLOBAL);
}

static void doorbell(u32 id)
{
	int csg, s;

	if (*reg(MCU_STATUS) != MCU_ENABLED)
		return;
	if (!id) {
		global_requests();
		return;
	}
	for (csg = 0; csg < GROUPS; csg++)
		for (s = 0; s < STREAMS; s++)
			if ((mcu_read(STREAM_OUT(csg, s)) & STATE_MASK) == STATE_START &&
			    ((mcu_read(STREAM_IN(csg, s) + STREAM_CONFIG) >> 8) & 0xff) == id)
				run_group(csg, BIT(s));
}

/* -------- registers -------- */

static void reset(void)
{
	static const struct { u32 at, value; } board[] = { /* a Mali-G610 MC4, as vpanthor's identity has it */
		{ 0x00, 0xa8670005 }, { 0x04, 0x07120306 }, { 0x0c, 0x809 }, { 0x10, 0x301 }, { 0x14, 0x2830 },
		{ 0x18, 0xff }, { 0x1c, 0x040a0412 }, { 0xa0, 2048 }, { 0xa4, 1024 }, { 0xa8, 1024 },
		{ 0xac, 0x04010000 }, { 0xb0, 0xc1ffff9e }, { 0x100, 0x50005 }, { 0x110, 1 }, { 0x120, 1 },
	};
	int i;

	memset(g.regs, 0, sizeof(g.regs));
	for (i = 0; i < ARRAY_SIZE(board); i++)
		*reg(board[i].at) = board[i].value;
	memset(g.mask, 0, sizeof(g.mask));
	memset(g.raw, 0, sizeof(g.raw));
}

static unsigned long gpu_reg_read(void *priv, unsigned int offset, int size)
{
	int i;

	g.reads++;
	for (i = 0; i < IRQS; i++) {
		switch ((int)offset - (int)int_base[i]) {
		case 0x0:
			return g.raw[i];
		case 0x8:
			return g.mask[i];
		case 0xc:
			return g.raw[i] & g.mask[i];
		}
	}
	if (offset == TIMESTAMP || offset == TIMESTAMP + 4) /* 24 MHz */
		return (u32)((ktime_get_ns() * 24 / 1000) >> (offset == TIMESTAMP ? 0 : 32));
	if (offset == FLUSH_ID)
		return *g.flush_id;
	return offset < FILE_SPACE ? *reg(offset) : 0;
}

static void gpu_reg_write(void *priv, unsigned int offset, int size, unsigned long value)
{
	unsigned long flags;
	int i;

	raw_spin_lock_irqsave(&g.lock, flags);
	g.writes++;
	for (i = 0; i < IRQS; i++) {
		switch ((int)offset - (int)int_base[i]) {
		case 0x4:
			g.raw[i] &= ~value;
			goto out;
		case 0x8:
			g.mask[i] = value;
			lines_changed(i);
			goto out;
		}
	}
	if (offset >= DOORBELLS) {
		doorbell((offset - DOORBELLS) / 0x10000);
		goto out;
	}
	if (offset >= FILE_SPACE)
		goto out;
	*reg(offset) = value;
	switch (offset) {
	case GPU_COMMAND:
		if ((value & 0xff) == COMMAND_RESET) {
			u32 mask = g.mask[GPU];

			g.resets++;
			reset();
			g.mask[GPU] = mask;
			raise(GPU, GPU_RESET_DONE);
		} else if ((value & 0xff) == COMMAND_FLUSH) {
			g.flushes++;
			(*g.flush_id)++;
			raise(GPU, GPU_FLUSH_DONE);
		}
		break;
	case POWER_ON ... POWER_ON + 0x24:
		*reg(offset - POWER_ON + POWER_READY) |= value;
		break;
	case POWER_OFF ... POWER_OFF + 0x24:
		*reg(offset - POWER_OFF + POWER_READY) &= ~value;
		break;
	case MCU_CONTROL:
		*reg(MCU_STATUS) = value ? MCU_ENABLED : MCU_DISABLED;
		if (value) {
			g.boots++;
			raise(JOB, JOB_GLOBAL);
		}
		break;
	default:
		if (offset >= AS_BASE && offset < AS_BASE + 16 * 0x40 && (offset & 0x3f) == AS_COMMAND)
			g.as_cmd[value & 7]++;
	}
out:
	raw_spin_unlock_irqrestore(&g.lock, flags);
}

static const struct logic_iomem_ops reg_ops = { .read = gpu_reg_read, .write = gpu_reg_write };

static long map_regs(unsigned long offset, size_t size, const struct logic_iomem_ops **ops, void **priv)
{
	*ops = &reg_ops;
	return offset;
}

static const struct logic_iomem_region_ops region_ops = { .map = map_regs };

/* -------- debugfs: counters, and the page tables of each address space -------- */

struct walk { u64 ptes, blocks, tables, run_va, run_pa, run_len, run_attr; bool list; };

static void end_run(struct seq_file *m, struct walk *w)
{
	if (w->run_len && w->list)
		seq_printf(m, "  %012llx+%llx -> %llx attr %llx\n", w->run_va, w->run_len, w->run_pa, w->run_attr);
	w->run_len = 0;
}

static void walk(struct seq_file *m, struct walk *w, u64 table, int level, u64 va)
{
	u64 size = 1ull << (39 - 9 * level);
	int i;

	w->tables++;
	for (i = 0; i < 512; i++, va += size) {
		u64 pte = ((u64 *)phys_to_virt(table))[i], attr = pte & ~PTE_ADDR & ~3ull;

		if (!(pte & 1))
			continue;
		if (level < 3 && (pte & 2)) {
			walk(m, w, pte & PTE_ADDR, level + 1, va);
			continue;
		}
		if (level == 3)
			w->ptes++;
		else
			w->blocks++;
		if (w->run_len && w->run_va + w->run_len == va && w->run_pa + w->run_len == (pte & PTE_ADDR) &&
		    w->run_attr == attr) {
			w->run_len += size;
			continue;
		}
		end_run(m, w);
		w->run_va = va;
		w->run_pa = pte & PTE_ADDR;
		w->run_attr = attr;
		w->run_len = size;
	}
}

static int tables_show(struct seq_file *m, void *unused)
{
	int as;

	for (as = 0; as < 8; as++) {
		u64 root = reg64(AS(as, TRANSTAB)) & PTE_ADDR;
		struct walk w = { .list = (bool)m->private };

		if (!root)
			continue;
		seq_printf(m, "AS %d transtab %llx transcfg %llx memattr %llx\n", as, reg64(AS(as, TRANSTAB)),
			   reg64(AS(as, TRANSCFG)), reg64(AS(as, MEMATTR)));
		walk(m, &w, root, 0, 0);
		end_run(m, &w);
		seq_printf(m, "  ptes %llu blocks %llu tables %llu\n", w.ptes, w.blocks, w.tables);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(tables);

/* The same as numbers of 64 bits, two an entry: its address, with the level of its table in the low bits, and what it is. */
struct pages { size_t count, room; u64 *all; };

static void add_page(struct pages *p, u64 va, u64 pte)
{
	if (p->count + 2 <= p->room) {
		p->all[p->count] = va;
		p->all[p->count + 1] = pte;
	}
	p->count += 2;
}

static void walk_pages(struct pages *p, u64 table, int level, u64 va)
{
	u64 size = 1ull << (39 - 9 * level);
	int i;

	for (i = 0; i < 512; i++, va += size) {
		u64 pte = ((u64 *)phys_to_virt(table))[i];

		if (level < 3 && (pte & 3) == 3)
			walk_pages(p, pte & PTE_ADDR, level + 1, va);
		else if (pte & 1)
			add_page(p, va | level, pte);
	}
}

static int pages_open(struct inode *inode, struct file *file)
{
	struct pages *p = kzalloc(sizeof(*p), GFP_KERNEL);
	int as;

	/* Counted first, then taken. */
	while (p && (!p->all || p->count > p->room)) {
		p->room = p->count + 1024;
		p->count = 0;
		vfree(p->all);
		p->all = vmalloc(p->room * sizeof(u64));
		if (!p->all) {
			kfree(p);
			p = NULL;
			break;
		}
		for (as = 0; as < 8; as++) {
			u64 root = reg64(AS(as, TRANSTAB)) & PTE_ADDR;

			if (root) {
				add_page(p, ~0ull, as);
				walk_pages(p, root, 0, 0);
			}
		}
	}
	file->private_data = p;
	return p ? 0 : -ENOMEM;
}

static ssize_t pages_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct pages *p = file->private_data;

	return simple_read_from_buffer(to, size, at, p->all, p->count * sizeof(u64));
}

static int pages_release(struct inode *inode, struct file *file)
{
	struct pages *p = file->private_data;

	vfree(p->all);
	kfree(p);
	return 0;
}

static const struct file_operations pages_fops = {
	.owner = THIS_MODULE, .open = pages_open, .read = pages_read, .release = pages_release,
};

static int counters_show(struct seq_file *m, void *unused)
{
	int i;

	seq_printf(m, "reads %llu writes %llu resets %llu flushes %llu boots %llu halts %llu jobs %llu lost %llu\n",
		   g.reads, g.writes, g.resets, g.flushes, g.boots, g.halts, g.jobs, g.lost);
	seq_printf(m, "as: update %llu lock %llu unlock %llu flush_pt %llu flush_mem %llu\n", g.as_cmd[1], g.as_cmd[2],
		   g.as_cmd[3], g.as_cmd[4], g.as_cmd[5]);
	for (i = 0; i < IRQS; i++)
		seq_printf(m, "irq %s: %llu, raw %x mask %x\n", int_name[i], g.irqs[i], g.raw[i], g.mask[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

/*
 * -------- page-table entries that the driver writes --------
 *
 * The GPU does not look into the caches of the CPU, so the driver's page-table code tells the DMA layer of every entry
 * that it writes or clears. Tracepoints show that. What was in a table before is kept beside it.
 */

struct table {
	int level;
	bool linked;	/* or the root */
	u64 early;	/* entries of pages that were written before it was linked: what a split leaves mapped */
	u64 before[512];
};

static struct {
	struct mutex lock;
	bool on;
	struct xarray tables;	/* by page frame */
	u64 written[4], cleared[4], cleared_tables[4], made, again, unknown;
} e;

static void table_made(void *unused, struct device *dev, phys_addr_t at, dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs)
{
	struct table *t;

	if (dev != g.dev || size != PAGE_SIZE || dir != DMA_TO_DEVICE)
		return;
	t = kzalloc(sizeof(*t), GFP_ATOMIC);
	if (!t || xa_err(xa_store(&e.tables, at >> PAGE_SHIFT, t, GFP_ATOMIC))) {
		kfree(t);
		e.unknown++;
	}
}

static void table_freed(void *unused, struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir,
			unsigned long attrs)
{
	if (dev == g.dev && size == PAGE_SIZE && dir == DMA_TO_DEVICE)
		kfree(xa_erase(&e.tables, addr >> PAGE_SHIFT));
}

static void entries_written(void *unused, struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir)
{
	struct table *t = xa_load(&e.tables, addr >> PAGE_SHIFT);
	u64 *entry = phys_to_virt(addr), *before;

	if (dev != g.dev || !t)
		return;
	for (before = &t->before[(addr & ~PAGE_MASK) / 8]; size; size -= 8, entry++, before++) {
		bool is_table = t->level < 3 && (*entry & 3) == 3;
		struct table *below = is_table ? xa_load(&e.tables, (*entry & PTE_ADDR) >> PAGE_SHIFT) : NULL;

		if (below) {
			t->linked = true;
			below->linked = true;
			below->level = t->level + 1;
			e.made++;
			e.written[below->level] += below->early;
			below->early = 0;
		} else if (!t->linked) {
			t->early += *entry != 0;
		} else if (*entry) {
			e.written[t->level]++;
		} else if (!*before) {
			e.again++;
		} else if (t->level < 3 && (*before & 3) == 3) {
			e.cleared_tables[t->level]++;
		} else {
			e.cleared[t->level]++;
		}
		*before = *entry;
	}
}

/* The second name is that of Linux 6.12. */
static const struct { const char *name, *older; void *probe; } probes[] = {
	{ "dma_map_phys", "dma_map_page", table_made },
	{ "dma_unmap_phys", "dma_unmap_page", table_freed },
	{ "dma_sync_single_for_device", "", entries_written },
};

static void connect(struct tracepoint *tp, void *found)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if ((!strcmp(tp->name, probes[i].name) || !strcmp(tp->name, probes[i].older)) &&
		    !tracepoint_probe_register(tp, probes[i].probe, NULL))
			++*(int *)found;
}

static int entries_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "on %d small %llu large %llu cleared small %llu large %llu tables %llu made %llu again %llu unknown %llu\n",
		   e.on, e.written[3], e.written[2], e.cleared[3], e.cleared[2], e.cleared_tables[2], e.made, e.again, e.unknown);
	return 0;
}

static int entries_open(struct inode *inode, struct file *file)
{
	return single_open(file, entries_show, NULL);
}

/* Whatever is written: counts from now on. Only what happens in VMs that are made later is known. */
static ssize_t entries_start(struct file *file, const char __user *text, size_t size, loff_t *at)
{
	int found = 0;

	mutex_lock(&e.lock);
	if (!e.on) {
		for_each_kernel_tracepoint(connect, &found);
		e.on = found == ARRAY_SIZE(probes);
	}
	mutex_unlock(&e.lock);
	return e.on ? size : -EOPNOTSUPP;
}

static const struct file_operations entries_fops = {
	.owner = THIS_MODULE, .open = entries_open, .read = seq_read, .write = entries_start, .llseek = seq_lseek,
	.release = single_release,
};

/*
 * Takes one page of each 2 MiB that are free. So no buffer object of 4 KiB pages gets an entry of 2 MiB because its pages
 * happen to be in a row. If 0 is written, all are given back.
 */
static ssize_t scatter(struct file *file, const char __user *text, size_t size, loff_t *at)
{
	static DEFINE_MUTEX(lock);
	static struct page *taken;
	struct page *page, *next, *all = NULL;
	char first;
	int i;

	if (!size || get_user(first, text))
		return -EFAULT;
	guard(mutex)(&lock);
	if (first == '0') {
		for (page = taken; page; page = next) {
			next = (struct page *)page->private;
			page->private = 0;
			__free_page(page);
		}
		taken = NULL;
		return size;
	}
	while ((page = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, 9))) {
		page->private = (unsigned long)all;
		all = page;
	}
	for (page = all; page; page = next) {
		next = (struct page *)page->private;
		page->private = 0;
		split_page(page, 9);
		for (i = 0; i < 512; i++)
			if (i != 256)
				__free_page(page + i);
		page[256].private = (unsigned long)taken;
		taken = page + 256;
	}
	return size;
}

static const struct file_operations scatter_fops = { .owner = THIS_MODULE, .write = scatter };

/*
 * As many blocks of 2 MiB as are written become free in such an order that their pages are what is taken next, from the
 * first to the last of each block: if nothing else needs memory meanwhile, a buffer object lies in a row.
 */
static ssize_t line_up(struct file *file, const char __user *text, size_t size, loff_t *at)
{
	struct page *page, *next, *all = NULL;
	unsigned int count;
	int i, ret = kstrtouint_from_user(text, size, 0, &count);

	if (ret)
		return ret;
	while (count-- && (page = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, 9))) {
		page->private = (unsigned long)all;
		all = page;
	}
	for (page = all; page; page = next) {
		next = (struct page *)page->private;
		page->private = 0;
		split_page(page, 9);
		for (i = 511; i >= 0; i--)
			__free_page(page + i);
	}
	return size;
}

static const struct file_operations line_up_fops = { .owner = THIS_MODULE, .write = line_up };

/* -------- the three lines as an interrupt controller -------- */

static int map_line(struct irq_domain *d, unsigned int virq, irq_hw_number_t hw)
{
	if (hw >= IRQS)
		return -EINVAL;
	irq_set_chip_and_handler(virq, &dummy_irq_chip, handle_simple_irq);
	g.virq[hw] = virq;
	return 0;
}

static const struct irq_domain_ops line_ops = { .map = map_line, .xlate = irq_domain_xlate_onecell };

static int __init fakegpu_init(void)
{
	struct device_node *intc, *gpu;
	struct platform_device *pdev;
	int ret;

	intc = of_find_compatible_node(NULL, NULL, "panvk-sparse,fake-irq");
	g.bus = of_find_compatible_node(NULL, NULL, "panvk-sparse,fake-bus");
	gpu = of_find_compatible_node(NULL, NULL, "arm,mali-valhall-csf");
	if (!intc || !g.bus || !gpu || of_address_to_resource(gpu, 0, &g.res))
		return -ENODEV;
	raw_spin_lock_init(&g.lock);
	tasklet_setup(&g.line, line_work);
	reset();
	g.flush_id = phys_to_virt(g.res.start + FLUSH_ID);
	*g.flush_id = 1;
	g.domain = irq_domain_create_linear(of_fwnode_handle(intc), IRQS, &line_ops, NULL);
	if (!g.domain)
		return -ENOMEM;
	g.res.flags = IORESOURCE_MEM;
	g.res.name = "fake GPU";
	ret = logic_iomem_add_region(&g.res, &region_ops);
	if (ret)
		return ret;
	g.dir = debugfs_create_dir("fakegpu", NULL);
	debugfs_create_file("counters", 0444, g.dir, NULL, &counters_fops);
	debugfs_create_file("tables", 0444, g.dir, NULL, &tables_fops);
	debugfs_create_file("mappings", 0444, g.dir, (void *)1, &tables_fops);
	debugfs_create_file("pages", 0444, g.dir, NULL, &pages_fops);
	mutex_init(&e.lock);
	xa_init_flags(&e.tables, XA_FLAGS_LOCK_IRQ);
	debugfs_create_file("entries", 0666, g.dir, NULL, &entries_fops);
	debugfs_create_file("scatter", 0222, g.dir, NULL, &scatter_fops);
	debugfs_create_file("line_up", 0222, g.dir, NULL, &line_up_fops);
	ret = of_platform_populate(g.bus, NULL, NULL, NULL);
	pdev = ret ? NULL : of_find_device_by_node(gpu);
	g.dev = pdev ? &pdev->dev : NULL;
	return ret;
}
module_init(fakegpu_init);
MODULE_DESCRIPTION("The registers of a Mali CSF GPU, for panthor on User Mode Linux");
MODULE_LICENSE("GPL");
