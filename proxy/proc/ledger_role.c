/*
 * ledger_role.c - the single writer of the consent ledger on this machine.
 *
 * Workers and the admin hang on it by socket pairs that the master hands out; each gets a
 * number that an answer finds its way back by. A link that ended leaves its number unused.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/ledger.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"

#define PEERS_MAX    256   /* links at once: workers of several generations, the admin */
#define LOCK_WAIT_MS 60000 /* for a predecessor that is finishing */

struct peer {
    struct role *role;
    uint64_t id; /* 0: free */
    struct ipc *ipc;
};

struct role {
    struct loop *loop;
    struct generation *generation;
    struct ledger *ledger;
    struct ipc *master;
    struct peer peers[PEERS_MAX];
    uint64_t last_id;
};

static struct peer *peer_of(struct role *role, uint64_t id)
{
    struct peer *peer = &role->peers[id % PEERS_MAX];

    return peer->id == id ? peer : NULL;
}

static void on_ack(void *owner, uint64_t id, const struct ledger_ack *ack)
{
    struct peer *peer = peer_of(owner, id);

    if (peer != NULL && !ipc_send(peer->ipc, IPC_ACK, ack, sizeof(*ack), -1))
        log_warn("peer.link_full", "");
}

static void on_ready(void *owner)
{
    struct role *role = owner;

    log_info("ledger.ready", "");
    if (!ipc_send(role->master, IPC_READY, NULL, 0, -1))
        log_warn("master.link_full", "");
}

static void status_send(struct peer *peer, const void *data, size_t len)
{
    struct ledger_status status;
    uint64_t id = 0;

    if (len != sizeof(id))
        return;
    memcpy(&id, data, sizeof(id));
    memset(&status, 0, sizeof(status));
    ledger_status_get(peer->role->ledger, &status);
    status.id = id;
    if (!ipc_send(peer->ipc, IPC_LEDGER_STATUS, &status, sizeof(status), -1))
        log_warn("peer.link_full", "");
}

static void on_peer_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct peer *peer = owner;

    if (fd >= 0)
        close(fd);
    if (type == IPC_EVENT)
        ledger_event(peer->role->ledger, peer->id, str_make(data, len));
    else if (type == IPC_OPLOG)
        ledger_oplog(peer->role->ledger, peer->id, str_make(data, len));
    else if (type == IPC_LEDGER_STATUS)
        status_send(peer, data, len);
}

static void on_peer_closed(void *owner)
{
    struct peer *peer = owner;

    ipc_free(peer->ipc);
    peer->ipc = NULL;
    peer->id = 0;
}

static void peer_add(struct role *role, int fd)
{
    static const struct ipc_ops ops = {on_peer_msg, on_peer_closed};

    for (unsigned i = 0; i < PEERS_MAX; i++) {
        struct peer *peer = &role->peers[++role->last_id % PEERS_MAX];

        if (peer->id != 0 || role->last_id == 0)
            continue;
        peer->role = role;
        peer->id = role->last_id;
        peer->ipc = ipc_new(role->loop, fd, &ops, peer);
        return;
    }
    log_error("peer.too_many", "max=%d", PEERS_MAX);
    close(fd);
}

static void on_master_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct role *role = owner;

    UNUSED(data);
    UNUSED(len);
    if (type == IPC_PEER && fd >= 0) {
        peer_add(role, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (type == IPC_DRAIN)
        loop_stop(role->loop);
}

/* The master is gone: the workers finish by themselves; what they sent is in our sockets. */
static void on_master_closed(void *owner)
{
    struct role *role = owner;

    log_warn("master.gone", "");
    loop_stop(role->loop);
}

static struct ledger *ledger_start(struct role *role, struct fault *f)
{
    static const struct ledger_ops ops = {on_ack, on_ready};
    const struct config *config = role->generation->config;
    const struct key *idx = keyring_active(role->generation->keyring, KEY_IDX);
    char *keks = file_resolve(config->state_dir, "keks.json");
    struct str password = STR("");
    struct str ca = STR("");
    struct ledger *ledger = NULL;

    if (bundle_get(role->generation->bundle, STR(BUNDLE_REDIS), &password))
        password = str_trim(password);
    while (password.len > 0 && password.ptr[password.len - 1] == '\n')
        password.len--;
    if (config->ledger.redis_ca != NULL &&
        !bundle_get(role->generation->bundle, str_c(config->ledger.redis_ca), &ca))
        ca = STR("");
    struct ledger_config setup = {
        .journal_dir = config->ledger.journal,
        .keks_path = keks,
        .site = config->ledger.name != NULL ? config->ledger.name : config->sites[0].hosts.items[0],
        .node = (uint8_t)config->ledger.node,
        .segment_size = config->ledger.segment_size,
        .retention_ms = config->ledger.journal_retention_ms,
        .lock_wait_ms = LOCK_WAIT_MS,
        .idx_key = idx == NULL ? NULL : idx->bytes,
        .redis_url = config->ledger.redis == NULL ? STR("") : str_c(config->ledger.redis),
        .redis_user = password.len > 0 ? STR("consentd") : STR(""),
        .redis_password = password,
        .redis_ca = ca,
    };

    if (idx == NULL)
        fault_set(f, "%s: no active key of use idx", config->keys);
    else
        ledger = ledger_new(role->loop, &setup, &ops, role, f);
    free(keks);
    return ledger;
}

int ledger_main(unsigned slot)
{
    static const struct ipc_ops ops = {on_master_msg, on_master_closed};
    struct role *role = mem_new(struct role);
    struct fault fault = {""};

    role->generation = child_begin("ledger", slot);
    if (role->generation == NULL)
        return 1;
    role->loop = loop_new();
    role->ledger = ledger_start(role, &fault);
    if (role->ledger == NULL) {
        log_error("ledger.failed", "reason=\"%s\"", fault.text);
        return 1;
    }
    role->master = ipc_new(role->loop, CHILD_FD_CONTROL, &ops, role);
    loop_run(role->loop);
    ledger_free(role->ledger); /* commits what is queued; the acks go out below */
    for (unsigned i = 0; i < PEERS_MAX; i++)
        ipc_free(role->peers[i].ipc);
    ipc_free(role->master);
    loop_poll(role->loop);
    generation_free(role->generation);
    loop_free(role->loop);
    free(role);
    return 0;
}
