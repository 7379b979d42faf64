/*
 * proxy_proto.h - the PROXY protocol, versions 1 and 2: who the client behind a load balancer
 * is. layer: net
 *
 *   v1   "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"            at most 107 bytes
 *   v2   12 bytes of signature, command, family, length, addresses, TLVs
 *
 * Pure: bytes in, an address out. The header stands before everything else on a connection,
 * before TLS too. It is believed only on listeners that are told to expect one, because whoever
 * can send it can claim any address.
 *
 * Specification: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt
 */
#ifndef CONSENTD_PROXY_PROTO_H
#define CONSENTD_PROXY_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "consentd/attr.h"
#include "consentd/str.h"

#define PROXY_PROTO_V1_MAX 107        /* bytes of a version 1 line with its CR LF (2.1) */
#define PROXY_PROTO_MAX    (16 + 512) /* bytes of any header taken: addresses and TLVs */

enum proxy_proto_status {
    PROXY_PROTO_BAD = 0, /* not a header, or one that lies about itself: close, answer nothing */
    PROXY_PROTO_MORE,    /* good so far: show the same bytes again with more behind them */
    PROXY_PROTO_OK,
};

struct proxy_proto {
    size_t used; /* bytes of the header; what follows is the client's */
    /*
     * The client, when the header names one: AF_INET or AF_INET6. AF_UNSPEC: it does not
     * (LOCAL, as in health checks; UNKNOWN; a unix socket): the peer of the connection stands.
     */
    struct sockaddr_storage client;
    socklen_t client_len; /* 0 for AF_UNSPEC */
};

/*
 * Reads one header from the start of `in`. *out is set only for OK. Never waits for more bytes
 * than PROXY_PROTO_MAX. A version 2 checksum (PP2_TYPE_CRC32C, 2.2.4) is verified where there
 * is one; other TLVs are skipped, but must fit.
 */
MUST_USE enum proxy_proto_status proxy_proto_read(struct str in, struct proxy_proto *out);

#endif
