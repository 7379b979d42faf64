/*
 * ipc.c - contract in consentd/ipc.h.
 *
 * Queue of messages that the kernel did not take:  u32 len | i32 fd | u16 type, payload
 */
#include "consentd/ipc.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/loop.h"
#include "consentd/mem.h"

struct waiting_head {
    uint32_t len; /* of type and payload */
    int32_t fd;   /* owned, or -1 */
};

struct ipc {
    struct loop *loop; /* borrowed */
    int fd;            /* owned */
    const struct ipc_ops *ops;
    void *owner;
    struct event *read_event, *write_event; /* owned */
    struct deferred closing;                /* tells on_closed, or frees, at the end of the turn */
    struct buf queue;
    uint8_t *in; /* owned; type and payload of one message */
    bool write_on, dead, freed;
};

bool ipc_pair(int fds_out[2])
{
    int size = 1 << 20;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds_out) != 0)
        return false;
    for (int i = 0; i < 2; i++)
        setsockopt(fds_out[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return true;
}

/* Descriptors that wait in the queue are closed with it. */
static void queue_drop(struct ipc *ipc)
{
    while (ipc->queue.len > 0) {
        struct waiting_head head;

        memcpy(&head, ipc->queue.data, sizeof(head));
        if (head.fd >= 0)
            close(head.fd);
        buf_consume(&ipc->queue, sizeof(head) + head.len);
    }
}

static void on_closing(void *arg)
{
    struct ipc *ipc = arg;

    if (ipc->freed) {
        buf_free(&ipc->queue);
        free(ipc->in);
        free(ipc);
        return;
    }
    ipc->ops->on_closed(ipc->owner);
}

static void ipc_die(struct ipc *ipc)
{
    if (ipc->dead)
        return;
    ipc->dead = true;
    event_free(ipc->read_event);
    event_free(ipc->write_event);
    close(ipc->fd);
    queue_drop(ipc);
    loop_defer(ipc->loop, &ipc->closing);
}

void ipc_free(struct ipc *ipc)
{
    if (ipc == NULL)
        return;
    ipc_die(ipc);
    ipc->freed = true;
    loop_defer(ipc->loop, &ipc->closing);
}

/* 1 sent, 0 try later, -1 dead. */
static int packet_send(int fd, const void *packet, size_t len, int pass)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    memcpy(&iov.iov_base, &packet, sizeof(packet)); /* iovec has no const */
    if (pass >= 0) {
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof(control));
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &pass, sizeof(pass));
    }
    if (sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return 1;
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct ipc *ipc = arg;

    (void)what;
    while (ipc->queue.len > 0) {
        struct waiting_head head;
        int rc;

        memcpy(&head, ipc->queue.data, sizeof(head));
        rc = packet_send(fd, ipc->queue.data + sizeof(head), head.len, head.fd);
        if (rc == 0)
            return;
        if (rc < 0) {
            ipc_die(ipc);
            return;
        }
        if (head.fd >= 0)
            close(head.fd);
        crypto_wipe(ipc->queue.data, sizeof(head) + head.len); /* it may be about somebody */
        buf_consume(&ipc->queue, sizeof(head) + head.len);
    }
    event_del(ipc->write_event);
    ipc->write_on = false;
}

static bool packet_queue(struct ipc *ipc, const void *packet, size_t len, int fd)
{
    struct waiting_head head = {.len = (uint32_t)len, .fd = fd};

    if (ipc->queue.len + sizeof(head) + len > ipc->queue.max)
        return false;
    if (!buf_append(&ipc->queue, &head, sizeof(head)) || !buf_append(&ipc->queue, packet, len))
        return false;
    if (!ipc->write_on)
        ipc->write_on = event_add(ipc->write_event, NULL) == 0;
    return ipc->write_on;
}

bool ipc_send(struct ipc *ipc, uint16_t type, const void *data, size_t len, int fd)
{
    uint8_t packet[sizeof(type) + IPC_MSG_MAX];
    int rc = 0;

    if (ipc->dead || len > IPC_MSG_MAX) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    memcpy(packet, &type, sizeof(type));
    if (len > 0)
        memcpy(packet + sizeof(type), data, len);
    if (ipc->queue.len == 0)
        rc = packet_send(ipc->fd, packet, sizeof(type) + len, fd);
    if (rc == 0 && packet_queue(ipc, packet, sizeof(type) + len, fd))
        return true; /* the queue owns fd now */
    if (fd >= 0)
        close(fd);
    if (rc < 0)
        ipc_die(ipc);
    return rc > 0;
}

size_t ipc_queued(const struct ipc *ipc)
{
    return ipc->queue.len;
}

int ipc_fd(const struct ipc *ipc)
{
    return ipc->dead ? -1 : ipc->fd;
}

static int passed_fd(struct msghdr *msg)
{
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
    int fd = -1;

    if (cmsg != NULL && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
        cmsg->cmsg_len >= CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
    return fd;
}

/* One message; false: nothing more for now. */
static bool receive_one(struct ipc *ipc)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {ipc->in, sizeof(uint16_t) + IPC_MSG_MAX};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_LEN(sizeof(int))}; /* one: no second fits */
    ssize_t n = recvmsg(ipc->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    uint16_t type;
    int fd;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    fd = n < 0 ? -1 : passed_fd(&msg);
    if (n < (ssize_t)sizeof(type) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        if (fd >= 0)
            close(fd);
        ipc_die(ipc);
        return false;
    }
    memcpy(&type, ipc->in, sizeof(type));
    ipc->ops->on_msg(ipc->owner, type, ipc->in + sizeof(type), (size_t)n - sizeof(type), fd);
    crypto_wipe(ipc->in, (size_t)n);
    return !ipc->dead;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct ipc *ipc = arg;

    (void)fd;
    (void)what;
    for (unsigned i = 0; i < IPC_BUDGET; i++) {
        if (!receive_one(ipc))
            break;
    }
}

struct ipc *ipc_new(struct loop *loop, int fd, const struct ipc_ops *ops, void *owner)
{
    struct ipc *ipc = mem_new(struct ipc);

    ipc->loop = loop;
    ipc->fd = fd;
    ipc->ops = ops;
    ipc->owner = owner;
    ipc->closing.fn = on_closing;
    ipc->closing.arg = ipc;
    ipc->in = mem_alloc(sizeof(uint16_t) + IPC_MSG_MAX);
    buf_init(&ipc->queue, IPC_QUEUE_MAX);
    ipc->read_event = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, ipc);
    ipc->write_event = event_new(loop_base(loop), fd, EV_WRITE | EV_PERSIST, on_writable, ipc);
    ASSERT(ipc->read_event != NULL && ipc->write_event != NULL);
    ASSERT(event_add(ipc->read_event, NULL) == 0);
    return ipc;
}
