/*
 * sample.h - what the sample programs have in common: GUIDs as text, and failing.
 */
#ifndef PARTITA_TESTS_SOCKETS_SAMPLE_H
#define PARTITA_TESTS_SOCKETS_SAMPLE_H

#include <guiddef.h>

#include <stdio.h>
#include <stdlib.h>

static inline void sample_fail(const char *what)
{
	perror(what);
	exit(1);
}

static inline GUID sample_guid(const char *text)
{
	unsigned d[8];
	GUID g;

	if (sscanf(text, "%8x-%4hx-%4hx-%2x%2x-%2x%2x%2x%2x%2x%2x", &g.Data1, &g.Data2, &g.Data3,
		    &d[0], &d[1], &d[2], &d[3], &d[4], &d[5], &d[6], &d[7]) != 11) {
		fprintf(stderr, "%s: no GUID\n", text);
		exit(2);
	}
	for (int i = 0; i < 8; i++)
		g.Data4[i] = d[i];
	return g;
}

static inline void sample_print(const GUID *g)
{
	const unsigned char *d = g->Data4;

	printf("%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x\n", g->Data1, g->Data2, g->Data3,
		d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]);
	fflush(stdout);
}

#endif
