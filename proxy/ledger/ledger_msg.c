/*
 * ledger_msg.c - contract in consentd/ledger_msg.h.
 *
 * An event message is a fixed head, then the texts one behind the other: host, language,
 * jurisdiction, method with their lengths in the head, then per purpose bit (in the order
 * of the bits of grant | deny) its name with a NUL, so that names can be used in place.
 */
#include "consentd/ledger_msg.h"

#include <inttypes.h>
#include <string.h>

#include "consentd/json.h"

struct event_head {
    uint64_t req_id;
    uint64_t prev_leaf;
    uint32_t version, flags, expires_s, epoch;
    uint8_t eid[16], subject[16], doc[16];
    uint16_t grant, deny;
    uint16_t host_len, names_len;
    uint8_t lang_len, jur_len, method_len;
    uint8_t act, type, by, gpc, has_prev, prev_node;
    uint8_t pad[7];
};

struct oplog_head {
    uint64_t req_id;
    uint32_t version;
    uint32_t json_len;
};

static bool put(uint8_t *out, size_t cap, size_t *len, struct str s)
{
    if (s.len > cap - *len)
        return false;
    if (s.len > 0)
        memcpy(out + *len, s.ptr, s.len);
    *len += s.len;
    return true;
}

static bool put_names(const struct ledger_event_msg *msg, uint8_t *out, size_t cap, size_t *len)
{
    unsigned bits = (unsigned)(msg->event.grant | msg->event.deny);

    for (unsigned i = 1; i < RECORD_PURPOSES; i++) {
        if ((bits >> i & 1) == 0)
            continue;
        if (msg->names[i] == NULL ||
            !put(out, cap, len, str_make(msg->names[i], strlen(msg->names[i]) + 1)))
            return false;
    }
    return true;
}

size_t ledger_event_encode(const struct ledger_event_msg *msg, uint8_t *out, size_t cap)
{
    const struct consent_event *ev = &msg->event;
    struct event_head h = {.req_id = msg->req_id, .prev_leaf = ev->prev_leaf};
    size_t len = sizeof(h);
    size_t names_at;

    if (cap < sizeof(h) || ev->host.len > UINT16_MAX || ev->lang.len > UINT8_MAX ||
        ev->jurisdiction.len > UINT8_MAX || ev->method.len > UINT8_MAX)
        return 0;
    h.version = LEDGER_MSG_VERSION;
    h.flags = msg->flags;
    h.expires_s = ev->expires_s;
    h.epoch = ev->epoch;
    memcpy(h.eid, ev->eid, 16);
    memcpy(h.subject, ev->subject, 16);
    memcpy(h.doc, ev->doc, 16);
    h.grant = ev->grant;
    h.deny = ev->deny;
    h.host_len = (uint16_t)ev->host.len;
    h.lang_len = (uint8_t)ev->lang.len;
    h.jur_len = (uint8_t)ev->jurisdiction.len;
    h.method_len = (uint8_t)ev->method.len;
    h.act = (uint8_t)ev->act;
    h.type = (uint8_t)ev->type;
    h.by = (uint8_t)ev->by;
    h.gpc = ev->gpc;
    h.has_prev = ev->has_prev;
    h.prev_node = ev->prev_node;
    if (!put(out, cap, &len, ev->host) || !put(out, cap, &len, ev->lang) ||
        !put(out, cap, &len, ev->jurisdiction) || !put(out, cap, &len, ev->method))
        return 0;
    names_at = len;
    if (!put_names(msg, out, cap, &len) || len > LEDGER_EVENT_MSG_MAX)
        return 0;
    h.names_len = (uint16_t)(len - names_at);
    memcpy(out, &h, sizeof(h));
    return len;
}

static bool take(struct str *rest, size_t len, struct str *out)
{
    if (rest->len < len)
        return false;
    *out = str_slice(*rest, 0, len);
    *rest = str_slice(*rest, len, rest->len);
    return true;
}

static bool take_names(struct str rest, struct ledger_event_msg *msg)
{
    unsigned bits = (unsigned)(msg->event.grant | msg->event.deny);

    for (unsigned i = 1; i < RECORD_PURPOSES; i++) {
        ptrdiff_t end;

        if ((bits >> i & 1) == 0)
            continue;
        end = str_find_char(rest, '\0');
        if (end < 0)
            return false;
        msg->names[i] = rest.ptr;
        rest = str_slice(rest, (size_t)end + 1, rest.len);
    }
    return rest.len == 0;
}

bool ledger_event_decode(struct str in, struct ledger_event_msg *msg_out)
{
    struct event_head h;
    struct consent_event *ev = &msg_out->event;
    struct str rest;

    memset(msg_out, 0, sizeof(*msg_out));
    if (in.len < sizeof(h) || in.len > LEDGER_EVENT_MSG_MAX)
        return false;
    memcpy(&h, in.ptr, sizeof(h));
    msg_out->req_id = h.req_id;
    msg_out->flags = h.flags;
    ev->expires_s = h.expires_s;
    ev->epoch = h.epoch;
    memcpy(ev->eid, h.eid, 16);
    memcpy(ev->subject, h.subject, 16);
    memcpy(ev->doc, h.doc, 16);
    ev->grant = h.grant;
    ev->deny = h.deny;
    ev->act = (enum consent_act)h.act;
    ev->type = (enum consent_type)h.type;
    ev->by = (enum consent_by)h.by;
    ev->gpc = h.gpc != 0;
    ev->has_prev = h.has_prev != 0;
    ev->prev_node = h.prev_node;
    ev->prev_leaf = h.prev_leaf;
    rest = str_slice(in, sizeof(h), in.len);
    return h.version == LEDGER_MSG_VERSION && take(&rest, h.host_len, &ev->host) &&
           take(&rest, h.lang_len, &ev->lang) && take(&rest, h.jur_len, &ev->jurisdiction) &&
           take(&rest, h.method_len, &ev->method) && rest.len == h.names_len &&
           take_names(rest, msg_out);
}

size_t ledger_oplog_encode(uint64_t req_id, struct str json, uint8_t *out, size_t cap)
{
    struct oplog_head h = {.req_id = req_id, .version = LEDGER_MSG_VERSION};
    size_t len = sizeof(h);

    if (cap < sizeof(h) || json.len > RECORD_OPLOG_MAX || !put(out, cap, &len, json))
        return 0;
    h.json_len = (uint32_t)json.len;
    memcpy(out, &h, sizeof(h));
    return len;
}

bool ledger_oplog_decode(struct str in, uint64_t *req_id_out, struct str *json_out)
{
    struct oplog_head h;

    *req_id_out = 0;
    if (in.len < sizeof(h))
        return false;
    memcpy(&h, in.ptr, sizeof(h));
    *req_id_out = h.req_id;
    *json_out = str_slice(in, sizeof(h), in.len);
    return h.version == LEDGER_MSG_VERSION && h.json_len == json_out->len;
}

bool ledger_ack_decode(struct str in, struct ledger_ack *out)
{
    if (in.len != sizeof(*out))
        return false;
    memcpy(out, in.ptr, sizeof(*out));
    return true;
}

bool ledger_erase_ack_decode(struct str in, struct ledger_erase_ack *out)
{
    if (in.len != sizeof(*out))
        return false;
    memcpy(out, in.ptr, sizeof(*out));
    return true;
}

static const char *const ship_names[] = {
    [LEDGER_SHIP_DOWN] = "down", [LEDGER_SHIP_OFF] = "off",         [LEDGER_SHIP_REPLAY] = "replay",
    [LEDGER_SHIP_LIVE] = "live", [LEDGER_SHIP_BLOCKED] = "blocked",
};

static const char *const journal_names[] = {"ok", "failed", "low-space"};

bool ledger_status_json(const struct ledger_status *st, struct buf *out)
{
    const char *ship = st->ship < COUNT_OF(ship_names) ? ship_names[st->ship] : "down";
    const char *journal = st->failed < COUNT_OF(journal_names) ? journal_names[st->failed] : "";
    struct str site = str_make(st->site, strnlen(st->site, sizeof(st->site)));
    struct str error = str_make(st->error, strnlen(st->error, sizeof(st->error)));
    bool shipping = st->ship != LEDGER_SHIP_OFF;
    uint64_t lag =
        shipping && st->next_leaf > st->shipped_leaf ? st->next_leaf - st->shipped_leaf : 0;

    return buf_append_c(out, "{\"site\":") && json_quote(site, out) &&
           buf_printf(out,
                      ",\"node\":%u,\"earlier_logs\":%u,\"records\":%" PRIu64 ",\"oldest\":%" PRIu64
                      ",\"journal\":{\"state\":\"%s\",\"segments\":%u,\"bytes\":%" PRIu64
                      ",\"held\":%u}",
                      st->node, st->log_restarts, st->next_leaf, st->first_leaf, journal,
                      st->segments, st->bytes, st->held) &&
           buf_printf(out,
                      ",\"redis\":{\"state\":\"%s\",\"records\":%" PRIu64
                      ",\"lag_records\":%" PRIu64 ",\"lag_ms\":%" PRIu64 ",\"gap_from\":%" PRIu64
                      ",\"gap_to\":%" PRIu64 "}",
                      ship, st->shipped_leaf, lag, st->lag_ms, st->gap_from, st->gap_to) &&
           buf_printf(out,
                      ",\"since_start\":{\"recorded\":%" PRIu64 ",\"duplicates\":%" PRIu64
                      ",\"refused\":%" PRIu64 ",\"unavailable\":%" PRIu64 "},\"error\":",
                      st->recorded, st->duplicates, st->refused, st->unavailable) &&
           json_quote(error, out) && buf_append_c(out, "}");
}

void ledger_sign_text(const uint8_t hash[32], uint8_t out[LEDGER_SIGN_LEN])
{
    memcpy(out, LEDGER_SIGN_LABEL, sizeof(LEDGER_SIGN_LABEL));
    memcpy(out + sizeof(LEDGER_SIGN_LABEL), hash, 32);
}
