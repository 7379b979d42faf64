/*
 * ledger_role.c - the ledger process: messages of workers and the admin in, acks out.
 *
 * The master makes one socket pair per peer; a peer's number is its place in a small
 * table plus a generation, so that an ack for one that is gone finds nobody.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/bundle.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/erased.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/keyring.h"
#include "consentd/ledger.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/notices.h"
#include "consentd/suppressed.h"
#include "proc_priv.h"

#define GONE_AT_ONCE 2048  /* erased subjects in one message */
#define LOG_KEYS_MAX 16    /* active and older ones */
#define LOCK_WAIT_MS 60000 /* for the ledger before us to let go of the journal */

struct ledger_role;

struct peer {
    struct ledger_role *role;
    struct ipc *ipc; /* NULL: this place is free */
    uint64_t number;
    bool worker; /* gets IPC_GONE; nothing of the operator's is taken from it */
};

struct ledger_role {
    struct child_env env;
    struct ledger *ledger;
    struct ipc *master;
    struct peer peers[PROC_SLOTS];
    uint64_t next_number;
    bool signs;
    uint8_t log_seed[32]; /* with signs */
};

/* For the admin alone. */
static void sign(struct ledger_role *r, const struct peer *peer, const void *data)
{
    struct ledger_sign_ack ack = {.done = r->signs};
    struct ledger_sign_msg msg;
    uint8_t text[LEDGER_SIGN_LEN];

    memcpy(&msg, data, sizeof(msg));
    ack.req_id = msg.req_id;
    ledger_sign_text(msg.hash, text);
    if (r->signs)
        crypto_ed25519_sign(r->log_seed, str_make(text, sizeof(text)), ack.signature);
    if (!ipc_send(peer->ipc, IPC_SIGNED, &ack, sizeof(ack), -1))
        log_warn("ledger.signature.lost", "");
}

/* A worker speaks for its visitors alone: holds, drops and haste are the operator's. */
static bool may_erase(const struct peer *peer, const void *data, size_t len)
{
    struct ledger_erase_msg msg;

    if (!peer->worker)
        return true;
    if (len != sizeof(msg))
        return false;
    memcpy(&msg, data, sizeof(msg));
    return msg.action == LEDGER_ERASE && msg.by == CONSENT_BY_SUBJECT &&
           (msg.flags & LEDGER_ERASE_NOW) == 0;
}

static void on_peer_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct peer *peer = owner;
    struct ledger *ledger = peer->role->ledger;
    struct ledger_status status;

    if (fd >= 0)
        close(fd);
    if (type == IPC_EVENT) {
        ledger_event(ledger, peer->number, str_make(data, len));
    } else if (type == IPC_ERASE && may_erase(peer, data, len)) {
        ledger_erase(ledger, peer->number, str_make(data, len));
    } else if (type == IPC_ASK) {
        ledger_ask(ledger, peer->number, str_make(data, len));
    } else if (type == IPC_SHOWN && peer->worker) {
        ledger_shown(ledger, str_make(data, len));
    } else if (type == IPC_OPLOG && !peer->worker) {
        ledger_oplog(ledger, peer->number, str_make(data, len));
    } else if (type == IPC_SIGN && !peer->worker && len == sizeof(struct ledger_sign_msg)) {
        sign(peer->role, peer, data);
    } else if (type == IPC_LEDGER_STATUS && len == sizeof(status.id)) {
        memset(&status, 0, sizeof(status));
        ledger_status_get(ledger, &status);
        memcpy(&status.id, data, sizeof(status.id));
        if (!ipc_send(peer->ipc, IPC_LEDGER_STATUS, &status, sizeof(status), -1))
            log_warn("ledger.status.lost", "");
    } else {
        log_warn("ipc.unexpected", "type=%u", type);
    }
}

static void on_peer_closed(void *owner)
{
    struct peer *peer = owner;

    ipc_free(peer->ipc);
    peer->ipc = NULL;
}

static void send_gone(const struct peer *peer, const void *gone, size_t len)
{
    if (len > 0 && !ipc_send(peer->ipc, IPC_GONE, gone, len, -1))
        log_error("ledger.gone.lost", "");
}

/* A worker that is new learns all that were erased. */
static void tell_gone(struct ledger_role *r, const struct peer *peer)
{
    const struct erased *list = ledger_erased(r->ledger);
    uint8_t gone[GONE_AT_ONCE * 16];
    size_t len = 0;

    for (size_t i = 0; list != NULL && i < erased_cnt(list); i++) {
        memcpy(gone + len, erased_at(list, i)->gone, 16);
        len += 16;
        if (len == sizeof(gone) || i + 1 == erased_cnt(list)) {
            send_gone(peer, gone, len);
            len = 0;
        }
    }
}

static void on_gone(void *owner, const uint8_t gone[16])
{
    struct ledger_role *r = owner;

    for (size_t i = 0; i < PROC_SLOTS; i++)
        if (r->peers[i].ipc != NULL && r->peers[i].worker)
            send_gone(&r->peers[i], gone, 16);
}

static void send_notice(const struct ledger_role *r, const struct peer *peer, unsigned i)
{
    struct ledger_notice_msg msg;

    if (ledger_notice_get(r->ledger, i, &msg) &&
        !ipc_send(peer->ipc, IPC_NOTICE, &msg, sizeof(msg), -1))
        log_warn("ledger.notice.lost", "");
}

static void on_notice(void *owner, unsigned i)
{
    struct ledger_role *r = owner;

    for (size_t k = 0; k < PROC_SLOTS; k++)
        if (r->peers[k].ipc != NULL && r->peers[k].worker)
            send_notice(r, &r->peers[k], i);
}

static void tell_notices(struct ledger_role *r, const struct peer *peer)
{
    for (unsigned i = 0; i < r->env.config->site_cnt; i++)
        send_notice(r, peer, i);
}

static void add_peer(struct ledger_role *r, int fd, enum ipc_role role)
{
    static const struct ipc_ops ops = {.on_msg = on_peer_msg, .on_closed = on_peer_closed};

    for (size_t i = 0; i < PROC_SLOTS; i++) {
        struct peer *peer = &r->peers[i];
        if (peer->ipc != NULL)
            continue;
        *peer = (struct peer){.role = r, .number = ++r->next_number * PROC_SLOTS + i};
        peer->ipc = ipc_new(r->env.loop, fd, &ops, peer);
        peer->worker = role == IPC_ROLE_WORKER;
        if (peer->worker) {
            tell_gone(r, peer);
            tell_notices(r, peer);
        }
        return;
    }
    log_error("ledger.peers.full", "");
    close(fd);
}

static void on_ack(void *owner, uint64_t number, const struct ledger_ack *ack)
{
    struct ledger_role *r = owner;
    struct peer *peer = &r->peers[number % PROC_SLOTS];

    if (peer->ipc == NULL || peer->number != number)
        return; /* gone: it sends again over its new socket */
    if (!ipc_send(peer->ipc, IPC_ACK, ack, sizeof(*ack), -1))
        log_warn("ledger.ack.lost", "");
}

static void on_erased(void *owner, uint64_t number, const struct ledger_erase_ack *ack)
{
    struct ledger_role *r = owner;
    struct peer *peer = &r->peers[number % PROC_SLOTS];

    if (peer->ipc != NULL && peer->number == number &&
        !ipc_send(peer->ipc, IPC_ERASE_ACK, ack, sizeof(*ack), -1))
        log_warn("ledger.ack.lost", "");
}

static void on_tell(void *owner, uint64_t number, const struct ledger_tell_head *head,
                    struct str text)
{
    struct ledger_role *r = owner;
    struct peer *peer = &r->peers[number % PROC_SLOTS];
    struct buf message;

    if (peer->ipc == NULL || peer->number != number)
        return; /* whoever asked has gone */
    buf_init(&message, IPC_MSG_MAX);
    if (!buf_append(&message, head, sizeof(*head)) || !buf_append_str(&message, text) ||
        !ipc_send(peer->ipc, IPC_TELL, message.data, message.len, -1))
        log_warn("ledger.answer.lost", "");
    buf_free(&message);
}

static void on_ready(void *owner)
{
    struct ledger_role *r = owner;

    if (r->master != NULL && !ipc_send(r->master, IPC_READY, NULL, 0, -1))
        loop_stop(r->env.loop);
}

static void on_master_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct ledger_role *r = owner;

    if (type == IPC_PEER && fd >= 0) {
        struct ipc_peer head = {0};

        memcpy(&head, data, len < sizeof(head) ? len : sizeof(head));
        add_peer(r, fd, (enum ipc_role)head.role);
        return;
    }
    bool known = child_take(&r->env, type, data, len, fd);
    if (fd >= 0)
        close(fd);
    if (type == IPC_DRAIN)
        loop_stop(r->env.loop); /* ledger_free() commits what is queued */
    else if (type != IPC_START && !known)
        log_warn("ipc.unexpected", "type=%u", type);
}

static void on_master_closed(void *owner)
{
    struct ledger_role *r = owner;

    ipc_free(r->master);
    r->master = NULL;
    loop_stop(r->env.loop);
}

/* The keys that sign and have signed the log, the active one first; its seed or NULL. */
static const uint8_t *log_keys(const struct keyring *ring, const struct config *c,
                               struct note_key *keys, unsigned *cnt)
{
    const struct key *active = keyring_active(ring, KEY_LOG);
    struct buf origin;

    *cnt = 0;
    buf_init(&origin, NOTE_NAME_MAX);
    if (active != NULL && note_origin(c->ledger.name, c->ledger.node, &origin) &&
        note_key_of(buf_str(&origin), active->bytes, &keys[0])) {
        *cnt = 1;
        for (size_t i = 0; i < keyring_cnt(ring) && *cnt < LOG_KEYS_MAX; i++) {
            const struct key *key = keyring_at(ring, i);

            if (key->use == KEY_LOG && key->state == KEY_VERIFY)
                *cnt += note_key_of(buf_str(&origin), key->bytes, &keys[*cnt]);
        }
    }
    buf_free(&origin);
    return *cnt > 0 ? active->bytes : NULL;
}

/* The notice document of each site, out of the bundle. Heap. */
static struct ledger_notice *site_notices(const struct ledger_role *r)
{
    const struct config *c = r->env.config;
    struct ledger_notice *out = mem_calloc(c->site_cnt + 1, sizeof(*out));
    struct str name;
    char site[64];

    for (size_t i = 0; i < c->site_cnt; i++) {
        snprintf(site, sizeof(site), ":notice_of.%zu", i);
        out[i].site = c->sites[i].hosts.items[0];
        if (!bundle_get(r->env.bundle, str_c(site), &name) ||
            !bundle_get(r->env.bundle, name, &out[i].document))
            ASSERT(false); /* the master put them there */
    }
    return out;
}

static struct ledger *open_ledger(struct ledger_role *r, struct fault *f)
{
    static const struct ledger_ops ops = {.on_ack = on_ack,
                                          .on_ready = on_ready,
                                          .on_erased = on_erased,
                                          .on_gone = on_gone,
                                          .on_notice = on_notice,
                                          .on_tell = on_tell};
    const struct config *c = r->env.config;
    struct str keys = {0}, password = {0}, ca = {0}, sink_ca = {0};
    struct keyring *ring = NULL;
    struct ledger *made = NULL;
    struct note_key log[LOG_KEYS_MAX];
    const struct key *idx;
    struct ledger_config config;
    char *keks, *erased, *folder, *left;
    struct ledger_notice *notices;

    if (bundle_get(r->env.bundle, STR(":keys"), &keys))
        ring = keyring_parse(c->keys, keys, f);
    idx = ring != NULL ? keyring_active(ring, KEY_IDX) : NULL;
    if (idx == NULL)
        goto out;
    if (c->ledger.redis_password_file != NULL &&
        bundle_get(r->env.bundle, str_c(c->ledger.redis_password_file), &password)) {
        while (password.len > 0 && ascii_is_space(password.ptr[password.len - 1]))
            password.len--;
    }
    if (c->ledger.checkpoint_ca != NULL &&
        !bundle_get(r->env.bundle, str_c(c->ledger.checkpoint_ca), &sink_ca))
        goto out;
    if (c->ledger.redis_ca != NULL && !bundle_get(r->env.bundle, str_c(c->ledger.redis_ca), &ca))
        goto out;
    keks = file_resolve(c->state_dir, "keks.json");
    erased = file_resolve(c->state_dir, ERASED_NAME);
    folder = file_resolve(c->state_dir, NOTICES_FOLDER);
    left = file_resolve(c->state_dir, SUPPRESSED_NAME);
    notices = site_notices(r);
    config = (struct ledger_config){
        .journal_dir = c->ledger.journal,
        .keks_path = keks,
        .erased_path = erased,
        .notices_path = folder,
        .suppressed_path = left,
        .notices = notices,
        .notice_cnt = (unsigned)c->site_cnt,
        .record_retention_ms = c->ledger.record_retention_ms,
        .backup_retention_ms = c->ledger.backup_retention_ms,
        .site = c->ledger.name,
        .node = (uint8_t)c->ledger.node,
        .segment_size = c->ledger.segment_size,
        .retention_ms = c->ledger.journal_retention_ms,
        .lock_wait_ms = LOCK_WAIT_MS,
        .idx_key = idx->bytes,
        .sinks = c->ledger.checkpoint_sinks.items,
        .sink_cnt = c->ledger.checkpoint_sinks.cnt,
        .sink_ca = sink_ca,
        .redis_url = str_c(c->ledger.redis),
        .redis_user = password.len > 0 ? STR("consentd") : STR(""), /* conf/redis-ledger.conf */
        .redis_password = password,
        .redis_ca = ca,
    };
    config.log_seed = log_keys(ring, c, log, &config.log_key_cnt);
    config.log_keys = log;
    r->signs = config.log_seed != NULL;
    if (r->signs)
        memcpy(r->log_seed, config.log_seed, sizeof(r->log_seed));
    made = ledger_new(r->env.loop, &config, &ops, r, f);
    free(keks);
    free(erased);
    free(folder);
    free(left);
    free(notices);
out:
    keyring_free(ring);
    return made;
}

int ledger_main(unsigned slot)
{
    static const struct ipc_ops ops = {.on_msg = on_master_msg, .on_closed = on_master_closed};
    struct ledger_role *r = mem_new(struct ledger_role);
    struct fault why = {0};
    int result = -1;

    child_begin(&r->env, IPC_ROLE_LEDGER, slot);
    r->ledger = open_ledger(r, &why);
    if (r->ledger == NULL || !child_sandbox(&r->env, &why)) {
        log_error("process.refused", "reason=\"%s\"", why.text);
    } else {
        r->master = ipc_new(r->env.loop, PROC_FD_MASTER, &ops, r);
        result = loop_run(r->env.loop);
    }
    ledger_free(r->ledger);
    for (size_t i = 0; i < PROC_SLOTS; i++)
        ipc_free(r->peers[i].ipc);
    ipc_free(r->master);
    crypto_wipe(r->log_seed, sizeof(r->log_seed));
    child_end(&r->env);
    free(r);
    return result == 0 ? 0 : 1;
}
