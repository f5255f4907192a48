/*
 * confine.h - what a relay gives up before it reads the first byte of a peer.
 */
#ifndef PARTITA_SESSION_CONFINE_H
#define PARTITA_SESSION_CONFINE_H

/*
 * relay_confine - keep two descriptors and memory: root becomes nobody, nothing can be opened,
 * started, or signalled. Returns 0, or a negative errno.
 */
int relay_confine(int keep, int keep_too);

#endif
