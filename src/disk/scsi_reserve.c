/*
 * scsi_reserve.c - reservations: persistent ones, with keys that a nexus registers, and RESERVE(6).
 * They last as long as the unit: nothing is kept over its end (APTPL is not offered).
 *
 * Facts: SPC-4, 5.13 (the model; table 66 for what each type lets through), 6.15, 6.16.
 */
#include <string.h>

#include "disk/scsi_unit.h"

enum type {
	WRITE_EXCLUSIVE = 1,
	EXCLUSIVE_ACCESS = 3,
	WRITE_EXCLUSIVE_REGISTRANTS = 5,
	EXCLUSIVE_ACCESS_REGISTRANTS = 6,
	WRITE_EXCLUSIVE_ALL = 7,
	EXCLUSIVE_ACCESS_ALL = 8,
};

#define TYPES 0x01ea /* a bit each */

static bool known_type(unsigned type)
{
	return type < 16 && TYPES >> type & 1;
}

/* Do all registered nexuses hold it together? */
static bool held_by_all(unsigned type)
{
	return type == WRITE_EXCLUSIVE_ALL || type == EXCLUSIVE_ACCESS_ALL;
}

static bool registrants_pass(unsigned type)
{
	return type >= WRITE_EXCLUSIVE_REGISTRANTS;
}

static bool only_writes(unsigned type)
{
	return type == WRITE_EXCLUSIVE || type == WRITE_EXCLUSIVE_REGISTRANTS ||
	       type == WRITE_EXCLUSIVE_ALL;
}

static struct scsi_registration *find(struct scsi_reservations *v, uint64_t nexus)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->of[i].nexus == nexus)
			return &v->of[i];
	return NULL;
}

static bool holds(const struct scsi_reservations *v, uint64_t nexus, bool registered)
{
	return v->type && (held_by_all(v->type) ? registered : v->holder == nexus);
}

bool scsi_reserved_against(
	struct scsi_unit *u, const struct scsi_request *r, unsigned needs, uint16_t *attention)
{
	struct scsi_reservations *v = &u->reservations;
	struct scsi_registration *own;
	bool conflict = false;

	pthread_mutex_lock(&u->lock);
	own = find(v, r->nexus);
	if (own && !(needs & SCSI_ANY_TIME)) {
		*attention = own->attention;
		own->attention = 0;
	}
	if (v->plain)
		conflict = v->holder != r->nexus && !(needs & SCSI_ANY_TIME) &&
			   r->cdb[0] != SCSI_RELEASE_6;
	else if (v->type && !holds(v, r->nexus, own) && !(own && registrants_pass(v->type)))
		conflict = needs & SCSI_WRITES || (needs & SCSI_READS && !only_writes(v->type));
	pthread_mutex_unlock(&u->lock);
	return conflict;
}

/* Under the lock: is there anything that scsi_submit() must ask about? */
static void note(struct scsi_unit *u)
{
	u->reserved = u->reservations.n || u->reservations.plain;
}

/* ---- PERSISTENT RESERVE IN
 * ----------------------------------------------------------------------- */

#define IN_ROOM (8 + SCSI_NEXUSES * 32)

static size_t read_keys(const struct scsi_reservations *v, uint8_t *p)
{
	for (unsigned i = 0; i < v->n; i++)
		scsi_put64(p + 8 + i * 8, v->of[i].key);
	return v->n * 8;
}

static size_t read_reservation(const struct scsi_reservations *v, uint8_t *p)
{
	if (!v->type)
		return 0;
	scsi_put64(p + 8, held_by_all(v->type) ? 0 : v->key);
	p[8 + 13] = v->type; /* the scope above it is 0: the unit */
	return 16;
}

/* Each with an empty TransportID: a nexus here has no name that other hosts would know. */
static size_t read_full_status(const struct scsi_reservations *v, uint8_t *p)
{
	for (unsigned i = 0; i < v->n; i++) {
		uint8_t *d = p + 8 + i * 24;

		scsi_put64(d, v->of[i].key);
		if (holds(v, v->of[i].nexus, true)) {
			d[12] = 1;
			d[13] = v->type;
		}
		scsi_put16(d + 18, (uint16_t)(i + 1));
	}
	return v->n * 24;
}

static void report_capabilities(struct scsi_request *r)
{
	uint8_t data[8] = {0, 8};

	data[3] = 0x80; /* the type mask is valid */
	data[4] = TYPES & 0xff;
	data[5] = TYPES >> 8;
	scsi_reply(r, data, sizeof(data), scsi_get16(r->cdb + 7));
}

void scsi_reserve_in(struct scsi_unit *u, struct scsi_request *r)
{
	static size_t (*const actions[])(const struct scsi_reservations *, uint8_t *) = {
		[0] = read_keys, [1] = read_reservation, [3] = read_full_status};
	unsigned action = r->cdb[1] & 0x1f;
	uint8_t data[IN_ROOM] = {0};
	size_t n;

	if (action == 2) {
		report_capabilities(r);
		return;
	}
	if (action > 3) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	pthread_mutex_lock(&u->lock);
	n = actions[action](&u->reservations, data);
	scsi_put32(data, u->reservations.generation);
	pthread_mutex_unlock(&u->lock);
	scsi_put32(data + 4, (uint32_t)n);
	scsi_reply(r, data, 8 + n, scsi_get16(r->cdb + 7));
}

/* ---- PERSISTENT RESERVE OUT
 * ---------------------------------------------------------------------- */

/* How a service action ends. */
enum end { GOOD, CONFLICT, BAD_FIELD, BAD_RELEASE, FULL };

struct out {
	uint64_t nexus, key, action_key;
	unsigned action, type;
};

/* Everyone but @nexus is told at the next command. */
static void tell_others(struct scsi_reservations *v, uint64_t nexus, uint16_t attention)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->of[i].nexus != nexus)
			v->of[i].attention = attention;
}

static void drop(struct scsi_reservations *v, struct scsi_registration *g)
{
	*g = v->of[--v->n];
}

/* Its holder unregisters, and with a type for all the last one: then the reservation ends. */
static void unregister(struct scsi_reservations *v, struct scsi_registration *g)
{
	uint64_t nexus = g->nexus;
	bool held = holds(v, nexus, true);

	drop(v, g);
	if (!held || (held_by_all(v->type) && v->n))
		return;
	if (registrants_pass(v->type))
		tell_others(v, nexus, SCSI_RESERVATIONS_RELEASED);
	v->type = 0;
}

static enum end do_register(struct scsi_reservations *v, const struct out *o, bool ignore)
{
	struct scsi_registration *g = find(v, o->nexus);

	if (!ignore && o->key != (g ? g->key : 0))
		return CONFLICT;
	if (!g && !o->action_key)
		return GOOD;
	if (!g) {
		if (v->n == SCSI_NEXUSES)
			return FULL;
		g = &v->of[v->n++];
		*g = (struct scsi_registration){.nexus = o->nexus};
	}
	v->generation++;
	if (!o->action_key) {
		unregister(v, g);
		return GOOD;
	}
	g->key = o->action_key;
	if (v->type && v->holder == o->nexus)
		v->key = o->action_key;
	return GOOD;
}

static void take(struct scsi_reservations *v, const struct out *o, uint64_t key)
{
	v->type = (uint8_t)o->type;
	v->holder = o->nexus;
	v->key = key;
}

static enum end do_reserve(struct scsi_reservations *v, const struct out *o)
{
	if (!known_type(o->type))
		return BAD_FIELD;
	if (v->type)
		return holds(v, o->nexus, true) && v->type == o->type ? GOOD : CONFLICT;
	take(v, o, o->key);
	return GOOD;
}

static enum end do_release(struct scsi_reservations *v, const struct out *o)
{
	if (!holds(v, o->nexus, true))
		return GOOD;
	if (v->type != o->type)
		return BAD_RELEASE;
	if (registrants_pass(v->type))
		tell_others(v, o->nexus, SCSI_RESERVATIONS_RELEASED);
	v->type = 0;
	return GOOD;
}

static enum end do_clear(struct scsi_reservations *v, const struct out *o)
{
	/*
	 * The others lose their registrations, and with those the place where they would be told.
	 */
	v->n = 0;
	v->type = 0;
	v->generation++;
	return GOOD;
}

/* Removes the registrations with @key but the asker's; how many there were. */
static unsigned expel(struct scsi_reservations *v, uint64_t nexus, uint64_t key, bool all)
{
	unsigned n = 0;

	for (unsigned i = v->n; i-- > 0;) {
		if (v->of[i].nexus == nexus || (!all && v->of[i].key != key))
			continue;
		drop(v, &v->of[i]);
		n++;
	}
	return n;
}

/* SPC-4, 5.13.11.4 */
static enum end do_preempt(struct scsi_reservations *v, const struct out *o)
{
	bool all = v->type && held_by_all(v->type);
	bool whole = all ? !o->action_key : v->type && v->key == o->action_key;

	if (!o->action_key && !all)
		return BAD_FIELD;
	if (!whole)
		return expel(v, o->nexus, o->action_key, false) ? (v->generation++, GOOD)
								: CONFLICT;
	if (!known_type(o->type))
		return BAD_FIELD;
	expel(v, o->nexus, o->action_key, all);
	if (v->type != o->type)
		tell_others(v, o->nexus, SCSI_RESERVATIONS_RELEASED);
	take(v, o, o->key);
	v->generation++;
	return GOOD;
}

static enum end act(struct scsi_reservations *v, const struct out *o)
{
	const struct scsi_registration *own = find(v, o->nexus);

	if (o->action == 0)
		return do_register(v, o, false);
	if (o->action == 6)
		return do_register(v, o, true);
	if (!own || own->key != o->key)
		return CONFLICT;
	switch (o->action) {
	case 1:
		return do_reserve(v, o);
	case 2:
		return do_release(v, o);
	case 3:
		return do_clear(v, o);
	case 4:
	case 5: /* and abort: commands that run are let run to their end */
		return do_preempt(v, o);
	default:
		return BAD_FIELD;
	}
}

void scsi_reserve_out(struct scsi_unit *u, struct scsi_request *r)
{
	static const uint16_t codes[] = {[BAD_FIELD] = SCSI_INVALID_FIELD_IN_CDB,
		[BAD_RELEASE] = SCSI_INVALID_RELEASE,
		[FULL] = SCSI_INSUFFICIENT_REGISTRATION};
	struct out o = {.nexus = r->nexus, .action = r->cdb[1] & 0x1f, .type = r->cdb[2] & 0x0f};
	uint8_t list[24];
	enum end end;

	if (scsi_get32(r->cdb + 5) != sizeof(list) || !scsi_fetch(r, list, sizeof(list), 0)) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
		return;
	}
	if (r->cdb[2] >> 4) { /* the only scope there is: the unit */
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	if (list[20] & 0x0d) { /* other ports, other initiators, power loss: not offered */
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_LIST);
		return;
	}
	o.key = scsi_get64(list);
	o.action_key = scsi_get64(list + 8);
	pthread_mutex_lock(&u->lock);
	end = act(&u->reservations, &o);
	note(u);
	pthread_mutex_unlock(&u->lock);
	if (end == GOOD)
		scsi_end(r, sizeof(list));
	else if (end == CONFLICT)
		scsi_conflict(r);
	else
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, codes[end]);
}

/* ---- RESERVE(6) and RELEASE(6), of SPC-2
 * ---------------------------------------------------------- */

void scsi_reserve_6(struct scsi_unit *u, struct scsi_request *r)
{
	struct scsi_reservations *v = &u->reservations;
	bool conflict;

	pthread_mutex_lock(&u->lock);
	conflict = v->n || (v->plain && v->holder != r->nexus);
	if (!conflict) {
		v->plain = true;
		v->holder = r->nexus;
	}
	note(u);
	pthread_mutex_unlock(&u->lock);
	if (conflict)
		scsi_conflict(r);
	else
		scsi_end(r, 0);
}

void scsi_release_6(struct scsi_unit *u, struct scsi_request *r)
{
	struct scsi_reservations *v = &u->reservations;

	pthread_mutex_lock(&u->lock);
	if (v->plain && v->holder == r->nexus)
		v->plain = false;
	note(u);
	pthread_mutex_unlock(&u->lock);
	scsi_end(r, 0);
}
