/*
 * url_priv.h - the host part of a URL, for url.c.
 */
#ifndef CONSENTD_URL_PRIV_H
#define CONSENTD_URL_PRIV_H

#include "consentd/arena.h"
#include "consentd/url.h"

enum host_result {
    HOST_FAIL = 0, /* a browser fetches nothing; *out is empty */
    HOST_SUSPECT,  /* *out is our best guess; empty when it is too long or the arena is full */
    HOST_NAME,
    HOST_IP,
};

/* The canonical form of what stands between "//" and the port, brackets included. */
enum host_result url_host(struct str in, struct arena *a, struct str *out);

/* Escapes of unreserved characters undone, upper-case hex left alone; in place. New length. */
size_t url_unescape(char *text, size_t len);

#endif
