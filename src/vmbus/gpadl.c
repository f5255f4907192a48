/*
 * gpadl.c - what the guest says of its pages: a GPADL (guest physical address descriptor list) is
 * a list of ranges, each a length, an offset into the first page, and the numbers of its pages. It
 * comes in a header message and as many body messages as it needs, and is checked when it is whole.
 *
 * Source: Linux drivers/hv/channel.c, create_gpadl_header().
 */
#include "vmbus/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX                                                                                  \
	(1u << 21) /* of all GPADLs of a guest: 16 MiB here, descriptions of 8 GiB there */

static struct vmbus_gpadl **bucket_of(struct vmbus *bus, uint32_t id)
{
	return &bus->gpadl[id % GPADL_BUCKETS];
}

static struct vmbus_gpadl *find(struct vmbus *bus, uint32_t id)
{
	struct vmbus_gpadl *g = *bucket_of(bus, id);

	while (g && g->id != id)
		g = g->next;
	return g;
}

static void insert(struct vmbus *bus, struct vmbus_gpadl *g)
{
	struct vmbus_gpadl **bucket = bucket_of(bus, g->id), **siblings = &bus->gpadls_of[g->relid];

	g->next = *bucket;
	*bucket = g;
	g->sibling = *siblings;
	*siblings = g;
	bus->gpadl_words += g->need;
}

static void forget(struct vmbus *bus, struct vmbus_gpadl *gpadl)
{
	struct vmbus_gpadl **at = bucket_of(bus, gpadl->id);

	while (*at != gpadl)
		at = &(*at)->next;
	*at = gpadl->next;
	at = &bus->gpadls_of[gpadl->relid];
	while (*at != gpadl)
		at = &(*at)->sibling;
	*at = gpadl->sibling;
	bus->gpadl_words -= gpadl->need;
	free(gpadl->words);
	free(gpadl);
}

void gpadl_forget(struct vmbus *bus, uint32_t relid)
{
	struct vmbus_gpadl *next;

	for (struct vmbus_gpadl *g = bus->gpadls_of[relid]; g; g = next) {
		next = g->sibling;
		if (!g->users)
			forget(bus, g);
	}
}

void gpadl_forget_all(struct vmbus *bus)
{
	for (uint32_t relid = 1; relid < bus->channels_end; relid++)
		gpadl_forget(bus, relid);
}

/* ---- Creating ------------------------------------------------------------------------------- */

static uint64_t pages_of(const struct vmbus_gpa_range *range)
{
	return ((uint64_t)range->byte_offset + range->byte_count + VMBUS_PAGE - 1) / VMBUS_PAGE;
}

/* Does every range have all its pages, and is each of them memory? */
static bool valid(const struct vmbus *bus, const struct vmbus_gpadl *g)
{
	unsigned at = 0;

	for (unsigned i = 0; i < g->ranges; i++) {
		struct vmbus_gpa_range range;
		uint64_t pages;

		if (at == g->need)
			return false;
		memcpy(&range, &g->words[at++], sizeof(range));
		pages = pages_of(&range);
		if (!range.byte_count || range.byte_offset >= VMBUS_PAGE || pages > g->need - at)
			return false;
		for (; pages; pages--, at++) {
			if (!memory_page(&bus->memory, g->words[at]))
				return false;
		}
	}
	return true;
}

static void answer(struct vmbus *bus, uint32_t relid, uint32_t id, bool created)
{
	struct vmbus_gpadl_created response = {
		.relid = relid,
		.gpadl = id,
		.status = created ? VMBUS_STATUS_SUCCESS : VMBUS_STATUS_UNSUCCESSFUL,
	};

	bus_send(bus, VMBUS_GPADL_CREATED, &response, sizeof(response));
}

/* Take what the message has of the list; with its last word the list is there. */
static void append(struct vmbus *bus, struct vmbus_gpadl *g, const uint8_t *words, uint32_t bytes)
{
	unsigned count = bytes / 8;

	if (count > g->need - g->have)
		count = g->need - g->have;
	memcpy(g->words + g->have, words, count * 8);
	g->have += count;
	if (g->have < g->need)
		return;
	if (valid(bus, g)) {
		answer(bus, g->relid, g->id, true);
		return;
	}
	bus_complain(bus, "describes pages that it does not have");
	answer(bus, g->relid, g->id, false);
	forget(bus, g);
}

static struct vmbus_gpadl *create(struct vmbus *bus, const struct vmbus_gpadl_header *header)
{
	unsigned need = header->range_bytes / 8;
	struct vmbus_gpadl *g;

	if (!header->gpadl || !header->range_count || !need || find(bus, header->gpadl) ||
		!offer_find(bus, header->relid) || need > WORDS_MAX - bus->gpadl_words)
		return NULL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->words = malloc(need * sizeof(*g->words));
	if (!g->words) {
		free(g);
		return NULL;
	}
	g->id = header->gpadl;
	g->relid = header->relid;
	g->ranges = header->range_count;
	g->need = need;
	insert(bus, g);
	return g;
}

void gpadl_header(struct vmbus *bus, const struct message *m)
{
	struct vmbus_gpadl_header header;
	struct vmbus_gpadl *g;

	memcpy(&header, m->payload, sizeof(header));
	g = create(bus, &header);
	if (g) {
		append(bus, g, m->payload + sizeof(header), m->size - (uint32_t)sizeof(header));
		return;
	}
	bus_complain(bus, "describes pages in a way that makes no sense");
	answer(bus, header.relid, header.gpadl, false);
}

void gpadl_body(struct vmbus *bus, const struct message *m)
{
	struct vmbus_gpadl_body body;
	struct vmbus_gpadl *g;

	memcpy(&body, m->payload, sizeof(body));
	g = find(bus, body.gpadl);
	if (g && g->have < g->need)
		append(bus, g, m->payload + sizeof(body), m->size - (uint32_t)sizeof(body));
	else
		bus_complain(bus, "goes on describing pages that it did not begin to");
}

/* ---- Using and tearing down ------------------------------------------------------------------ */

struct vmbus_gpadl *gpadl_get(struct vmbus *bus, uint32_t relid, uint32_t id)
{
	struct vmbus_gpadl *g = find(bus, id);

	if (!g || g->relid != relid || g->have < g->need || g->torn)
		return NULL;
	g->users++;
	return g;
}

/* Once this is answered the guest does what it likes with the pages. */
static void torn_down(struct vmbus *bus, struct vmbus_gpadl *g)
{
	struct vmbus_gpadl_torndown response = {.gpadl = g->id};

	forget(bus, g);
	bus_send(bus, VMBUS_GPADL_TORNDOWN, &response, sizeof(response));
}

void gpadl_put(struct vmbus *bus, struct vmbus_gpadl *g)
{
	if (--g->users == 0 && g->torn)
		torn_down(bus, g);
}

void gpadl_teardown(struct vmbus *bus, uint32_t relid, uint32_t id)
{
	struct vmbus_gpadl *g = find(bus, id);

	if (!g || g->relid != relid || g->torn) {
		bus_complain(bus, "takes back pages that it did not describe");
		return;
	}
	g->torn = true;
	if (!g->users)
		torn_down(bus, g);
}

int gpadl_pages(
	const struct vmbus_gpadl *g, const uint64_t **pages, uint64_t *offset, uint64_t *bytes)
{
	struct vmbus_gpa_range range;

	if (g->ranges != 1)
		return -EPROTO;
	memcpy(&range, g->words, sizeof(range));
	*pages = g->words + 1;
	*offset = range.byte_offset;
	*bytes = range.byte_count;
	return (int)pages_of(&range);
}

int vmbus_gpadl_map(struct vmbus_channel *ch, uint32_t id, struct vmbus_mapping *mapping)
{
	struct vmbus *bus = ch->bus;
	uint32_t relid = ch->primary ? ch->primary->relid : ch->relid;
	struct memory_view view = {0};
	const uint64_t *pages;
	uint64_t offset = 0, bytes = 0;
	struct vmbus_gpadl *g;
	int count, err;

	pthread_mutex_lock(&bus->lock);
	g = gpadl_get(bus, ch->relid, id);
	if (!g)
		g = gpadl_get(bus, relid, id);
	pthread_mutex_unlock(&bus->lock);
	if (!g)
		return -ENOENT;
	/* A list that is held does not change. */
	count = gpadl_pages(g, &pages, &offset, &bytes);
	err = count < 0 ? count
			: memory_view_create(
				  &bus->memory, pages, (unsigned)count, (unsigned)count, &view);
	*mapping = (struct vmbus_mapping){.base = view.base + offset,
		.size = bytes,
		.gpadl = g,
		.view = view.base,
		.view_bytes = view.size,
		.pieces = view.pieces};
	if (err)
		vmbus_gpadl_unmap(ch, mapping);
	return err;
}

void vmbus_gpadl_unmap(struct vmbus_channel *ch, struct vmbus_mapping *mapping)
{
	struct vmbus *bus = ch->bus;
	struct memory_view view = {mapping->view, mapping->view_bytes, mapping->pieces};

	if (!mapping->gpadl)
		return;
	memory_view_destroy(&bus->memory, &view);
	pthread_mutex_lock(&bus->lock);
	gpadl_put(bus, mapping->gpadl);
	pthread_mutex_unlock(&bus->lock);
	*mapping = (struct vmbus_mapping){0};
}
