/*
 * upgrade_priv.h - another program file in place of the running one. layer: proc
 *
 *   SIGUSR2 ─▶ the new file rehearses ─▶ refused: say why, change nothing
 *                    │ good
 *                    ▼
 *   the master executes the new file: same process, same children, same sockets
 *                    │
 *                    ▼
 *   a new generation beside the old one, as in a reload ─▶ all READY: the old one drains
 *                    │ processes die, or are not READY in time
 *                    ▼
 *   the master executes the old file again (kept open): the old generation goes on
 *
 * What the master is goes from one program to the other as JSON in a memory file whose number
 * is in the environment, CONSENTD_HANDOVER; descriptors keep their numbers. A member that is
 * not known is ignored; "ipc" must be IPC_VERSION.
 */
#ifndef CONSENTD_UPGRADE_PRIV_H
#define CONSENTD_UPGRADE_PRIV_H

#include "consentd/json.h"

#include "master_priv.h"

#define HANDOVER_ENV        "CONSENTD_HANDOVER"
#define HANDOVER_MAX        (4u << 20) /* bytes of the state */
#define UPGRADE_REHEARSE_MS 30000      /* for the new file to say that it is able to */
#define UPGRADE_FLUSH_MS    20         /* between looks whether our messages have gone out */
#define UPGRADE_FLUSH_TRIES 100

struct upgrade {
    char *binary;        /* owned; absolute path of the program file */
    int old_exe;         /* of the program before this one, while this one is on trial; -1 */
    struct material old; /* its descriptors, with old_exe: what it would go on with */
    char from[64];       /* version of the program before this one; "" if there was none */
    pid_t rehearsal;     /* 0: none runs */
    int rehearsal_out;   /* memory file with what it says */
    struct timer patience, flush;
    unsigned flush_tries;
};

/* --- handover.c: the master's state between two programs -------------------------- */

/* The state in a memory file. failed: why the program before this one goes on; NULL. */
MUST_USE int handover_write(const struct master *m, const char *failed, struct fault *f);

/* Reads and checks one; the caller owns the value. NULL: it is none that we can go on from. */
MUST_USE json_t *handover_read(int fd, struct fault *f);

/* Makes the state this master's: sockets, children, counters; its material is u->old. */
MUST_USE bool handover_adopt(struct master *m, const json_t *state, struct fault *f);

/* Whether what is handed over stays open when another program is executed. */
void handover_keep(const struct master *m, bool on);

/* --- upgrade.c -------------------------------------------------------------------- */

void upgrade_init(struct master *m, const char *argv0);
void upgrade_free(struct master *m);

/* The descriptor that the program before this one left; -1: there was none. */
int upgrade_inherited(void);

/* consentd -t as rehearsal: the state behind fd can be gone on from. */
MUST_USE bool upgrade_check(int fd, struct fault *f);

/* What SIGUSR2 does. */
void master_upgrade(struct master *m);

/* The first act of the new program, in place of opening sockets. */
MUST_USE bool upgrade_take_over(struct master *m, int fd, struct fault *f);

/* A process that is no child of a seat ended; true: it was the rehearsal. */
MUST_USE bool upgrade_reaped(struct master *m, pid_t pid, int status);

/* This program is the one before again; returns only if that was impossible. */
void upgrade_take_back(struct master *m, const char *why);

/* The new generation serves: the program before this one is not needed any more. */
void upgrade_done(struct master *m);

MUST_USE bool upgrade_on_trial(const struct master *m);

#endif
