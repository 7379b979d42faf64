/*
 * ipc.h - messages between our processes, over a SOCK_SEQPACKET pair. layer: net
 *
 *   one packet = u16 type | payload (at most IPC_MSG_MAX bytes) [+ one descriptor]
 *
 * The kernel keeps message boundaries. What it does not take at once waits in a bounded queue.
 * Types and payloads are listed in ipc_msg.h; who receives checks the length.
 */
#ifndef CONSENTD_IPC_H
#define CONSENTD_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"

struct ipc;
struct loop;

#define IPC_MSG_MAX   (64u * 1024)        /* bytes of one payload */
#define IPC_QUEUE_MAX (16u * 1024 * 1024) /* bytes that wait for the other side */
#define IPC_BUDGET    256                 /* messages read per turn */

struct ipc_ops {
    /* data is valid during the call. fd is -1, or a descriptor that the callee now owns. */
    void (*on_msg)(void *owner, uint16_t type, const void *data, size_t len, int fd);

    /* The other process is gone; the last call. The owner calls ipc_free(). */
    void (*on_closed)(void *owner);
};

/* A connected pair, non-blocking and close-on-exec; false and errno. */
MUST_USE bool ipc_pair(int fds_out[2]);

/* Takes over fd. Never NULL. */
struct ipc *ipc_new(struct loop *loop, int fd, const struct ipc_ops *ops, void *owner);

/*
 * Sends, or queues when the other side is slow. fd is sent along and closed here (-1: none).
 * False: too long, the queue is full, or the other side is gone; fd is closed all the same.
 */
MUST_USE bool ipc_send(struct ipc *ipc, uint16_t type, const void *data, size_t len, int fd);

size_t ipc_queued(const struct ipc *ipc); /* bytes that wait */

/* Its socket, which stays its own, for a program that takes over from this one; -1: closed. */
int ipc_fd(const struct ipc *ipc);

/* Also from inside a callback. What is queued is lost. NULL is fine. */
void ipc_free(struct ipc *ipc);

#endif
