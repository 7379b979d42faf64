/*
 * ledger_msg.h - what workers and the admin say to the ledger process, and its answers.
 *
 * Travels as the payload of IPC_EVENT, IPC_OPLOG, IPC_ACK and IPC_LEDGER_STATUS over the
 * SEQPACKET pairs (ipc.h). Both ends are the same binary on the same machine: integers
 * are native. Every message is checked against its length before a field is read.
 *
 *   IPC_EVENT          struct ledger_event_head, then the texts (ledger_event_encode)
 *   IPC_OPLOG          struct ledger_oplog_head, then JSON text of one object
 *   IPC_ACK            struct ledger_ack, the answer to both
 *   IPC_LEDGER_STATUS  request: u64 id; answer: struct ledger_status
 *   IPC_ERASE          struct ledger_erase_msg; its answer IPC_ERASE_ACK, struct ledger_erase_ack
 *   IPC_SIGN           of the admin: struct ledger_sign_msg; its answer IPC_SIGNED, struct
 *                      ledger_sign_ack
 *   IPC_GONE           to workers: erased_gone() of subjects whose cookies are refused, 16 bytes
 *                      each; all of them when a worker connects, then one by one
 *   IPC_ASK            struct ledger_ask_msg, of a subject's own records; its answer IPC_TELL:
 *                      struct ledger_tell_head, then text; several until it is not TELL_MORE
 *   IPC_NOTICE         to workers: struct ledger_notice_msg, for each site's notice document as
 *                      soon as it is on record
 *   IPC_SHOWN          of workers: struct shown_entry (shown.h), several; has no answer
 *
 * A sender keeps what is not acknowledged and sends it again on a new socket: the
 * ledger knows the eid and answers with what it did the first time.
 */
#ifndef CONSENTD_LEDGER_MSG_H
#define CONSENTD_LEDGER_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/record.h"
#include "consentd/str.h"

#define LEDGER_MSG_VERSION   1
#define LEDGER_EVENT_MSG_MAX 2048                    /* bytes of an IPC_EVENT payload */
#define LEDGER_OPLOG_MSG_MAX (RECORD_OPLOG_MAX + 64) /* bytes of an IPC_OPLOG payload */
#define LEDGER_TOLD_MAX      (8u << 20)              /* bytes of one answer to an IPC_ASK */
#define LEDGER_TOLD_ALL_MAX  (32u << 20) /* of those that one worker is told at a time */

enum ledger_ack_status {
    LEDGER_UNAVAILABLE = 0, /* not recorded and not going to be: a grant may not be given */
    LEDGER_RECORDED,        /* durable; node, leaf and ts_ms are valid */
    LEDGER_DEFERRED,        /* a narrowing, held in memory until there is space; no leaf yet */
    LEDGER_REFUSED,         /* the message is not valid: our bug or a version mismatch */
};

/* Flags of an event message. */
#define LEDGER_EVENT_NARROWS 0x1u /* grants nothing that the token presented did not grant */
#define LEDGER_EVENT_NEW_SUBJECT                                                                   \
    0x2u /* the subject id was drawn for this request: a repetition may have another */

/* The event as its worker knows it; ts_ms is ignored, the ledger sets it. */
struct ledger_event_msg {
    uint64_t req_id; /* the sender's own; comes back in the ack */
    unsigned flags;
    struct consent_event event;
    const char *names[RECORD_PURPOSES]; /* of the bits in grant and deny; others NULL */
};

struct ledger_ack {
    uint64_t req_id;
    uint64_t leaf;
    uint64_t ts_ms;
    uint32_t status; /* enum ledger_ack_status */
    uint32_t expires_s;
    uint32_t epoch;
    uint16_t grants; /* of the event recorded, as sent */
    uint8_t node;
    uint8_t duplicate;   /* 1: the eid was known, these are the values of its first record */
    uint8_t subject[16]; /* of the event recorded: goes into the token */
};

/* What is to happen to a subject's records. */
enum ledger_erase_action {
    LEDGER_ERASE_NOTHING = 0,
    LEDGER_ERASE,   /* make them unreadable everywhere and refuse the subject's cookie */
    LEDGER_HOLD,    /* legal hold: erasures refuse the cookie, but the records stay */
    LEDGER_RELEASE, /* end of the hold: what was asked meanwhile is done now */
    LEDGER_DROP,    /* a whole month, when its retention is over: its key is destroyed */
};

#define LEDGER_ERASE_NOW   0x1u /* rewrite the journal instead of waiting for its retention */
#define LEDGER_ERASE_ACTOR 64   /* bytes of an operator's name, with the NUL */

struct ledger_erase_msg {
    uint64_t req_id;  /* the sender's own; comes back in the ack */
    uint32_t version; /* LEDGER_MSG_VERSION */
    uint32_t action;  /* enum ledger_erase_action */
    uint32_t flags;
    uint32_t by; /* enum consent_by: the subject or an operator */
    uint8_t subject[16];
    char actor[LEDGER_ERASE_ACTOR]; /* the operator; "" for a subject */
    uint32_t month;                 /* yyyymm; with LEDGER_DROP instead of the subject */
    uint32_t pad;
};

enum ledger_erase_status {
    LEDGER_ERASE_UNAVAILABLE = 0, /* could not be made durable: ask again */
    LEDGER_ERASE_ACCEPTED,        /* on disk: it is going to happen, whatever crashes */
    LEDGER_ERASE_KNOWN,           /* had been asked before: the receipt of then */
    LEDGER_ERASE_HELD,            /* a legal hold: only the cookie and the index go now */
    LEDGER_ERASE_REFUSED,         /* the message makes no sense */
    LEDGER_ERASE_NOT_DUE,         /* a month that has to be kept, or was never here */
    LEDGER_ERASE_EARLIER,         /* a month, and an earlier one is still here */
};

/* The receipt. It names no subject. */
struct ledger_erase_ack {
    uint64_t req_id;
    uint64_t ts_ms;         /* when it was asked for */
    uint64_t complete_by_s; /* Unix seconds: by then no copy can be opened; 0: held */
    uint32_t status;        /* enum ledger_erase_status */
    uint32_t records;       /* found so far; what only Redis has is found right after */
    uint8_t request[16];    /* what the log calls it */
};

/* What a visitor asks. */
enum ledger_ask {
    LEDGER_ASK_NOTHING = 0,
    LEDGER_ASK_RECORDS, /* {"more":…,"records":[{"json":J,"leaf":…,"node":…,"ts":…}],"vkey":…} */
    LEDGER_ASK_PROOF, /* {"proof":…,"vkey":…} of the record at `leaf`, if it is the subject's */
    LEDGER_ASK_NOTICE, /* the notice document that records call `doc` */
};

#define LEDGER_ASK_RECORDS_MAX 2000 /* records of one answer; "more" says that there are others */

struct ledger_ask_msg {
    uint64_t req_id;  /* the sender's own; comes back in the answer */
    uint32_t version; /* LEDGER_MSG_VERSION */
    uint32_t what;    /* enum ledger_ask */
    uint64_t leaf;
    uint8_t subject[16];
    uint8_t doc[16];
};

enum ledger_tell_status {
    LEDGER_TELL_UNAVAILABLE = 0, /* not now: ask again later */
    LEDGER_TELL_MORE,            /* a piece; more follow */
    LEDGER_TELL_DONE,            /* the last piece */
    LEDGER_TELL_UNKNOWN,         /* there is no such record or document */
};

struct ledger_tell_head {
    uint64_t req_id;
    uint32_t status; /* enum ledger_tell_status */
    uint32_t pad;
};

/*
 * A notice document that is on record, and since when its version has been in force. Rounded up:
 * the time in a cookie is rounded down, and nobody who chose before shall go untold.
 */
struct ledger_notice_msg {
    uint8_t doc[16];  /* as in records */
    uint32_t since_s; /* Unix seconds; 0: there was never another version */
    uint32_t pad;
};

/* How the link to Redis is. */
enum ledger_ship_state {
    LEDGER_SHIP_DOWN = 0, /* not connected, or connecting */
    LEDGER_SHIP_OFF,      /* no Redis configured: the journal is the store */
    LEDGER_SHIP_REPLAY,   /* behind, catching up */
    LEDGER_SHIP_LIVE,     /* nothing waits but what is in flight */
    LEDGER_SHIP_BLOCKED,  /* Redis refuses writes, or knows more than we do: see the log */
};

struct ledger_status {
    uint64_t id; /* of the request */
    uint64_t next_leaf, first_leaf;
    uint64_t shipped_leaf; /* the next leaf Redis lacks (0 with LEDGER_SHIP_OFF) */
    uint64_t lag_ms;       /* age of the oldest record Redis lacks */
    uint64_t bytes;        /* of all segments */
    uint64_t recorded, duplicates, refused, unavailable; /* since the start */
    uint64_t gap_from, gap_to;                           /* leaves that no store has; equal: none */
    uint32_t segments;
    uint32_t held;        /* narrowings in memory, not yet in the journal */
    uint32_t ship;        /* enum ledger_ship_state */
    uint32_t failed;      /* 1: the journal can't be written; 2: too little space for grants */
    uint8_t node;         /* of the log of today */
    uint8_t log_restarts; /* logs before it: restarts.h */
    uint8_t pad[6];
    char site[256];  /* the log's name, NUL-terminated */
    char error[256]; /* the last trouble with Redis or the disk, "" if none */
};

/*
 * An export's manifest, to be signed with the log's key: Ed25519 over LEDGER_SIGN_LABEL, a zero
 * byte and the hash. No checkpoint begins like that, so that no signature can pass for another.
 */
#define LEDGER_SIGN_LABEL "consentd.export.v1"

struct ledger_sign_msg {
    uint64_t req_id; /* the sender's own; comes back in the ack */
    uint8_t hash[32];
};

struct ledger_sign_ack {
    uint64_t req_id;
    uint32_t done; /* 0: there is no key that signs */
    uint32_t pad;
    uint8_t signature[64];
};

/* What is signed for a hash; out gets LEDGER_SIGN_LEN bytes. */
#define LEDGER_SIGN_LEN (sizeof(LEDGER_SIGN_LABEL) + 32)
void ledger_sign_text(const uint8_t hash[32], uint8_t out[LEDGER_SIGN_LEN]);

/* Writes a message into out[cap]; its length, or 0 when a text is too long. */
MUST_USE size_t ledger_event_encode(const struct ledger_event_msg *msg, uint8_t *out, size_t cap);

/* Reads one; texts and names point into `in`, which must outlive *msg_out. False: malformed. */
MUST_USE bool ledger_event_decode(struct str in, struct ledger_event_msg *msg_out);

/* An operator record: json is one object (any form; the ledger makes it canonical). */
MUST_USE size_t ledger_oplog_encode(uint64_t req_id, struct str json, uint8_t *out, size_t cap);
MUST_USE bool ledger_oplog_decode(struct str in, uint64_t *req_id_out, struct str *json_out);

/* An ack read from a message; false on a wrong length. */
MUST_USE bool ledger_ack_decode(struct str in, struct ledger_ack *out);

/* The answer to an erasure read from a message; false on a wrong length. */
MUST_USE bool ledger_erase_ack_decode(struct str in, struct ledger_erase_ack *out);

/* The status as one JSON object, for the admin API and consentctl. */
MUST_USE bool ledger_status_json(const struct ledger_status *st, struct buf *out);

#endif
